"""Registration: accuracy and time against other programs, and how far it reaches.

    python tests/benchmarks/registration.py [--cases FOLDER] [--poses 200]
                                            [--peer-poses 20]

Volumes of Gaussian blobs, rendered in two poses (nothing is resampled), each with its
own noise; with FOLDER also the cases in its .npz files (`fixed`, `moving`, `matrix`).
Error: mean distance of the eight corners from where they should be, voxels. Seconds:
the least of several runs; "first" is the first call in this process, with compilation.
Reach: poses turned by up to 30 degrees about any axis, shifted by up to a quarter of
the size, scaled by 0.9 to 1.1; found are those within half a voxel. SimpleITK,
itk-elastix and antspyx take part if they are installed.
"""

import argparse
import itertools
import time
from pathlib import Path

import jax
import numpy as np
from _common import header, table
from _registration_peers import available

import jaxdecon as jd
from jaxdecon.geometry import Transform

REACHED = 0.5


def blobs(shape, matrix, *, seed, noise):
    """The volume that shows at `matrix @ p` what is at p: blobs, and noise."""
    rng = np.random.default_rng(1)
    count = int(600 * np.prod(shape) / 128**3) + 200
    places = rng.uniform(-0.3, 1.3, (count, 3)) * shape
    widths, heights = rng.uniform(1.5, 4, count), rng.uniform(0.3, 1, count)
    places = places @ matrix[:3, :3].T + matrix[:3, 3]
    pull = np.linalg.inv(matrix)[:3, :3]
    volume = np.zeros(shape, np.float32)
    for place, width, height in zip(places, widths, heights, strict=True):
        reach = 6 * width
        box = tuple(
            slice(max(int(p - reach), 0), max(min(int(p + reach) + 2, n), 0))
            for p, n in zip(place, shape, strict=True)
        )
        grid = np.stack(
            np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1
        )
        if grid.size:
            there = (grid - place) @ pull.T
            volume[box] += height * np.exp(-0.5 * (there**2).sum(-1) / width**2)
    rng = np.random.default_rng(100 + seed)
    return (volume + noise * rng.normal(size=shape)).astype(np.float32)


def pose(shape, *, turn, scale, shift):
    """About the centre: rotation vector in degrees, scales, voxels."""
    values = [*np.radians(turn), *np.log(np.broadcast_to(scale, 3)), *shift]
    centre = (np.array(shape) - 1) / 2
    zero = Transform.identity("9-parameter", centre)
    found = Transform(
        parameters=zero.parameters.at[:].set(np.array(values)),
        centre=zero.centre,
        model="9-parameter",
    )
    return np.asarray(found.matrix, float)


def corner_error(points_to, matrix, shape):
    """Mean distance of the corners from where a matrix takes them."""
    corners = np.array(list(itertools.product(*((0.0, n - 1.0) for n in shape))))
    expected = corners @ matrix[:3, :3].T + matrix[:3, 3]
    return float(np.linalg.norm(points_to(corners) - expected, axis=1).mean())


def ours(fixed, moving, model="affine"):
    """Like the peers; also whether the pose is believed."""
    found = jd.register(fixed, moving, model=model)
    matrix = np.asarray(jax.block_until_ready(found.matrix), float)

    def points_to(points):
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    return points_to, bool(found.converged)


def cases(folder):
    """(name, fixed, moving, matrix)."""
    for path in sorted(folder.glob("*.npz")) if folder else []:
        with np.load(path) as file:
            fixed, moving = (file[k].astype(np.float32) for k in ("fixed", "moving"))
            yield path.stem, fixed, moving, file["matrix"]
    for name, shape, noise in (
        ("dense, noisy, 96^3", (96, 96, 96), 0.2),
        ("flat stack, 48 x 160 x 160", (48, 160, 160), 0.05),
    ):
        matrix = pose(shape, turn=(6, -3, 2), scale=(1, 1.03, 0.97), shift=(2, -5, 4))
        fixed = blobs(shape, np.eye(4), seed=0, noise=noise)
        yield name, fixed, blobs(shape, matrix, seed=1, noise=noise), matrix


def timed(function, *arguments, repeats=2):
    """(result, wall, CPU) of the fastest run, and the wall seconds of the first."""
    runs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return result, *min(runs), runs[0][0]


def accuracy(folder):
    """A row per case and program."""
    programs = {"jaxdecon": lambda f, m: ours(f, m)[0], **available()}
    for name, fixed, moving, matrix in cases(folder):
        still = corner_error(lambda points: points, matrix, fixed.shape)
        reference = None
        for program, function in programs.items():
            repeats = 4 if program == "jaxdecon" else 2
            found, wall, cpu, first = timed(function, fixed, moving, repeats=repeats)
            reference = cpu if reference is None else reference
            error = corner_error(found, matrix, fixed.shape)
            yield [
                *(f"{name} ({still:.3g})", program, f"{error:.4f}"),
                *(
                    f"{first:.2f}",
                    f"{wall:.2f}",
                    f"{cpu:.2f}",
                    f"{cpu / reference:.1f}",
                ),
            ]


def reach(poses, peer_poses, size=64):
    """A row per program: how many random poses it finds."""
    shape = (size,) * 3
    fixed = blobs(shape, np.eye(4), seed=0, noise=0.03)
    programs = {"jaxdecon": lambda f, m: ours(f, m, "similarity"), **available()}
    for program, function in programs.items():
        rng = np.random.default_rng(5)
        count = poses if program == "jaxdecon" else peer_poses
        found = believed = 0
        for seed in range(count):
            axis = rng.normal(size=3)
            turn = axis / np.linalg.norm(axis) * rng.uniform(0, 30)
            shift = rng.uniform(-0.25, 0.25, 3) * size
            matrix = pose(shape, turn=turn, scale=rng.uniform(0.9, 1.1), shift=shift)
            moving = blobs(shape, matrix, seed=seed + 1, noise=0.03)
            result = function(fixed, moving)
            result, sure = result if program == "jaxdecon" else (result, True)
            near = corner_error(result, matrix, shape) < REACHED
            found += near
            believed += sure and not near
        if count:
            yield [program, f"{found} of {count}", f"{believed}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, help="folder with .npz files")
    parser.add_argument("--poses", type=int, default=200)
    parser.add_argument("--peer-poses", type=int, default=20)
    arguments = parser.parse_args()
    header("Registration")
    columns = ["case (error before)", "program", "error", "first s", "wall s", "CPU s"]
    table([*columns, "CPU ratio"], list(accuracy(arguments.cases)))
    rows = list(reach(arguments.poses, arguments.peer_poses))
    table(["program", "found", "wrong, and not told"], rows)


if __name__ == "__main__":
    main()
