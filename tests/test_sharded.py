"""One volume on several devices and hosts gives what one device gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType

import jaxdecon as jd
from jaxdecon.operators import Convolution, on_mesh, z_mesh

from .conftest import CACHE

HERE = Path(__file__).parent
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(CACHE / jax.__version__),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}


# Nearly all of the time goes into compiling, and little of it is worth its while here.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def start(script, *arguments, flags=""):
    """A script of this folder, running with as many devices as the flags say."""
    return subprocess.Popen(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env={**ENVIRONMENT, "XLA_FLAGS": f"{QUICK} {flags}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """What it printed."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def eight():
    """Figures of `_eight_devices.py`."""
    flags = "--xla_force_host_platform_device_count=8"
    out = finish(start("_eight_devices.py", flags=flags))
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Image, PSF and results of two processes with two devices each."""
    folder = tmp_path_factory.mktemp("hosts")
    rng = np.random.default_rng(0)
    image = rng.poisson(20.0, (16, 11, 9)).astype(np.float32)
    psf = np.asarray(jd.psf.gaussian((7, 5, 5), (4.0, 2.0, 2.0)))
    np.savez(folder / "data.npz", image=image, psf=psf)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    results = [folder / f"{process}.npz" for process in (0, 1)]
    both = [
        start("_two_hosts.py", process, port, folder / "data.npz", result)
        for process, result in enumerate(results)
    ]
    for process in both:
        finish(process)
    halves = [dict(np.load(result)) for result in results]
    found = {n: np.concatenate([h[n] for h in halves]) for n in halves[0]}
    return image, psf, found


def test_operators_agree_with_those_on_one_device(eight):
    for case, found in eight["operators"].items():
        assert found["parts"] == pytest.approx(
            dict.fromkeys(found["parts"], 0), abs=5e-6
        )
        assert found["adjoint"] < 1e-6, case
        assert found["share"] == 1 / 8, case
    assert eight["double"] < 1e-12


def test_solves_agree_with_those_on_one_device(eight):
    differences = eight["solves"]
    assert differences == pytest.approx(dict.fromkeys(differences, 0), abs=1e-5)


def test_driver_leaves_slabs(eight):
    found = eight["driver"]
    assert max(found["value"], found["history"]) < 1e-5
    assert found["slab"] == [2, 11, 10]


def test_gradients_agree_and_gather_no_volume(eight):
    found = eight["gradients"]
    assert max(found["differences"]) < 1e-5
    assert found["gathered"] <= 8 * 5 * 6  # the PSF, and no volume of 16 x 11 x 10


def test_memory_per_device_falls_with_the_number_of_devices(eight):
    sizes = {int(count): np.array(s) for count, s in eight["memory"]["sizes"].items()}
    for count, size in sizes.items():
        # A few kilobytes are for the PSF and sizes that the count does not divide.
        assert (size < 1.1 * sizes[1] / count + 4096).all()
    assert eight["memory"]["gathered"] == 0


def test_hosts_that_hold_half_a_volume_agree_with_one(hosts):
    image, psf, found = hosts
    unmatched = jd.richardson_lucy(
        image, psf, iterations=2, back_projector="wiener-butterworth"
    )
    for name in ("held", "copied"):
        np.testing.assert_allclose(found[name], unmatched, rtol=1e-5, atol=1e-4)
    blur = Convolution.from_psf(psf, image.shape)
    scheme = jd.deconvolution.RichardsonLucy()
    driven = jd.deconvolve(image, blur, scheme, iterations=3, background=1.0).value
    np.testing.assert_allclose(found["driver"], driven, rtol=1e-5)


def test_a_mesh_of_one_device_will_do(scene):
    _, psf, image = scene
    expected = jd.richardson_lucy(image, psf, iterations=2)
    found = jd.richardson_lucy(image, psf, iterations=2, mesh=z_mesh())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_meshes_that_will_not_do_are_refused():
    device = np.array(jax.devices()[:1])
    explicit = jax.sharding.Mesh(device, ("z",), axis_types=(AxisType.Explicit,))
    with pytest.raises(ValueError, match=r"`mesh` has the axes .*z_mesh"):
        Convolution.from_psf(np.ones((3, 3, 3)), (4, 4, 4), mesh=explicit)
    several = jax.sharding.Mesh(device.reshape(1, 1), ("z", "y"))
    with pytest.raises(ValueError, match="one axis, of type Auto"):
        jd.richardson_lucy(np.ones((4, 4)), np.ones((1, 1)), iterations=1, mesh=several)
    with pytest.raises(TypeError, match="`mesh` is a list"):
        on_mesh(np.ones(3), jax.devices())
