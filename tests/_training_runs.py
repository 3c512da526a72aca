"""Configurations of `jaxdecon train`, small, and what runs them."""

import numpy as np

import jaxdecon as jd
from jaxdecon.__main__ import main
from jaxdecon.io import Image

NETWORK = """
[network]
kind = "rcan"
width = 2
depth = 1
blocks = 1
reduction = 1
"""
SIMULATED = (
    NETWORK
    + """
[simulation]
structures = ["beads", "filaments"]
shape = [16, 16]
voxel_size = [0.1, 0.1]
length = 40
held_out = 6
photons = [200, 500]
psf = { kind = "gaussian", shape = [7, 7], fwhm = 2.5 }

[training]
steps = 9
batch = 4
loss = "mse"
rate = 0.01
validate_every = 3
seed = 3
"""
)
FILES = (
    NETWORK
    + """
[data]
inputs = "raw_*.tif"
targets = "sharp_*.tif"
patch = [16, 16]
hold_out = 0.25

[training]
steps = 4
batch = 2
validate_every = 2
"""
)


def run(*arguments):
    return main([str(part) for part in arguments])


def written(folder, text, **changes):
    """A configuration, with lines replaced: `key=value`, or `key=None` to drop it."""
    lines = text.splitlines()
    for key, value in changes.items():
        place = next(i for i, line in enumerate(lines) if line.startswith(f"{key} ="))
        lines[place] = "" if value is None else f"{key} = {value}"
    path = folder / "network.toml"
    path.write_text("\n".join(lines))
    return path


def refused(capsys, path, *options, code=2):
    """The one line of error that a configuration gets."""
    assert run("train", path, *options) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def write_pairs(folder, count=4, shape=(24, 20), voxel_size=(0.2, 0.2)):
    """Specks, sharp and blurred."""
    rng = np.random.default_rng(0)
    blur = jd.operators.Convolution.from_psf(
        jd.psf.gaussian((7, 7), 2.5), shape, boundary="periodic"
    )
    for number in range(count):
        sharp = np.zeros(shape, np.float32)
        sharp[tuple(rng.integers(2, 18, (2, 12)))] = 900
        seen = rng.poisson(np.maximum(blur(sharp), 0) + 5).astype(np.float32)
        for name, data in (("raw", seen), ("sharp", sharp)):
            image = Image(data=data, axes="yx", voxel_size=voxel_size)
            jd.io.write(folder / f"{name}_{number}.tif", image)


def files_of(pairs):
    """Of patches, and the time point where a file has several."""
    words = [pairs.describe(number) for number in range(len(pairs))]
    return {word.split("(")[1].split(")")[0] for word in words}
