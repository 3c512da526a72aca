"""The error at every stopping rule's stop, against the least of any iteration count.

    python tests/benchmarks/stopping.py [--size 40] [--seeds 3 4]

Three kinds of object at three noise levels, four schemes, all from a constant start.
The error is that of the object inside the field, relative, in the square mean.
Consensus is a scheme of its own: its last error is compared with the least of the plain
scheme, and may lie below it.
"""

import argparse
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, table
from _objects import BACKGROUND, OBJECTS, make

import jaxdecon as jd
from jaxdecon import deconvolution as decon

PEAKS = (10, 100, 1000)
UNMATCHED = {"restore_flux": True, "start": "constant"}
METHODS = {
    "matched": ({"start": "constant"}, 120),
    "Biggs": ({"start": "constant", "accelerated": True}, 50),
    "Wiener–Butterworth": ({"back_projector": "wiener-butterworth", **UNMATCHED}, 14),
    "OMW": ({"back_projector": "omw", "alpha": 0.005, **UNMATCHED}, 12),
}
RULES = ("change", "discrepancy", "held-out", "rehearsal", "consensus")
GOAL = 0.03


def rule_for(name, scheme, key):
    """The rule, and the scheme that it stops."""
    match name:
        case "change":
            return decon.RelativeChange(tolerance=1e-2), scheme
        case "discrepancy":
            return decon.Discrepancy(), scheme
        case "held-out":
            return decon.HeldOut(scheme=scheme, key=key), scheme
        case "rehearsal":
            return decon.Rehearsal(scheme=scheme, key=key), scheme
    return decon.Agreement(), _with_consensus(scheme, key)


def _with_consensus(scheme, key):
    """The scheme with gradient consensus around its innermost part."""
    if isinstance(scheme, decon.RichardsonLucy):
        return decon.GradientConsensus(scheme=scheme, key=key)
    return type(scheme)(scheme=_with_consensus(scheme.scheme, key))


@functools.partial(jax.jit, static_argnames="count")
def errors(problem, scheme, truth, *, count):
    """After every update."""

    def step(state, _):
        state = scheme.update(problem, state)
        return state, distance(problem.operator.image_region(state.estimate), truth)

    return jax.lax.scan(step, scheme.init(problem), length=count)[1]


def distance(value, truth):
    """Relative error in the square mean."""
    return jnp.linalg.norm((value - truth).ravel()) / jnp.linalg.norm(truth.ravel())


def case(kind, peak, method, size, seed):
    """(best count, least error, {rule: (count, excess)}) of one scene."""
    truth, psf, image = make(kind, size, peak, seed=seed)
    options, count = METHODS[method]
    blur = jd.operators.Convolution.from_psf(psf, image.shape)
    scheme = decon.richardson_lucy_scheme(blur, psf, **options)
    problem = decon.Problem(
        data=jnp.asarray(image), operator=blur, background=jnp.float32(BACKGROUND)
    )
    found = np.asarray(errors(problem, scheme, truth, count=count))
    stops = {}
    for name in RULES:
        rule, stopped = rule_for(name, scheme, jax.random.key(seed))
        result = jd.deconvolve(
            *(image, blur, stopped),
            iterations=count if name != "consensus" else 2 * count,
            stop=rule,
            background=BACKGROUND,
        )
        kept = int(result.best_iteration if rule.ranks else result.iterations)
        excess = float(distance(result.value, truth)) / found.min() - 1
        stops[name] = (kept, excess)
    return int(found.argmin()) + 1, float(found.min()), stops


def rows_of(cases):
    """One row per scene: means over the seeds."""
    for (kind, peak, method), found in cases.items():
        best = "/".join(str(b) for b, _, _ in found)
        least = float(np.mean([e for _, e, _ in found]))
        cells = []
        for name in RULES:
            counts = "/".join(str(stops[name][0]) for *_, stops in found)
            excess = np.mean([stops[name][1] for *_, stops in found])
            cells.append(f"{counts}: {excess:+.1%}")
        yield [kind, peak, method, best, least, *cells]


def summary(cases, method=None):
    """Mean and largest excess of every rule, and how often the goal is met."""
    for name in RULES:
        excess = [
            stops[name][1]
            for (_, _, m), found in cases.items()
            if method in (None, m)
            for *_, stops in found
        ]
        met = sum(e <= GOAL for e in excess)
        yield [
            *(name, method or "all"),
            *(f"{np.mean(excess):+.1%}", f"{max(excess):+.1%}"),
            f"{met} of {len(excess)}",
        ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4])
    arguments = parser.parse_args()
    header(f"Stopping, {arguments.size}^3, seeds {arguments.seeds}")
    warnings.simplefilter("ignore", decon.OverIterationWarning)
    cases = {
        (kind, peak, method): [
            case(kind, peak, method, arguments.size, seed) for seed in arguments.seeds
        ]
        for kind in OBJECTS
        for peak in PEAKS
        for method in METHODS
    }
    columns = ["object", "peak", "scheme", "best count", "least error"]
    table([*columns, *RULES], list(rows_of(cases)))
    rows = [row for method in (None, *METHODS) for row in summary(cases, method)]
    table(["rule", "scheme", "mean excess", "largest", "within 3 %"], rows)


if __name__ == "__main__":
    main()
