"""Time of one Richardson-Lucy iteration against its floor, four FFTs.

    python tests/benchmarks/time_per_iteration.py [--sizes 128 256]

The floor runs in the same process, in turns with ours: per iteration the two forward
and two inverse real FFTs that the algorithm cannot do without, chained under `scan`,
with nothing between them. "Per iteration" is what each of twenty further iterations
costs; the last two columns are a whole call of ten, checks and preparation included.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
from _common import header, interleaved, scene, table

import jaxdecon as jd


def floor(grid, iterations):
    """Four FFTs per iteration on a grid, and nothing else."""

    def there_and_back(x):
        return jnp.fft.irfftn(jnp.fft.rfftn(x), s=grid)

    @jax.jit
    def run(x):
        def step(x, _):
            return there_and_back(there_and_back(x)), None

        return jax.lax.scan(step, x, length=iterations)[0]

    x = jnp.ones(grid) + jnp.arange(grid[-1])
    return lambda: run(x)


def figures(times):
    """Milliseconds per further iteration and their ratios; all of ten iterations."""
    further = {
        who: [(b - a) / 20 for a, b in zip(times[who, 10], times[who, 30], strict=True)]
        for who in ("ours", "floor")
    }
    wall, cpu = (a / b for a, b in zip(further["ours"], further["floor"], strict=True))
    ten = times["ours", 10][0]
    return (
        *(1e3 * further["ours"][0], 1e3 * further["floor"][0], wall, cpu),
        *(ten, ten / times["floor", 10][0]),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    header("Time per iteration, against four FFTs")
    rows = []
    for n in arguments.sizes:
        _, psf, image = scene(n)
        image, psf = jnp.asarray(image), jnp.asarray(psf)
        for boundary in ("periodic", "extend"):
            blur = jd.operators.Convolution.from_psf(
                psf, image.shape, boundary=boundary
            )

            functions = {}
            for count in (10, 30):
                functions["floor", count] = floor(blur.grid, count)
                functions["ours", count] = functools.partial(
                    jd.richardson_lucy,
                    image,
                    psf,
                    iterations=count,
                    boundary=boundary,
                )
            times = interleaved(functions, arguments.repeats)
            grid = "x".join(map(str, blur.grid))
            rows.append([f"{n}^3", boundary, grid, *figures(times)])
    table(
        [
            *("image", "boundary", "transform"),
            *("ours ms", "floor ms", "wall ratio", "CPU ratio"),
            *("10 iterations, s", "their ratio"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
