"""Blur that changes over the field: error against rank and nodes, seconds, results.

    python tests/benchmarks/varying.py [--size N]

A widefield PSF (NA 1.1 in water) with coma, astigmatism and field curvature that grow
from the centre of the field as Seidel's do, to 0.5, 1 and 2 rad rms at its edges.
Errors are those of the image of a point, relative to its norm, against the PSF that the
pupil gives at that very place: the largest at the nodes, and the largest of some places
between them.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, interleaved, table

import jaxdecon as jd
from jaxdecon.operators import Convolution, VaryingConvolution
from jaxdecon.psf import PSFField

PSF, VOXEL = (9, 25, 25), (0.3, 0.1, 0.1)
OPTICS = {"na": 1.1, "wavelength": 0.52, "index": 1.33}
DEPTH = 12
STRENGTHS = (0.5, 1.0, 2.0)
RANKS = (1, 5, 10, 20)
NODES = (5, 9)
BETWEEN = 8
BACKGROUND, PEAK = 5.0, 400.0


def seidel(strength, size):
    """The PSF at a place of the field."""

    @jax.jit
    def model(position):
        v, u = (position[1:] - (size - 1) / 2) / ((size - 1) / 2)
        square = u**2 + v**2
        coefficients = {
            (3, 1): 0.7 * u,
            (3, -1): 0.7 * v,
            (2, 2): 0.5 * (u**2 - v**2),
            (2, -2): 0.5 * 2 * u * v,
            (2, 0): 0.5 * square,
        }
        scaled = {mode: strength * c for mode, c in coefficients.items()}
        return jd.psf.widefield(PSF, VOXEL, aberrations=scaled, **OPTICS)

    return model


def field_of(model, size, nodes):
    along = np.linspace(0, size - 1, nodes)
    return PSFField.from_model(model, ([0.0], along, along))


@jax.jit
def image_of_point(operator, place):
    """What is seen around a point of light."""
    before = jnp.array([b for b, _ in operator._margins])
    point = jnp.zeros(operator.domain).at[tuple(place + before)].set(1.0)
    first = place - np.array(PSF) // 2
    return jax.lax.dynamic_slice(operator(point), first, PSF)


def error(operator, places, psfs):
    """The largest, of the images of points."""
    errors = []
    for place, psf in zip(places, psfs, strict=True):
        off = image_of_point(operator, jnp.asarray(place)) - psf
        errors.append(float(jnp.linalg.norm(off) / jnp.linalg.norm(psf)))
    return max(errors)


def some_places(size, rng):
    """Anywhere, but so that nothing of the PSF is cut off."""
    margin = np.array(PSF[1:]) // 2 + 1
    between = rng.integers(margin, size - margin, (BETWEEN, 2))
    return [np.array([DEPTH // 2, *p]) for p in between]


def errors(size):
    """Rows of errors, per strength, nodes and rank."""
    rng = np.random.default_rng(0)
    places = some_places(size, rng)
    shape = (DEPTH, size, size)
    for strength in STRENGTHS:
        model = seidel(strength, size)
        psfs = [model(jnp.asarray(p, float)) for p in places]
        for nodes in NODES:
            field = field_of(model, size, nodes)
            make = functools.partial(VaryingConvolution.from_field, field, shape)
            ranks = RANKS if nodes == max(NODES) else ()
            few = [{"rank": rank} for rank in ranks] + [{"accuracy": 0.01}]
            for options in few:
                blur = make(method="low-rank", **options)
                rank = len(blur.filter.weights)
                name = f"rank {rank}" + (" (1 %)" if "accuracy" in options else "")
                row = [strength, nodes, name, node_error(field, rank)]
                yield [*row, error(blur, places, psfs)]
            blur = make(method="tiles")
            name = f"{len(blur.filter.transfers)} tiles"
            yield [strength, nodes, name, 0.0, error(blur, places, psfs)]


def node_error(field, rank):
    found = jd.operators._low_rank.spectrum(field).errors
    return float(found[min(rank, len(found)) - 1])


@jax.jit
def naive(operator, x):
    """All modes at once: as many spectra, and as many inverse transforms."""
    modes = operator.filter

    def one(transfer, weights):
        weighted = x * modes._map(weights, x)
        return jnp.fft.irfftn(jnp.fft.rfftn(weighted) * transfer, s=x.shape)

    total = jax.vmap(one)(modes.transfers, modes.weights).sum(0)
    return operator._crop(total)


def timing(size):
    """Rows of seconds and memory of one application, and of its adjoint."""
    shape = (DEPTH, size, size)
    apply = jax.jit(lambda a, x: a(x))
    back = jax.jit(lambda a, y: a.adjoint(y))
    for strength in STRENGTHS:
        field = field_of(seidel(strength, size), size, max(NODES))
        low = VaryingConvolution.from_field(field, shape, method="low-rank")
        tiles = VaryingConvolution.from_field(field, shape, method="tiles")
        auto = VaryingConvolution.from_field(field, shape)
        single = Convolution.from_psf(field.mean, shape)
        x, y = jnp.ones(low.domain), jnp.ones(shape)
        runs = {
            "one PSF": (apply, back, single),
            f"low rank, {len(low.filter.weights)}": (apply, back, low),
            f"tiles, {len(tiles.filter.transfers)}": (apply, back, tiles),
            "all modes at once": (naive, None, low),
        }
        forward = {k: functools.partial(f, a, x) for k, (f, _, a) in runs.items()}
        adjoint = {k: functools.partial(b, a, y) for k, (_, b, a) in runs.items() if b}
        seconds, backs = interleaved(forward, 3), interleaved(adjoint, 3)
        chosen = type(auto.filter) is type(tiles.filter)
        for name, (function, _, operator) in runs.items():
            memory = function.lower(operator, x).compile().memory_analysis()
            held = sum(leaf.nbytes for leaf in jax.tree.leaves(operator))
            mark = "auto" if name.startswith("tiles" if chosen else "low") else ""
            yield [
                *(strength, name, 1e3 * seconds[name][0]),
                1e3 * backs[name][0] if name in backs else "",
                *(held / 2**20, memory.temp_size_in_bytes / 2**20, mark),
            ]


def sample(size, rng):
    """Points and lines, and what lies around the field."""
    shape = np.array([DEPTH + PSF[0] - 1, size + PSF[1] - 1, size + PSF[2] - 1])
    truth = np.zeros(shape, np.float32)
    where = tuple(rng.integers(0, n, truth.size // 1500) for n in shape)
    truth[where] = rng.uniform(0.3, 1, len(where[0]))
    along = np.linspace(-0.1, 1.1, 8 * size)[:, None]
    for _ in range(12):
        start, slope = rng.uniform(0, 1, 3), rng.uniform(-1, 1, 3)
        index = np.round((start + slope * (along - 0.5)) * shape).astype(int)
        truth[tuple(index[((index >= 0) & (index < shape)).all(1)].T)] = 0.5
    return truth


def deconvolved(size):
    """Rows of correlations with the truth, of several PSFs."""
    rng = np.random.default_rng(1)
    shape = (DEPTH, size, size)
    smooth = Convolution.from_psf(
        jd.psf.gaussian((5, 7, 7), (2.0, 2.5, 2.5)), shape, boundary="edge"
    )
    inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(PSF, shape, strict=True))
    for strength in STRENGTHS:
        model = seidel(strength, size)
        truth = sample(size, rng)
        image, scale = record(model, truth, size, rng)
        goal = smooth(jnp.asarray(scale * truth[inside]))
        field = field_of(model, size, max(NODES))
        centre = model(jnp.asarray([0.0, (size - 1) / 2, (size - 1) / 2]))
        for label, options in {
            "matched, 20": {"iterations": 20},
            "Wiener–Butterworth, 2": {
                **{"iterations": 2, "back_projector": "wiener-butterworth"},
                **{"keep": "last", "restore_flux": True},
            },
        }.items():
            row = [strength, label, corner_ncc(image - BACKGROUND, goal)[0]]
            for psf in (centre, field.mean, field):
                found = jd.richardson_lucy(image, psf, background=BACKGROUND, **options)
                row += corner_ncc(smooth(found), goal)
            yield row


def record(model, truth, size, rng):
    """Photons: the truth by PSFs twice as dense as any that are used after."""
    shape = (DEPTH, size, size)
    dense = field_of(model, size, 2 * max(NODES) - 1)
    blur = VaryingConvolution.from_field(dense, shape, method="tiles")
    before = [b - m // 2 for (b, _), m in zip(blur._margins, PSF, strict=True)]
    sizes = zip(before, blur.domain, truth.shape, strict=True)
    clean = np.maximum(blur(np.pad(truth, [(b, d - b - n) for b, d, n in sizes])), 0)
    scale = PEAK / clean.max()
    return rng.poisson(scale * clean + BACKGROUND).astype(np.float32), scale


def corner_ncc(value, goal):
    """Correlation over all, and in the outermost quarter of either side."""
    n = goal.shape[-1] // 4
    pairs = [(value, goal), (value[:, :n, :n], goal[:, :n, :n])]
    return [float(jd.metrics.ncc(a, b)) for a, b in pairs]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size", type=int, default=128, help="of the image, in y and x"
    )
    size = parser.parse_args().size
    header(f"Blur that varies, {DEPTH} x {size} x {size}, PSF {PSF}")
    table(["rad", "nodes per axis", "blur", "at nodes", "between"], list(errors(size)))
    table(
        ["rad", "method", "ms", "adjoint, ms", "held, MiB", "temporary, MiB", ""],
        list(timing(size)),
    )
    names = [
        f"{n}, {w}" for n in ("centre", "mean", "field") for w in ("all", "corner")
    ]
    table(["rad", "scheme", "image", *names], list(deconvolved(size)))


if __name__ == "__main__":
    main()
