"""Shared set-up: a compilation cache, one small scene."""

import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxdecon as jd

CACHE = Path(tempfile.gettempdir()) / "jaxdecon-test-cache"
jax.config.update("jax_compilation_cache_dir", str(CACHE / jax.__version__))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
MOST_MAPPINGS = 30_000
"""Linux allows a process 65,530; a compiled program takes a dozen, and XLA crashes
where there are no more."""


class CompiledProgramsAreLetGo:
    """Frees compiled programs between files, before there are too many."""

    mappings = Path("/proc/self/maps")

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item, nextitem):
        if nextitem is None or nextitem.path == item.path or not self.mappings.exists():
            return
        if self.mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
            jax.clear_caches()


def pytest_configure(config):
    config.pluginmanager.register(CompiledProgramsAreLetGo())


@pytest.fixture
def wide_terminal(monkeypatch, tmp_path_factory):
    """For commands: lines are not wrapped, and what they keep is kept here."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def published():
    """Values computed by the published program; see data/README.md."""
    with np.load(Path(__file__).parent / "data" / "published.npz") as values:
        return dict(values)


@pytest.fixture(scope="session")
def scene():
    """(object, PSF, noisy image): blobs on black, an anisotropic Gaussian PSF."""
    rng = np.random.default_rng(1)
    truth = np.zeros((20, 32, 30), np.float32)
    for place in zip(*(rng.integers(3, n - 3, 25) for n in truth.shape), strict=True):
        truth[place] = rng.uniform(500, 2000)
    psf = np.asarray(jd.psf.gaussian((13, 9, 9), (4.0, 2.5, 2.5)))
    blur = jd.operators.Convolution.from_psf(psf, truth.shape, boundary="periodic")
    image = rng.poisson(np.maximum(blur(truth), 0) + 2).astype(np.float32)
    return truth, psf, image
