"""Time of one pass through each network, and of one gradient, on one volume.

    python tests/benchmarks/networks_forward.py [--size 64] [--repeats 3]

"Plain" is the same network with every convolution as one 3D convolution of XLA, and its
derivatives by JAX. Both run in the same process, in turns. Of residual channel
attention at full width only our pass is timed: the rest takes minutes.
"""

import argparse

import jax
import numpy as np
from _common import header, interleaved, table
from flax import nnx

import jaxdecon as jd
from jaxdecon.learning import NetworkConfig, build
from jaxdecon.learning.networks import _layers
from jaxdecon.learning.networks._convolve import convolve, direct

NETWORKS = {
    "DenseDeconNet": NetworkConfig(kind="densedeconnet"),
    "RLN, published wiring": NetworkConfig(kind="rln"),
    "RLN, physics": NetworkConfig(kind="rln", physics=True),
    "attention, width 8, depth 2": NetworkConfig(kind="rcan", width=8, depth=2),
    "attention, 1.0 M": NetworkConfig(kind="rcan"),
    "unrolled, 5 steps": NetworkConfig(kind="unrolled"),
}
ALONE = ("attention, 1.0 M",)


def compiled(config, images, operator, convolution, gradient):
    """A call of the network, or of the gradient of a loss, with one convolution."""
    network = build(config)
    graphdef, parameters = nnx.split(network)

    def estimate(parameters):
        return nnx.merge(graphdef, parameters)._any_size(images, operator)

    def loss(parameters):
        return (estimate(parameters) ** 2).mean()

    _layers.convolve = convolution
    function = jax.jit(jax.grad(loss) if gradient else estimate)
    function = function.lower(parameters).compile()
    _layers.convolve = convolve
    return network.parameter_count, lambda: function(parameters)


def main(size, repeats):
    header(f"Networks at {size}^3: seconds of wall time")
    rng = np.random.default_rng(0)
    images = rng.random((1, 1, size, size, size), np.float32)
    psf = jd.psf.gaussian((17, 17, 17), (6.0, 3.0, 3.0))
    operator = jd.operators.Convolution.from_psf(psf, images.shape[2:])
    rows = []
    for name, config in NETWORKS.items():
        row = [name]
        for gradient in (False,) if name in ALONE else (False, True):
            count, ours = compiled(config, images, operator, convolve, gradient)
            functions = {"ours": ours}
            if name not in ALONE:
                functions["plain"] = compiled(
                    config, images, operator, direct, gradient
                )[1]
            times = interleaved(functions, repeats)
            plain = times.get("plain", (float("nan"),))[0]
            row += [times["ours"][0], plain, plain / times["ours"][0]]
        row += [float("nan")] * (7 - len(row))
        rows.append([row[0], f"{count:,}", *row[1:]])
        print(rows[-1], flush=True)
    columns = ["network", "parameters", "pass", "plain", "ratio"]
    table([*columns, "gradient", "plain", "ratio"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    main(arguments.size, arguments.repeats)
