"""Scenes for networks: where blur varies, and where it does not.

A scene is an operator, the structures that are seen through it, and the camera.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from varying import seidel

import jaxdecon as jd
from jaxdecon import learning
from jaxdecon.operators import LightSheet, Transpose, VaryingConvolution, Views
from jaxdecon.psf import PSFField

BACKGROUND = 5.0
PHOTONS = (100.0, 1000.0)
SPACING = 0.5
"""Of the structures: they are twice as large as at 1, in voxels."""
STRUCTURES = ("tubules", "shells", "filaments")
SHEET_SIZE, SHEET_PSF, MIRROR = 32, 17, 1.5
FIELD_SIZE = 128


@dataclasses.dataclass(frozen=True)
class OnMirror:
    """A structure, and nothing behind the mirror, where z + x is larger.

    Attributes:
        structure: its name.
        size: of the field of view, a cube in the middle of the object's domain.
        mirror: z + x on it, voxels of the field of view.
    """

    structure: str
    size: int
    mirror: float

    def __call__(self, key, shape, spacing=1.0):
        thing = learning.as_structure(self.structure)(key, shape, spacing)
        z, _, x = (jnp.arange(n) - (n - self.size) // 2 for n in shape)
        return thing * (z[:, None, None] + x < self.mirror)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is looked at, and through what.

    Attributes:
        operator: from the object to one view or several.
        structures: by name.
        ndim: spatial axes.
        views: of the operator.
    """

    operator: Any
    structures: dict[str, Any]
    ndim: int
    views: int

    def pairs(self, names=STRUCTURES, *, length, seed, photons=PHOTONS):
        """Simulated pairs, in photons."""
        return learning.SimulatedPairs(
            tuple(self.structures[name] for name in names),
            self.operator,
            photons=photons,
            background=BACKGROUND,
            spacing=SPACING,
            length=length,
            key=jax.random.key(seed),
        )


def light_sheet(size=SHEET_SIZE, psf=SHEET_PSF, accuracy=1e-2, exact=False):
    """Two views of a reflective diSPIM on one grid.

    NA 0.8, voxels of 0.1625 µm, sheets 7 voxels thin with a Rayleigh range of half the
    stack.
    """
    lens = jd.psf.widefield((psf,) * 3, 0.1625, na=0.8, wavelength=0.52, index=1.33)
    first, second = LightSheet.reflective_dispim(
        (lens, lens),
        (size,) * 3,
        fwhm=7.0,
        rayleigh=size / 2,
        mirror=MIRROR * size,
        reflectivity=0.9,
        accuracy=accuracy,
        exact=exact,
    ).operators
    return Views([first, Transpose.from_axes((2, 1, 0), second.range) @ second])


def light_sheet_scene(size=SHEET_SIZE):
    """A sample on a mirror."""
    names = learning.STRUCTURES
    structures = {n: OnMirror(n, size, MIRROR * size) for n in names if n != "phantom"}
    return Scene(light_sheet(size), structures, ndim=3, views=2)


def field_scene(size=FIELD_SIZE, strength=1.5):
    """A plane through a lens whose aberrations grow towards the edges of its field.

    Coma, astigmatism and field curvature as Seidel's, rad rms at the edges.
    """
    model = seidel(strength, size)

    @jax.jit
    def plane(position):
        psf = model(position)
        focal = psf[psf.shape[0] // 2]
        return focal / focal.sum()

    along = np.linspace(0, size - 1, 9)
    field = PSFField.from_model(
        lambda position: plane(jnp.concatenate([jnp.zeros(1), position])),
        (along, along),
    )
    operator = VaryingConvolution.from_field(field, (size,) * 2, rank=12)
    return Scene(operator, dict(learning.STRUCTURES), ndim=2, views=1)


SCENES = {"light sheet": light_sheet_scene, "field": field_scene}

NETWORKS = {
    "DenseDeconNet": functools.partial(learning.NetworkConfig, kind="densedeconnet"),
    "RLN": functools.partial(learning.NetworkConfig, kind="rln"),
    "RLN, physics": functools.partial(learning.NetworkConfig, kind="rln", physics=True),
    "attention": functools.partial(
        learning.NetworkConfig, kind="rcan", width=8, depth=2, blocks=2, reduction=4
    ),
    "unrolled": functools.partial(learning.NetworkConfig, kind="unrolled"),
}


def network_for(name, scene):
    """A network for a scene, before training."""
    config = NETWORKS[name](ndim=scene.ndim, views=scene.views)
    return learning.build(config, jax.random.key(1))


@functools.partial(jax.jit, static_argnames="iterations")
def iterates(operator, images, iterations):
    """Richardson-Lucy with the exact operator: every iterate, in photons."""
    views = tuple(images) if len(images) > 1 else images[0]
    problem = jd.deconvolution.Problem(
        data=views, operator=operator, background=jnp.float32(BACKGROUND)
    )
    scheme = jd.deconvolution.RichardsonLucy()

    def step(state, _):
        state = scheme.update(problem, state)
        return state, operator.image_region(state.estimate)

    return jax.lax.scan(step, scheme.init(problem), length=iterations)[1]


def scores(estimate, truth):
    """PSNR in dB, SSIM, NCC."""
    estimate, truth = np.asarray(estimate), np.asarray(truth)
    top = float(truth.max())
    return (
        float(jd.metrics.psnr(estimate, truth, peak=top)),
        float(jd.metrics.ssim(estimate, truth, data_range=top)),
        float(jd.metrics.ncc(estimate, truth)),
    )
