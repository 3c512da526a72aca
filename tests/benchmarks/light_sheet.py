"""Light sheet on a mirror: accuracy, cost, and time against the published scheme.

    python tests/benchmarks/light_sheet.py [--sizes 64 128 256] [--psf 2 4]
        [--accuracy 1e-3]

An iteration is the operator and its adjoint, for one view of a reflective diSPIM:
NA 0.8, voxels of 0.1625 µm, a sheet 7 voxels thin with a Rayleigh range of half the
stack. The published scheme is `exact=True`, on the same grid: two 3D FFTs per camera
plane for each of the two. Of it, a few planes are timed, and the time is scaled to all
of them: a plane's does not depend on which it is. The error is that of these planes.
The PSF is a cube of the stack's size divided by `--psf`, plus one; the larger it is,
the deeper the out-of-focus light that it holds.
"""

import argparse
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, interleaved, table

import jaxdecon as jd

PLANES = 4
"""Camera planes of the published scheme that are timed."""
ACCURACIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 1e-4, 1e-5)


def view(n, psf_size, **options):
    """The first view of a reflective diSPIM of n planes."""
    lens = jd.psf.widefield(
        (psf_size,) * 3, 0.1625, na=0.8, wavelength=0.52, index=1.33
    )
    views = jd.operators.LightSheet.reflective_dispim(
        (lens, lens),
        (n, n, n),
        **{"fwhm": 7.0, "rayleigh": n / 2, "mirror": n - 1, "reflectivity": 0.9},
        **options,
    )
    return views.operators[0]


@jax.jit
def some_planes(exact, x, planes):
    """The published scheme for some camera planes: their images, and what they return.

    Two 3D FFTs per plane for the operator, and two for its adjoint.
    """
    (part,) = exact.parts
    seen, seen_back = x, lambda back: back
    if exact.mirror is not None:
        seen, seen_back = exact.mirror(x), exact.mirror.adjoint
    images = jax.lax.map(functools.partial(part.record, seen), planes)

    def add(back, plane):
        return back + part.bring_back(*plane), None

    back = jax.lax.scan(add, jnp.zeros_like(seen), (images, planes))[0]
    return images, seen_back(back)


def sample(domain):
    """Random points."""
    rng = np.random.default_rng(0)
    count = math.prod(domain) // 500
    x = np.zeros(domain, np.float32)
    x[tuple(rng.integers(0, n, count) for n in domain)] = rng.uniform(1, 9, count)
    return jnp.asarray(x)


@jax.jit
def iteration(operator, x):
    """The operator and its adjoint; both results."""
    y = operator(x)
    return y, operator.adjoint(y)


def relative(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


def curve(n, psf_size, repeats):
    """Error and time for every accuracy asked for."""
    exact = view(n, psf_size, exact=True)
    x = sample(exact.domain)
    truth = iteration(exact, x)
    fast = {a: view(n, psf_size, accuracy=a) for a in ACCURACIES}
    functions = {a: (lambda op=op: iteration(op, x)) for a, op in fast.items()}
    times = interleaved({"exact": lambda: iteration(exact, x), **functions}, repeats)
    rows = []
    for accuracy, operator in fast.items():
        found = iteration(operator, x)
        errors = [relative(a, b) for a, b in zip(found, truth, strict=True)]
        milliseconds = 1e3 * times[accuracy][0]
        speedup = times["exact"][0] / times[accuracy][0]
        facts = operator.terms, operator.parts[1].width
        rows.append([f"{accuracy:g}", *facts, *errors, milliseconds, speedup])
    print(f"\n{n}^3, PSF {psf_size}^3; published {1e3 * times['exact'][0]:.0f} ms")
    columns = ["accuracy", "terms", "columns", "error of A", "error of A^T A"]
    table([*columns, "ms per iteration", "times faster"], rows)


def compare(n, psf_size, accuracy, repeats):
    """A row: time and memory at one size, against the published scheme."""
    operator = view(n, psf_size, accuracy=accuracy)
    x = sample(operator.domain)
    exact = view(n, psf_size, exact=True)
    planes = jnp.linspace(n / 8, 7 * n / 8, PLANES).astype(int)
    functions = {
        "ours": lambda: iteration(operator, x),
        "published": lambda: some_planes(exact, x, planes),
    }
    times = interleaved(functions, repeats)
    truth = some_planes(exact, x, planes)[0]
    error = relative(iteration(operator, x)[0][planes], truth)
    plan = iteration.lower(operator, x).compile().memory_analysis()
    volume = 4 * math.prod(operator.domain)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(operator)) / volume
    published, cpu = (t * n / PLANES for t in times["published"])
    grid = "x".join(map(str, operator.domain))
    seconds = times["ours"][0], published
    ratios = published / times["ours"][0], cpu / times["ours"][1]
    memory = held, plan.temp_size_in_bytes / volume
    stack = f"{n}^3", f"{psf_size}^3", grid, operator.terms, error
    return [*stack, *seconds, *ratios, *memory]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--psf", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--accuracy", type=float, default=1e-3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-curve", action="store_true")
    arguments = parser.parse_args()
    header("Light sheet on a mirror")
    if not arguments.no_curve:
        curve(64, 33, arguments.repeats)
    rows = [
        compare(n, n // share + 1, arguments.accuracy, arguments.repeats)
        for n in arguments.sizes
        for share in arguments.psf
    ]
    if not rows:
        return
    print(
        f"\nAccuracy {arguments.accuracy:g}; published: {PLANES} planes, scaled to all"
    )
    table(
        [
            *("stack", "PSF", "transform", "terms", "error of A"),
            *("ours s", "published s"),
            *("times faster", "in CPU time", "held volumes", "temporary volumes"),
        ],
        rows,
    )


if __name__ == "__main__":
    main()
