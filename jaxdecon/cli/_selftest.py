"""`jaxdecon selftest`: the promises of the library, checked on this machine."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import typer

from ._console import say, start_jax

SHAPE = (20, 24, 23)
UPDATES = {"matched": 5}


def selftest() -> None:
    """Check on this machine and device that results are right.

    Positions, flux, flat fields, zeros, scale, integers and the exactness of adjoints,
    for every back projector and boundary.
    """
    import jax

    start_jax()
    say(f"on {jax.devices()[0].device_kind}")
    failed = 0
    for name, value, limit in checks():
        good = value <= limit
        failed += not good
        say(f"{'ok  ' if good else 'FAIL'} {name}: {value:.2g} (limit {limit:g})")
    if failed:
        say(f"{failed} checks failed")
        raise typer.Exit(1)
    say("all checks passed")


def checks() -> Iterator[tuple[str, float, float]]:
    """(what is checked, how far it is from ideal, how far it may be)."""
    import jax

    from ..deconvolution import KINDS
    from ..operators import BOUNDARIES, Convolution, check_adjoint
    from ..psf import gaussian

    for size in (9, 12):
        psf = gaussian((size,) * 3, 2.5)
        drift = 0.02 if size % 2 else 0.03
        for boundary in BOUNDARIES:
            blur = Convolution.from_psf(psf, SHAPE, boundary=boundary)
            error = float(check_adjoint(blur, key=jax.random.key(0)))
            yield f"adjoint, {boundary}, PSF {size}", error, 1e-5
            for kind in KINDS:
                where = f"{kind}, {boundary}, PSF {size}"
                solve = _solver(psf, kind, boundary)
                yield f"position, {where}", position_error(psf, solve), drift
                yield f"flat field, {where}", flat_error(solve), 0.01
                yield f"zeros, {where}", zero_error(solve), 0.0
                yield f"scale, {where}", scale_error(solve), 1e-4
                yield f"integers, {where}", integer_error(solve), 0.0
                if kind == "matched":
                    yield f"flux, {where}", flux_error(psf, solve), 1e-3


Solve = Callable[[np.ndarray], np.ndarray]


def _solver(psf, kind: str, boundary: str) -> Solve:
    from ..deconvolution import OverIterationWarning, richardson_lucy

    def solve(image: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():  # a point in the dark is made to be so
            warnings.simplefilter("ignore", OverIterationWarning)
            result = richardson_lucy(
                image,
                psf,
                iterations=UPDATES.get(kind, 1),
                back_projector=kind,
                boundary=boundary,
            )
        return np.asarray(result)

    return solve


def _blurred_point(psf) -> np.ndarray:
    from ..operators import Convolution

    point = np.zeros(SHAPE, np.float32)
    point[tuple(n // 2 for n in SHAPE)] = 1000
    blur = Convolution.from_psf(psf, SHAPE, boundary="periodic")
    return np.maximum(np.asarray(blur(point)), 0)


def _texture() -> np.ndarray:
    return np.random.default_rng(0).poisson(20, SHAPE).astype(np.float32)


def position_error(psf, solve: Solve) -> float:
    """How far the centroid of a blurred point moves, in voxels."""
    result = solve(_blurred_point(psf)).astype(float)
    indices = np.indices(SHAPE).reshape(3, -1)
    centroid = indices @ result.ravel() / result.sum()
    return float(abs(centroid - [n // 2 for n in SHAPE]).max())


def flux_error(psf, solve: Solve) -> float:
    """Relative change of the total light of a blurred point."""
    image = _blurred_point(psf)
    return abs(float(solve(image).sum() / image.sum()) - 1)


def flat_error(solve: Solve) -> float:
    """Largest relative deviation of a flat field, borders included."""
    return float(abs(solve(np.full(SHAPE, 7, np.float32)) / 7 - 1).max())


def zero_error(solve: Solve) -> float:
    """Largest value that an image of zeros gives (NaN counts as infinite)."""
    return float(
        np.nan_to_num(abs(solve(np.zeros(SHAPE, np.float32))), nan=np.inf).max()
    )


def scale_error(solve: Solve) -> float:
    """Largest relative difference between scaling before and after."""
    image = _texture()
    after = 1000 * solve(image)
    return float(abs(solve(1000 * image) - after).max() / after.max())


def integer_error(solve: Solve) -> float:
    """Largest difference between 16-bit and float input of the same values."""
    image = _texture()
    return float(abs(solve(image.astype(np.uint16)) - solve(image)).max())
