"""Eight channels in one `vmap` call against eight calls: equality and time.

python tests/benchmarks/channels.py [--size 64]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, interleaved, scene, table

import jaxdecon as jd


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    header(f"Eight channels of {arguments.size}^3, 10 iterations")
    _, psf, image = scene(arguments.size, 17)
    channels = jnp.stack([jnp.asarray(image) * (1 + c) for c in range(8)])

    def solve(channel):
        return jd.richardson_lucy(channel, psf, iterations=10, background=5.0)

    mapped = jax.jit(jax.vmap(solve))

    def apart():
        return [solve(channel) for channel in channels]

    difference = abs(np.asarray(mapped(channels)) - np.stack(apart())).max()
    largest = float(mapped(channels).max())
    times = interleaved({"one call": lambda: mapped(channels), "eight calls": apart})
    rows = [[name, wall, cpu] for name, (wall, cpu) in times.items()]
    table(["", "wall s", "CPU s"], rows)
    print(f"\nlargest difference: {difference / largest:.2g} of the maximum")


if __name__ == "__main__":
    main()
