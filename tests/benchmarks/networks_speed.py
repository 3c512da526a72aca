"""Seconds per volume: networks against iterating, for a light sheet on a mirror.

    python tests/benchmarks/networks_speed.py [--sizes 32 64 128] [--iterations 5]

Two views of a reflective diSPIM (`light_sheet.view`), PSFs of half the stack. The
published scheme is a 3D convolution per camera plane, here and in the program of Guo et
al. (2020), which iterates 2 to 5 times with unmatched back projectors; of it a few
planes are timed, and the time is scaled to all planes, views and iterations. "Ours" is
the same number of iterations with the fast operator. Networks are not trained: their
speed does not depend on it.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, interleaved, table
from light_sheet import PLANES, iteration, sample, some_planes, view

from jaxdecon import learning

NETWORKS = {
    "DenseDeconNet": learning.NetworkConfig(kind="densedeconnet", views=2),
    "RLN": learning.NetworkConfig(kind="rln", views=2),
    "attention, width 8": learning.NetworkConfig(
        kind="rcan", views=2, width=8, depth=2, blocks=2, reduction=4
    ),
}
VIEWS = 2


def measure(n, iterations, repeats):
    """Rows: one for each network at a size."""
    fast, exact = view(n, n // 2 + 1), view(n, n // 2 + 1, exact=True)
    x = sample(fast.domain)
    planes = jnp.linspace(n / 8, 7 * n / 8, PLANES).astype(int)
    images = jnp.asarray(
        np.random.default_rng(0).random((1, VIEWS, n, n, n)), "float32"
    )
    networks = {name: learning.build(config) for name, config in NETWORKS.items()}
    functions = {
        "published": lambda: some_planes(exact, x, planes),
        "ours": lambda: iteration(fast, x),
        **{name: (lambda one=one: one(images)) for name, one in networks.items()},
    }
    times = interleaved(functions, repeats)
    per_solve = VIEWS * iterations
    published = times["published"][0] * n / PLANES * per_solve
    ours = times["ours"][0] * per_solve
    return [
        [f"{n}^3", name, published, ours, spent, published / spent, ours / spent]
        for name, spent in ((name, times[name][0]) for name in networks)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    header("Networks against iterating: light sheet on a mirror")
    rows = []
    for n in arguments.sizes:
        rows += measure(n, arguments.iterations, arguments.repeats)
        jax.clear_caches()
    columns = ["stack", "network", "published, s", "ours, s", "network, s"]
    table([*columns, "times faster than published", "than ours"], rows)


if __name__ == "__main__":
    main()
