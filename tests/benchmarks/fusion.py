"""Fusion of two views from the side of each other: quality, poses, time.

    python tests/benchmarks/fusion.py [--data FOLDER] [--quick]

Specks on filaments and shells, or lone beads, of Gaussian profile (FWHM 2 voxels), seen
through Gaussian PSFs of 6.6 and 2.2 voxels; every view is thus known in closed form on
its own grid, in its own pose, without interpolation. 400 photons in the brightest
voxel, an offset of 100 and a read noise of 2. Correlations are those of the structures,
widths those of the beads (medians), each volume fused alike. With FOLDER also a
simulated pair of views by others. `--quick` leaves out the large volumes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import numpy as np
from _common import header, table

import jaxdecon as jd
from jaxdecon.geometry import Transform, turned

LONG, SHORT, SPECK = 6.6, 2.2, 2.0
OFFSET, READ_NOISE, PHOTONS = 100.0, 2.0, 400.0
SIGMA = jd.psf.FWHM_PER_SIGMA


def structures(size, rng):
    """(places, heights) of specks on filaments and shells."""
    places, heights = [], []
    for _ in range(20):  # filaments
        along = np.arange(0, 1, 1.2 / size.max())[:, None]
        start, slope, bend = (rng.uniform(low, 1, 3) for low in (0.1, -1, -1))
        line = start + slope * along + bend * (along - 0.5) ** 2
        places.append(line * size)
        heights.append(np.full(len(line), rng.uniform(0.2, 0.7)))
    for _ in range(12):  # shells
        points = rng.normal(size=(500, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        places.append(rng.uniform(0.15, 0.85, 3) * size + rng.uniform(6, 11) * points)
        heights.append(np.full(500, rng.uniform(0.1, 0.3)))
    places, heights = np.concatenate(places), np.concatenate(heights)
    kept = ((places > 3) & (places < size - 4)).all(1)
    return places[kept], heights[kept]


def beads(size, rng):
    """The same of lone beads, some 22 voxels from each other."""
    lines = [np.arange(15, n - 14, 22) for n in size]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
    return places + rng.uniform(-2, 2, places.shape), rng.uniform(1, 1.5, len(places))


def draw(places, heights, shape, widths):
    """Gaussians of these full widths, in voxels, at any places; each of one light."""
    volume, sigmas = np.zeros(shape, np.float32), np.array(widths) / SIGMA
    gain = 1 / np.prod(sigmas)
    for place, height in zip(places, heights, strict=True):
        lines, box = [], []
        for p, s, n in zip(place, sigmas, shape, strict=True):
            index = np.arange(max(int(p - 5 * s), 0), min(int(p + 5 * s) + 2, n))
            lines.append(np.exp(-0.5 * ((index - p) / s) ** 2))
            box.append(slice(index[0], index[-1] + 1) if len(index) else slice(0, 0))
        volume[tuple(box)] += height * gain * np.einsum("i,j,k->ijk", *lines)
    return volume


def recorded(clean, rng, scale):
    return (rng.poisson(scale * clean) + rng.normal(OFFSET, READ_NOISE, clean.shape)
            ).astype(np.float32)  # fmt: skip


def dual(content=structures, size=(96, 96, 96)):
    """(truth, views, PSFs, matrix): on cubes, the second view moved."""
    rng = np.random.default_rng(0)
    shift, turn = (2.3, -1.6, 3.4), (0.02, 0.03, -0.015)
    places, heights = content(np.array(size), rng)
    centre = (np.array(size) - 1) / 2
    pose = Transform(
        parameters=jax.numpy.asarray([*turn, *shift]), centre=centre, model="rigid"
    )
    matrix = np.asarray(pose.matrix, float)
    moved = places @ matrix[:3, :3].T + matrix[:3, 3]
    along_z = np.hypot((LONG, SHORT, SHORT), SPECK)
    clean = [
        draw(places, heights, size, along_z),
        draw(moved, heights, size, along_z[::-1]),
    ]
    scale = PHOTONS / max(c.max() for c in clean)
    views = [recorded(c, rng, scale) for c in clean]
    psfs = [
        np.asarray(jd.psf.gaussian((27, 11, 11), (LONG, SHORT, SHORT))),
        np.asarray(jd.psf.gaussian((11, 11, 27), (SHORT, SHORT, LONG))),
    ]
    truth = scale * draw(places, heights, size, (SPECK,) * 3)
    return truth, views, psfs, matrix


def ncc(image, truth):
    inside = (slice(6, -6),) * 3
    return float(np.corrcoef(np.ravel(image[inside]), np.ravel(truth[inside]))[0, 1])


def widths(image):
    """Median widths of lone beads, z, y, x, in voxels."""
    found = jd.metrics.bead_widths(np.asarray(image), size=21, threshold=0.3)
    return np.nanmedian(found.widths, 0)


def fused_in_every_way(views, psfs, poses):
    """(name, volume) of single views, blends and joint deconvolutions."""
    light = [v - OFFSET for v in views]
    yield "view 1", light[0]
    yield "view 2, in place", jd.warp(light[1], poses[1])
    options = {"matrices": poses, "background": OFFSET}
    for method in jd.fusion.BLENDS:
        yield method, jd.fuse(views, None, method=method, **options).image
    alone = np.maximum(light[0], 0)
    yield "view 1 alone, matched, 20", jd.richardson_lucy(alone, psfs[0], iterations=20)
    for name, more in joint_runs():
        yield name, jd.fuse(views, psfs, **options, **more).image


def joint_runs():
    """(name, options) of `jaxdecon.fuse`."""
    for kind, update, counts, more in SCHEMES:
        for count in counts:
            what = " ".join([kind, *(f"{k} {v}" for k, v in more.items())])
            yield (
                f"{update}, {what}, {count}",
                {"back_projector": kind, "update": update, "iterations": count, **more},
            )


def quality():
    """Structures for the correlation, beads for the widths."""
    header("Fusion: quality (96^3)")
    truth, views, psfs, matrix = dual()
    (found,) = jd.fusion.register_views([v - OFFSET for v in views], psfs)
    pose = np.asarray(found.matrix, float)
    as_they_are = corners(raw_pose(views), matrix, truth.shape)
    print(
        f"error of the pose: {corners(pose, matrix, truth.shape):.3f} voxels; of views "
        f"not made alike in blur: {as_they_are:.2f}"
    )
    lone, lone_views, _, lone_pose = dual(beads)
    runs = zip(
        fused_in_every_way(views, psfs, [np.eye(4), pose]),
        fused_in_every_way(lone_views, psfs, [np.eye(4), lone_pose]),
        strict=True,
    )
    rows = [["truth", "1", *widths(lone), ""]]
    for (name, image), (_, lone_image) in runs:
        z, y, x = widths(lone_image)
        ratio = f"{max(z, x) / y:.2f}"
        rows.append([name, f"{ncc(np.asarray(image), truth):.4f}", z, y, x, ratio])
    table(["", "NCC", "FWHM z", "y", "x", "longest / y"], rows)


SCHEMES = [
    ("matched", "alternating", (10, 20, 50), {}),
    ("matched", "additive", (10, 20, 50), {}),
    ("compound", "compound", (10, 20), {}),
    ("wiener-butterworth", "alternating", (1, 2, 3), {}),
    ("wiener-butterworth", "alternating", (1, 2, 3), {"alpha": 0.02}),
    ("wiener-butterworth", "alternating", (2,), {"alpha": 0.01, "order": 6}),
]


def raw_pose(views):
    found = jd.register(*[v - OFFSET for v in views], model="rigid")
    return np.asarray(found.matrix, float)


def corners(found, truth, shape):
    places = np.array(np.meshgrid(*((0.0, n - 1.0) for n in shape))).reshape(3, -1)
    difference = found - truth
    moved = difference[:3, :3] @ places + difference[:3, 3:]
    return np.linalg.norm(moved, axis=0).mean()


def honesty():
    """Pose errors put in on purpose."""
    truth, views, psfs, matrix = dual(size=(64, 64, 64))
    header("Fusion: errors of the pose, without and with joint refinement (64^3)")
    rows = []
    for size in (0, 0.25, 0.5, 1, 2):
        wrong = matrix.copy()
        wrong[:3, 3] += size * np.array([0.6, -0.6, np.sqrt(0.28)])
        row = [size]
        for refine in (False, True):
            began = time.perf_counter()
            fused = jd.fuse(
                views,
                psfs,
                matrices=[np.eye(4), wrong],
                background=OFFSET,
                iterations=15,
                back_projector="matched",
                refine=refine,
            )
            row += [
                corners(fused.matrices[1], matrix, truth.shape),
                f"{ncc(np.asarray(fused.image), truth):.4f}",
                time.perf_counter() - began,
            ]
        rows.append(row)
    table(
        ["error put in, voxels", "error", "NCC", "s", "error refined", "NCC refined",
         "s"],
        rows,
    )  # fmt: skip


STEP, PLANE = 0.1625, 1.0
SHAPES = ((40, 360, 240), (40, 360, 246))
TIME_POINTS = 3


def large():
    """Two views of 240 x 360 x 40, from files to a file, over time, on the command
    line."""
    header("Fusion: 240 x 360 x 40, two views, from raw files to the fused file")
    rng = np.random.default_rng(5)
    size = (240, 360, 240)
    places, heights = structures(np.array(size), rng)
    sizes = (PLANE, STEP, STEP)
    turn = turned(
        90, shape=SHAPES[0], to_shape=SHAPES[1], voxel_size=sizes, to_voxel_size=sizes
    )
    in_first = places * [STEP / PLANE, 1, 1]
    offset = np.array([0.8, 3.7, -5.2])
    in_second = in_first @ turn[:3, :3].T + turn[:3, 3] + offset
    blur = np.hypot((LONG, SHORT, SHORT), SPECK) * STEP / np.array(sizes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for where, shape, view in zip((in_first, in_second), SHAPES, "ab", strict=True):
            clean = draw(where, heights, shape, blur)
            scale = PHOTONS / clean.max()
            for t in range(TIME_POINTS):
                image = jd.io.Image(
                    data=np.clip(recorded(clean, rng, scale), 0, 65535).astype("u2"),
                    axes="zyx",
                    voxel_size=sizes,
                )
                jd.io.write(folder / f"{view}_{t}.ome.tif", image)
        psf = jd.psf.gaussian((27, 11, 11), (LONG, SHORT, SHORT))
        jd.io.write(
            folder / "psf.ome.tif",
            jd.io.Image(data=np.asarray(psf), axes="zyx", voxel_size=(STEP,) * 3),
        )
        for label, cache in (("cold", "cache"), ("compiled before", "cache")):
            command = [
                *(sys.executable, "-m", "jaxdecon", "fuse"),
                *(str(folder / "a_*.ome.tif"), str(folder / "b_*.ome.tif")),
                *("--psf", str(folder / "psf.ome.tif"), "--turn", "90"),
                *("-o", str(folder / "fused.ome.zarr"), "--overwrite"),
            ]
            began = time.perf_counter()
            done = subprocess.run(
                command,
                env={"XDG_CACHE_HOME": str(folder / cache), "PATH": "/usr/bin"},
                capture_output=True,
                text=True,
                check=True,
            )
            print(f"{label}: {time.perf_counter() - began:.1f} s for {TIME_POINTS} "
                  f"time points")  # fmt: skip
            print("\n".join(f"    {line}" for line in done.stdout.splitlines()))


def true_pose(folder, shape):
    """From voxels of the first view to those of the second, of `truth.json`."""
    stated = json.loads((folder / "truth.json").read_text())
    back, centre = np.eye(4), (np.array(shape) - 1) / 2
    back[:3, :3] = stated["R"]
    back[:3, 3] = centre + stated["t"] - back[:3, :3] @ centre
    return np.linalg.inv(back)


def others(folder):
    """A simulated pair of views, made by others."""
    names = ("ground_truth", "viewA", "viewB_misaligned", "PSFA", "PSFB")
    truth, *views, first, second = (
        jd.io.read(folder / f"{name}.ome.tif").volume().astype(np.float32)
        for name in names
    )
    header("Fusion: a simulated pair by others")
    psfs = [first, second]
    light, matrix = [v - OFFSET for v in views], true_pose(folder, truth.shape)
    for model in ("affine", "rigid"):
        for blurs in (None, psfs):
            (found,) = jd.fusion.register_views(light, blurs, model=model)
            error = corners(np.asarray(found.matrix, float), matrix, truth.shape)
            alike = "as they are" if blurs is None else "made alike in blur"
            print(f"{model}, views {alike}: error {error:.3f} voxels")
    poses = [np.eye(4), np.asarray(found.matrix, float)]
    rows = []
    for name, image in fused_in_every_way(views, psfs, poses):
        score = np.corrcoef(np.ravel(image), np.ravel(truth))[0, 1]
        rows.append([name, f"{score:.4f}"])
    table(["", "NCC"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    quality()
    honesty()
    if options.data:
        others(options.data)
    if not options.quick:
        large()
