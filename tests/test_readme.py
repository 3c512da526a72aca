"""The Python of the README runs as it stands."""

import re
from pathlib import Path

import numpy as np

import jaxdecon as jd

README = Path(__file__).parents[1] / "README.md"


def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    psf = jd.psf.widefield(
        (21, 21, 21), (0.2, 0.08, 0.08), na=1.4, wavelength=0.52, index=1.518
    )
    stack = np.zeros((20, 24, 24), np.float32)
    stack[10, 12, 12] = 1e5
    blur = jd.operators.Convolution.from_psf(psf, stack.shape, boundary="reflect")
    noisy = np.random.default_rng(0).poisson(np.maximum(blur(stack), 0) + 50)
    image = jd.io.Image(
        data=noisy.astype(np.uint16), axes="zyx", voxel_size=(0.2, 0.08, 0.08)
    )
    jd.io.write("cell.tif", image)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    namespace: dict = {}
    for block in blocks:
        exec(block, namespace)
    sharp = jd.io.read("sharp.ome.tif")
    assert sharp.voxel_size == (0.2, 0.08, 0.08)
    assert np.asarray(sharp).max() > noisy.max()
    assert np.isfinite(namespace["slope"])
