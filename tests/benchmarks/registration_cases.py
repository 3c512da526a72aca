"""Registration where it is hard, and on real pairs.

    python tests/benchmarks/registration_cases.py [--data FOLDER]

Blobs as in `registration.py`, 96^3, turned by some 6 degrees, scaled by 2 % along two
axes, with one thing made difficult in each case; errors are those of the corners, in
voxels. With FOLDER also two rounds of imaging of one cleared tissue (the correlation of
differences of Gaussians, before and after) and a simulated pair of views (the
correlation of the warped view with the truth; 0.783 with the true pose).
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.ndimage
from _common import header, table
from registration import blobs, corner_error, pose

import jaxdecon as jd

SHAPE = (96, 96, 96)
TURN, SCALE, SHIFT = (5, -3, 2), (1.02, 1, 0.98), (2, -5, 4)


def scene(*, noise=0.03, shift=SHIFT, scale=SCALE):
    """(fixed, moving, matrix)."""
    matrix = pose(SHAPE, turn=TURN, scale=scale, shift=shift)
    fixed = blobs(SHAPE, np.eye(4), seed=0, noise=noise)
    return fixed, blobs(SHAPE, matrix, seed=1, noise=noise), matrix


def replaced(*, width=48):
    """A quarter of the moving volume, or more, is another part of it."""
    fixed, moving, matrix = scene()
    changed = moving.copy()
    changed[:48, :width] = moving[48:, -width:][::-1]
    return fixed, changed, matrix


def uneven():
    """Light that rises ninefold along z in the moving volume."""
    fixed, moving, matrix = scene()
    return fixed, moving * np.linspace(0.2, 1.8, 96)[:, None, None], matrix


def faint():
    """A tenth of the contrast, on another level."""
    fixed, moving, matrix = scene()
    return fixed, 0.1 * moving + 3, matrix


def beads():
    """Fifteen of them in the dark."""
    matrix = pose(SHAPE, turn=TURN, scale=SCALE, shift=SHIFT)
    places = np.random.default_rng(3).uniform(5, 90, (15, 3))
    return (*(_beads(places, m, k) for k, m in enumerate((np.eye(4), matrix))), matrix)


def _beads(places, matrix, seed):
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    volume = 0.02 * np.random.default_rng(seed).normal(size=SHAPE)
    for place in places @ matrix[:3, :3].T + matrix[:3, 3]:
        volume += np.exp(-0.5 * ((grid - place) ** 2).sum(-1) / 1.5**2)
    return volume.astype(np.float32)


def inverted():
    """Another contrast: what is bright in the one is neither bright nor dark."""
    fixed, moving, matrix = scene()
    return fixed, np.float32(np.sin(4 * moving)), matrix


HARD = {
    "nothing": scene,
    "a third overlaps": lambda: scene(shift=(58, 10, 0)),
    "a quarter is other content": replaced,
    "half is other content": lambda: replaced(width=96),
    "a tenth of the contrast": faint,
    "light rises ninefold": uneven,
    "noise of a third of the brightest blobs": lambda: scene(noise=0.3),
    "noise of two thirds": lambda: scene(noise=0.6),
    "15 beads": beads,
    "values that do not correspond": inverted,
}


REMEDIES = {
    "nothing": {"metric": "local-ncc"},
    "half is other content": {"robust": True},
    "a quarter is other content": {"robust": True},
    "light rises ninefold": {"metric": "local-ncc"},
    "values that do not correspond": {"metric": "mi"},
}


def hard():
    """A row per case, and one more with what is made for it."""
    for name, make in HARD.items():
        fixed, moving, matrix = make()
        for options in ({}, REMEDIES.get(name)):
            if options is not None:
                found = jd.register(fixed, moving, **options)
                told = ", ".join(f"{k}={v}" for k, v in options.items())
                error = _error(found.matrix, matrix)
                yield [name, told, f"{error:.3f}", *_numbers(found)]


def _error(found, matrix):
    found = np.asarray(found, float)
    return corner_error(lambda p: p @ found[:3, :3].T + found[:3, 3], matrix, SHAPE)


def _numbers(found):
    return [
        f"{float(found.uncertainty):.3f}",
        f"{float(found.ncc):.3f}",
        "yes" if found.converged else "no",
    ]


def real(folder):
    """Rows of real and simulated pairs, for three models."""
    for model in ("translation", "rigid", "affine"):
        yield from _tissue(folder / "registration", model)
        yield from _views(folder / "dualview_sim", model)


def _tissue(folder, model):
    names = [f"bigstream_{n}_lowres_left.ome.tif" for n in ("fix", "mov")]
    if not (folder / names[0]).exists():
        return
    fixed, moving = (_read(folder / name) for name in names)
    found = jd.register(fixed, moving, model=model)
    sharp, other = _detail(fixed), _detail(moving)
    planes = min(len(sharp), len(other))
    before = _correlation(sharp[:planes], other[:planes])
    warped = np.asarray(found.warp(other, sharp.shape, outside=np.nan))
    after = _correlation(sharp, warped)
    yield ["tissue", model, f"{before:.3f}", f"{after:.3f}", *_numbers(found)]


def _views(folder, model):
    names = ("viewA", "viewB_misaligned", "ground_truth")
    if not folder.is_dir():
        return
    fixed, moving, truth = (_read(folder / f"{n}.ome.tif") for n in names)
    found = jd.register(fixed, moving, model=model)
    warped = np.asarray(found.warp(moving, fixed.shape, outside=np.nan))
    before, after = _correlation(truth, moving), _correlation(truth, warped)
    yield ["two views", model, f"{before:.3f}", f"{after:.3f}", *_numbers(found)]


def _read(path):
    return np.asarray(jd.io.read(path)).astype(np.float32)


def _detail(volume):
    smooth = (scipy.ndimage.gaussian_filter(volume, s) for s in (1, 4))
    return next(smooth) - next(smooth)


def _correlation(a, b):
    seen = np.isfinite(b)
    return float(np.corrcoef(a[seen], b[seen])[0, 1])


def unrelated(scenes=12):
    """A row per number of blobs: pairs of other scenes that were believed."""
    for count in (2, 8, 30, 120):
        believed = 0
        for seed in range(scenes):
            rng = np.random.default_rng(seed)
            pair = [
                _beads(rng.uniform(8, 88, (count, 3)), np.eye(4), seed=seed + k)
                for k in (0, 100)
            ]
            for model in ("rigid", "affine"):
                believed += bool(jd.register(*pair, model=model).converged)
        yield [f"{count}", f"{believed} of {2 * scenes}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the real pairs")
    arguments = parser.parse_args()
    header("Registration where it is hard")
    columns = ["uncertainty", "correlation", "converged"]
    table(["difficulty", "options", "error", *columns], list(hard()))
    table(["beads in each of two other scenes", "believed"], list(unrelated()))
    if arguments.data is not None:
        rows = list(real(arguments.data))
        table(["pair", "model", "before", "after", *columns], rows)


if __name__ == "__main__":
    main()
