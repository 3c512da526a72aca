"""Cost of the gradient through Richardson-Lucy, in units of the forward pass.

    python tests/benchmarks/gradient_cost.py [--size 64] [--iterations 5]

And its agreement with finite differences, in float64.
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from _common import header, interleaved, scene, table  # noqa: E402

import jaxdecon as jd  # noqa: E402


def problem(n, iterations, dtype):
    """Loss of (image, PSF, kernel), and the arguments."""
    truth, psf, image = scene(n, 17)
    kernel = np.asarray(jd.back_projector(psf), dtype)
    arrays = [np.asarray(a, dtype) for a in (image, psf)]

    def loss(image, psf, kernel):
        result = jd.richardson_lucy(
            image, psf, iterations=iterations, background=5.0, back_projector=kernel
        )
        return ((result - truth.astype(dtype)) ** 2).mean()

    return jax.jit(loss), (*map(jnp.asarray, arrays), jnp.asarray(kernel))


def agreement(loss, arguments, which):
    """Relative difference to a central difference along a random direction."""
    rng = np.random.default_rng(which)
    direction = arguments[which] * rng.standard_normal(arguments[which].shape)
    slope = (jax.grad(loss, which)(*arguments) * direction).sum()
    up, down = list(arguments), list(arguments)
    up[which] = up[which] + 1e-6 * direction
    down[which] = down[which] - 1e-6 * direction
    numeric = (loss(*up) - loss(*down)) / 2e-6
    return abs(float(slope / numeric) - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=5)
    arguments = parser.parse_args()
    header(f"Gradient through {arguments.iterations} updates at {arguments.size}^3")
    loss, values = problem(24, arguments.iterations, np.float64)
    errors = [agreement(loss, values, which) for which in range(3)]
    names = ("image", "PSF", "back projector")
    table(
        ["with respect to", "relative difference to finite differences (float64)"],
        [list(row) for row in zip(names, errors, strict=True)],
    )
    loss, values = problem(arguments.size, arguments.iterations, np.float32)
    gradient = jax.jit(jax.grad(loss, (0, 1, 2)))
    times = interleaved(
        {"loss": lambda: loss(*values), "grad": lambda: gradient(*values)}
    )
    (wall, cpu), (gradient_wall, gradient_cpu) = times["loss"], times["grad"]
    memory = gradient.lower(*values).compile().memory_analysis()
    plain = loss.lower(*values).compile().memory_analysis()
    table(
        ["", "wall s", "CPU s", "temporary MiB"],
        [
            ["loss", wall, cpu, plain.temp_size_in_bytes / 2**20],
            [
                "gradient (image, PSF, back projector)",
                gradient_wall,
                gradient_cpu,
                memory.temp_size_in_bytes / 2**20,
            ],
            [
                "ratio",
                gradient_wall / wall,
                gradient_cpu / cpu,
                memory.temp_size_in_bytes / plain.temp_size_in_bytes,
            ],
        ],
    )


if __name__ == "__main__":
    main()
