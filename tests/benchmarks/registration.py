"""Registration: accuracy and time against other programs, and how far it reaches.

    python tests/benchmarks/registration.py [--cases FOLDER] [--poses 200]
                                            [--peer-poses 20]

Volumes of Gaussian blobs, rendered in two poses (nothing is resampled), each with its
own noise; with FOLDER also the cases in its .npz files (`fixed`, `moving`, `matrix`).
Error: mean distance of the eight corners from where they should be, voxels. Seconds:
the least of several runs; "first" is the first call in this process, with compilation.
Reach: poses turned by up to 30 degrees about any axis, shifted by up to a quarter of
the size, scaled by 0.9 to 1.1; found are those within half a voxel. Then 64 pairs one
by one and under `vmap`, and the derivative of a pose by both volumes: seconds, and
scratch in volumes. SimpleITK, itk-elastix and antspyx take part if they are installed.
"""

import argparse
import functools
import itertools
import time
from pathlib import Path

import jax
import numpy as np
from _common import header, table
from _registration_peers import available

import jaxdecon as jd
from jaxdecon.geometry import Transform, in_voxels

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


def ours(fixed, moving, size=(1, 1, 1), model="affine"):
    """Like the peers; also whether the pose is believed."""
    found = jd.register(fixed, moving, model=model, fixed_voxel_size=size)
    matrix = np.asarray(jax.block_until_ready(found.matrix), float)

    def points_to(points):
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    return points_to, bool(found.converged)


def cases(folder, largest):
    """(name, fixed, moving, voxel size, matrix)."""
    for path in sorted(folder.glob("*.npz")) if folder else []:
        with np.load(path) as file:
            fixed, moving = (file[k].astype(np.float32) for k in ("fixed", "moving"))
            yield path.stem, fixed, moving, (1, 1, 1), file["matrix"]
    for name, shape, size, noise in (
        ("dense, noisy, 96^3", (96, 96, 96), (1, 1, 1), 0.2),
        ("voxels of 3 x 1 x 1, 48 x 160 x 160", (48, 160, 160), (3, 1, 1), 0.05),
        ("256^3", (256, 256, 256), (1, 1, 1), 0.05),
    ):
        if max(shape) > largest:
            continue
        extent = np.multiply(shape, size)
        matrix = pose(extent, turn=(6, -3, 2), scale=(1, 1.03, 0.97), shift=(2, -5, 4))
        matrix = in_voxels(matrix, size, size)
        fixed = blobs(shape, np.eye(4), seed=0, noise=noise)
        yield name, fixed, blobs(shape, matrix, seed=1, noise=noise), size, matrix


def timed(function, *arguments, repeats=2):
    """(result, wall, CPU) of the fastest run, and the wall seconds of the first."""
    runs = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments)
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return result, *min(runs), runs[0][0]


def accuracy(folder, largest):
    """A row per case and program."""
    programs = {"jaxdecon": lambda *pair: ours(*pair)[0], **available()}
    for name, fixed, moving, size, matrix in cases(folder, largest):
        still = corner_error(lambda points: points, matrix, fixed.shape)
        reference = None
        for program, function in programs.items():
            repeats = 4 if program == "jaxdecon" else 2
            arguments = (fixed, moving, size)
            found, wall, cpu, first = timed(function, *arguments, repeats=repeats)
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
    similar = functools.partial(ours, model="similarity")
    programs = {"jaxdecon": similar, **available()}
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


def batch(count=64, size=64):
    """Rows: many pairs one by one, and all at once by `vmap`."""
    shape = (size,) * 3
    fixed = np.stack([blobs(shape, np.eye(4), seed=0, noise=0.05)] * count)
    rng = np.random.default_rng(6)
    matrices = [
        pose(shape, turn=rng.uniform(-8, 8, 3), scale=1.02, shift=rng.uniform(-5, 5, 3))
        for _ in range(count)
    ]
    moving = np.stack(
        [blobs(shape, m, seed=k + 1, noise=0.05) for k, m in enumerate(matrices)]
    )
    together = jax.jit(jax.vmap(lambda f, m: jd.register(f, m).matrix))

    def one_by_one(fixed, moving):
        return np.stack(
            [jd.register(*p).matrix for p in zip(fixed, moving, strict=True)]
        )

    for name, function in (("one by one", one_by_one), ("vmap", together)):
        found, wall, cpu, first = timed(
            lambda f, m, run=function: np.asarray(run(f, m), float), fixed, moving
        )
        errors = [
            corner_error(lambda p, f=f: p @ f[:3, :3].T + f[:3, 3], m, shape)
            for f, m in zip(found, matrices, strict=True)
        ]
        numbers = [f"{1e3 * v / count:.0f}" for v in (wall, cpu)]
        yield [f"{name}, {count} pairs", f"{max(errors):.3f}", *numbers, f"{first:.1f}"]


def gradient(size=64):
    """Rows: the pose, and the pose with its derivative, for few and many passes."""
    shape = (size,) * 3
    matrix = pose(shape, turn=(6, -3, 2), scale=1, shift=(2, -5, 4))
    fixed, moving = (
        jax.numpy.asarray(blobs(shape, m, seed=s, noise=0.05))
        for s, m in enumerate((np.eye(4), matrix))
    )

    def shift(fixed, moving, passes):
        options = {"initial": np.eye(4), "model": "rigid", "iterations": passes}
        return jd.register(fixed, moving, **options).matrix[0, 3]

    for passes in (10, 100, 1000):
        plain = jax.jit(functools.partial(shift, passes=passes))
        slope = jax.jit(jax.grad(functools.partial(shift, passes=passes), (0, 1)))
        row = [f"{passes} passes at most"]
        for function in (plain, slope):
            program = function.lower(fixed, moving).compile()
            program(fixed, moving)
            _, wall, *_ = timed(
                lambda f, m, run=program: jax.block_until_ready(run(f, m)),
                *(fixed, moving),
                repeats=4,
            )
            memory = program.memory_analysis().temp_size_in_bytes / fixed.nbytes
            row += [f"{wall:.2f}", f"{memory:.0f}"]
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, help="folder with .npz files")
    parser.add_argument("--poses", type=int, default=200)
    parser.add_argument("--peer-poses", type=int, default=20)
    parser.add_argument("--largest", type=int, default=256, help="voxels along an axis")
    arguments = parser.parse_args()
    header("Registration")
    columns = ["case (error before)", "program", "error", "first s", "wall s", "CPU s"]
    rows = list(accuracy(arguments.cases, arguments.largest))
    table([*columns, "CPU ratio"], rows)
    rows = list(reach(arguments.poses, arguments.peer_poses))
    table(["program", "found", "wrong, and not told"], rows)
    columns = ["64^3", "largest error", "wall ms a pair", "CPU ms a pair", "first s"]
    table(columns, list(batch()))
    columns = ["rigid, 64^3", "pose s", "volumes", "derivative s", "volumes"]
    table(columns, list(gradient()))


if __name__ == "__main__":
    main()
