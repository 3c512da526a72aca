"""What the residual map and repair see and do, where the truth is known.

    python tests/benchmarks/trust.py

z should be N(0, 1) at the truth, its largest magnitude about 4.5. Small errors are
spots of a tenth of the object's maximum at its brightest place, added or taken away.
Lines on an even body, of 50 photons on 100, are invented; after some Richardson-Lucy
updates a share of them is left.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _common import header, table

import jaxdecon as jd
from jaxdecon import learning
from jaxdecon.operators import Convolution, LightSheet, VaryingConvolution, Views

FIELD = (96, 96)
PSF = jd.psf.gaussian((15, 15), 4.0)
NOISE = learning.CameraNoise.of()
BACKGROUND = 5.0
KEY = jax.random.key(0)
UPDATES = (1, 3, 10, 30)


def operators():
    """Blurs by name."""
    for boundary in ("extend", "periodic", "reflect"):
        yield boundary, Convolution.from_psf(PSF, FIELD, boundary=boundary)
    psfs = [jd.psf.gaussian((15, 15), w) for w in ((2.5, 5.0), (5.0, 2.5))]
    yield "two views", Views([Convolution.from_psf(p, FIELD) for p in psfs])
    psfs = jnp.stack([jd.psf.gaussian((11, 11), w) for w in (2.0, 3.0, 4.5)])
    field = jd.psf.PSFField.from_grid(psfs[None], ([0.0], [0.0, 48.0, 95.0]))
    yield "varying", VaryingConvolution.from_field(field, FIELD)
    psf = jd.psf.gaussian((7, 5, 5), (3.5, 2.0, 2.0))
    sheet = LightSheet.from_psf(psf, (16, 32, 32), fwhm=4.0, rayleigh=12.0)
    yield "light sheet", sheet


def pairs(structure, operator, photons):
    return learning.SimulatedPairs(
        structure, operator, photons=photons, background=BACKGROUND, key=KEY
    )


def residual(estimate, images, operator):
    return learning.residual_map(
        estimate, images, operator=operator, background=BACKGROUND, noise=NOISE
    )


def at_the_truth(name, operator):
    source = pairs("spheres", operator, 300)
    maps = [residual(t, im, operator).z for im, t in (source[i] for i in range(4))]
    return [
        name,
        float(jnp.std(jnp.stack(maps))),
        max(float(abs(z).max()) for z in maps),
    ]


def small_error(structure, sign):
    """Largest |z| nearby, and by how much chi-square changes."""
    operator = Convolution.from_psf(PSF, FIELD)
    images, truth = pairs(structure, operator, 150)[0]
    middle = jnp.zeros(FIELD).at[16:-16, 16:-16].set(1)
    place = np.unravel_index(np.argmax(middle * truth), FIELD)
    move = [p - n // 2 for p, n in zip(place, FIELD, strict=True)]
    spot = np.roll(np.asarray(jd.psf.gaussian(FIELD, 6.0)), move, (0, 1))
    wrong = jnp.maximum(truth + sign * 0.1 * float(truth.max()) * spot / spot.max(), 0)
    right, found = (residual(x, images, operator) for x in (truth, wrong))
    near = np.hypot(*(np.indices(FIELD) - np.reshape(place, (2, 1, 1)))) < 4
    change = abs(float(found.chi_square - right.chi_square))
    what = "invented" if sign > 0 else "removed"
    scatter = float(np.sqrt(2 / np.prod(FIELD)))
    return [structure, what, float(abs(found.z)[near].max()), change, scatter]


def left(width):
    """Shares of invented lines that are left after updates of several kinds."""
    operator = Convolution.from_psf(PSF, FIELD)
    body = np.full(FIELD, 100.0, np.float32)
    light = operator(jnp.full(operator.domain, 100.0)) + BACKGROUND
    images = jax.random.poisson(KEY, light).astype(jnp.float32)[None]
    lines = np.asarray(learning.filaments(jax.random.key(4), FIELD, width=width))
    added = 50 * lines / lines.max()

    def share(**options):
        with_it, without = (
            learning.repair(
                x, images, operator=operator, background=BACKGROUND, **options
            ).image
            for x in (body + added, body)
        )
        return float(((with_it - without) * added).sum() / (added**2).sum())

    plain = [share(iterations=n, accelerated=False) for n in UPDATES]
    return [width, *plain, share(iterations=5), share(iterations=5, doubt=0.5)]


def main():
    header("Residual map and repair")
    rows = [at_the_truth(name, operator) for name, operator in operators()]
    table(["blur", "standard deviation of z", "largest"], rows)
    rows = [small_error(s, sign) for s in ("spheres", "filaments") for sign in (1, -1)]
    table(
        ["object", "a tenth", "largest z", "change of chi-square", "its scatter"], rows
    )
    columns = ["width of lines", *(f"{n} updates" for n in UPDATES)]
    rows = [left(width) for width in (3.0, 2.0)]
    table([*columns, "5 accelerated", "5 from half the image"], rows)


if __name__ == "__main__":
    main()
