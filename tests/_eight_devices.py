"""A volume on eight devices against one; prints figures that `test_sharded.py` judges.

XLA_FLAGS=--xla_force_host_platform_device_count=8 python tests/_eight_devices.py
"""

import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np

import jaxdecon as jd
from jaxdecon.operators import Convolution, check_adjoint, on_mesh, z_mesh

RNG = np.random.default_rng(0)
MESH = z_mesh()
PSF = np.asarray(jd.psf.gaussian((7, 5, 6), (3.0, 2.0, 2.5))) + 1e-4 * np.arange(6)
PSF = (PSF / PSF.sum()).astype(np.float32)
FIELD = (13, 11, 9)
EVEN = (16, 11, 10)


def image_of(shape):
    image = np.ones(shape, np.float32)
    image[tuple(n // 3 for n in shape)] = 300.0
    return image + RNG.random(shape, np.float32)


def difference(a, b):
    """Greatest, relative to the greatest value."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(b).max())


def centre(x, shape):
    """The field of view in an object's domain, however large that is."""
    starts = [(n - m) // 2 for n, m in zip(x.shape, shape, strict=True)]
    return x[tuple(slice(s, s + m) for s, m in zip(starts, shape, strict=True))]


@jax.jit
def parts_of(blur, back, y):
    """Everything that an operator does, in the field of view."""
    see = functools.partial(centre, shape=blur.range)
    lifted = blur.lift(y)
    return {
        "call": blur(lifted),
        "adjoint": see(blur.adjoint(y)),
        "lift": see(lifted),
        "sensitivity": see(jnp.broadcast_to(blur.sensitivity(), blur.domain)),
        "back_projection": see(back(y)),
        "image_region": blur.image_region(lifted),
        "transpose": see(jax.linear_transpose(blur, lifted)(y)[0]),
    }


def operator(psf, shape, boundary):
    """Differences of all parts, the adjoint's error, and the OTF's share per device."""
    y, kernel = image_of(shape), psf**2
    one, many = (
        Convolution.from_psf(psf, shape, boundary=boundary, mesh=mesh)
        for mesh in (None, MESH)
    )
    expected = parts_of(one, one.back_projection(kernel), y)
    found = parts_of(many, many.back_projection(kernel), y)
    return {
        "parts": {name: difference(found[name], expected[name]) for name in expected},
        "adjoint": float(check_adjoint(many, key=jax.random.key(0))),
        "share": many.transfer.addressable_shards[0].data.size / many.transfer.size,
    }


def operators():
    """Of sizes that eight does not divide, and of PSFs larger than the field."""
    cases = [(PSF, FIELD, "extend"), (PSF, (4, 3, 5), "periodic")]
    cases += [(PSF[3], (7, 6), "edge")]
    return {f"{boundary} {s}": operator(psf, s, boundary) for psf, s, boundary in cases}


def solves():
    """Differences between the friendly functions' results on one and on all."""
    image, light = image_of(FIELD), RNG.random(FIELD, np.float32)
    views = [image_of(FIELD), image_of(FIELD)]
    psfs = [PSF, PSF.transpose(1, 0, 2)]
    rl = functools.partial(jd.richardson_lucy, image, PSF, iterations=3)
    joint = functools.partial(jd.joint_richardson_lucy, views, psfs, iterations=2)

    def channels(mesh=None):
        solve = functools.partial(
            jd.richardson_lucy, psf=PSF, iterations=4, boundary="periodic", mesh=mesh
        )
        return jax.vmap(solve)(np.stack(views))

    runs = {
        "channels": channels,
        "reflect": functools.partial(
            rl, boundary="reflect", init=light + 1, background=light
        ),
        "unmatched": functools.partial(
            rl, back_projector="wiener-butterworth", restore_flux=True, stop="change"
        ),
        "joint": functools.partial(joint, background=[1.0, light]),
    }
    return {name: difference(run(mesh=MESH), run()) for name, run in runs.items()}


def driver():
    """`deconvolve`, and what it leaves on each device."""
    prior = jd.deconvolution.Tikhonov(weight=0.01)
    solve = functools.partial(
        jd.deconvolve,
        image_of(EVEN),
        scheme=jd.deconvolution.RichardsonLucy(prior=prior),
        iterations=4,
        background=0.5,
    )
    one, many = (
        solve(operator=Convolution.from_psf(PSF, EVEN, mesh=mesh))
        for mesh in (None, MESH)
    )
    return {
        "value": difference(many.value, one.value),
        "history": difference(many.history, one.history),
        "slab": many.value.addressable_shards[0].data.shape,
    }


def gradients():
    """Differences between gradients for image and PSF, and what the program gathers."""

    def loss(image, psf, mesh=None):
        result = jd.richardson_lucy(image, psf, iterations=3, mesh=mesh)
        return (result**2).sum() + result[2, 3, 4]

    image = image_of(EVEN)
    expected = jax.jit(jax.grad(loss, (0, 1)))(image, PSF)
    spread = functools.partial(loss, mesh=MESH)
    arguments = on_mesh(image, MESH), PSF
    program = jax.jit(jax.grad(spread, (0, 1))).lower(*arguments).compile()
    pairs = zip(program(*arguments), expected, strict=True)
    return {
        "differences": [difference(a, b) for a, b in pairs],
        "gathered": largest_gathered(program),
    }


def memory():
    """Bytes per device by number of devices, and what is gathered."""
    shape, sizes = (56, 48, 48), {}
    for devices in (1, 2, 8):
        program = compiled(shape, z_mesh(jax.devices()[:devices]))
        plan = program.memory_analysis()
        parts = ("argument", "output", "temp")
        sizes[devices] = [getattr(plan, f"{part}_size_in_bytes") for part in parts]
    return {"sizes": sizes, "gathered": largest_gathered(program)}


def compiled(shape, mesh):
    """A few updates, with the camera's field in the middle of a larger object."""
    solve = functools.partial(jd.richardson_lucy, iterations=3, mesh=mesh)
    image = on_mesh(np.ones(shape, np.float32), mesh)
    return jax.jit(solve).lower(image, PSF).compile()


def largest_gathered(program):
    """Elements of the largest array that a program gathers on every device."""
    text = program.as_text()
    assert "all-to-all" in text
    shapes = re.findall(r"\[([\d,]+)\]\S* all-gather", text)
    return max((math.prod(map(int, s.split(","))) for s in shapes), default=0)


def double():
    """The adjoint in double precision."""
    jax.config.update("jax_enable_x64", True)
    blur = Convolution.from_psf(PSF.astype(float), FIELD, mesh=MESH)
    return float(check_adjoint(blur, key=jax.random.key(1), dtype=jnp.float64))


if __name__ == "__main__":
    sections = (operators, solves, driver, gradients, memory, double)
    print(json.dumps({section.__name__: section() for section in sections}))
