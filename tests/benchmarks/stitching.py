"""Stitching: where tiles end up, how long the solution takes, how fast blending is.

    python tests/benchmarks/stitching.py [--data FOLDER] [--tiles 10000] [--peers]

Positions: 4 x 4 x 2 tiles cut from one volume, each with its own stage error up to 10
voxels, photon noise, gain and shading; one tile is empty, and one link is made wrong.
The volume is a simulated one (filaments), and, with FOLDER, the first image in it of
120 voxels or more along every axis; then the real tiles in it: folders with tiles,
nominal.json and truth.json. Errors are those of all tiles but the empty one, per axis,
after their mean is removed (of the real tiles: after the first one's), voxels. Links:
usable ones, of all; wrong: usable, and off by more than 1.5 voxels; kept: of them, not
rejected. Solution: a square grid of tiles with links to 4 and to 8 neighbours, 1 % of
them wrong by tens of voxels. Blending: Mvoxel of the mosaic per CPU second, 2 x 2 tiles
in memory. With --peers: multiview-stitcher on the same data, if it is installed.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from _common import header, table

import jaxdecon as jd
from jaxdecon.registration._links import Links, solve_links
from jaxdecon.volumes._mosaic import WEIGHTS, mosaic_box, mosaic_region
from jaxdecon.volumes._tile_gains import Gains, measure_gains
from jaxdecon.volumes._tile_links import measure_links
from jaxdecon.volumes._tile_positions import tiles_at

GRID, JITTER, OVERLAP, LEAST = (2, 4, 4), 10, 36, 120
EMPTY, WRONG = 9, (3, -15, 9)
PHOTONS, DIM = 60.0, 5.0
OFF = 1.5


def filaments(shape, seed=0):
    """Random walks, blurred: a specimen with structure everywhere."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    volume = np.zeros(shape, np.float32)
    count = int(np.prod(shape) / 4000)
    steps = rng.normal(size=(count, 120, 3)).cumsum(1) * 0.2
    steps += rng.normal(size=(count, 1, 3))
    steps /= np.linalg.norm(steps, axis=-1, keepdims=True)
    places = rng.uniform(0, shape, (count, 1, 3)) + steps.cumsum(1)
    index = np.rint(places.reshape(-1, 3)).astype(int) % shape
    np.add.at(volume, tuple(index.T), 1)
    return gaussian_filter(volume, 1.5)


def volumes(folder: Path | None):
    """(name, volume with a bright end of 1)."""
    yield "filaments", filaments((150, 240, 240))
    for path in sorted(folder.rglob("*")) if folder else []:
        try:
            image = jd.io.read(path)
        except (ValueError, FileNotFoundError, OSError):
            continue
        if image.spatial_axes == "zyx" and min(image.volume_shape) >= LEAST:
            yield path.name, next(image.volumes())[1].astype(np.float32)
            return


def cut(volume, seed=0):
    """(stacks, nominal, truth): tiles that overlap by about 36 voxels or more."""
    rng = np.random.default_rng(seed)
    low, high = np.percentile(volume, (5, 99.8))
    bright = np.clip((volume - low) / (high - low), 0, 3)
    inner = np.array(volume.shape) - 2 * JITTER
    counts = np.array(GRID)
    shape = (inner + (counts - 1) * OVERLAP) // counts
    steps = np.maximum((inner - shape) // np.maximum(counts - 1, 1), 0)
    places = np.stack(np.meshgrid(*map(np.arange, GRID), indexing="ij"), -1)
    nominal = places.reshape(-1, 3) * steps + JITTER
    truth = nominal + rng.integers(-JITTER, JITTER + 1, nominal.shape)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    field = np.exp(-0.12 * (y**2 + x**2))
    stacks = []
    for number, start in enumerate(truth.tolist()):
        box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
        seen = 0 if number == EMPTY else bright[box]
        light = np.broadcast_to(PHOTONS * seen + DIM, shape) * field
        counts = rng.poisson(light * rng.uniform(0.9, 1.1))
        stacks.append((100 + 4 * counts).astype(np.uint16))
    return stacks, nominal.astype(float), truth.astype(float)


def simulated(folder):
    """Rows of the table of positions, tiles of which the truth is made here."""
    for name, volume in volumes(folder):
        stacks, nominal, truth = cut(volume)
        tiles = tiles_at(stacks, nominal)
        cpu, wall = time.process_time(), time.perf_counter()
        links = measure_links(tiles, search=2 * JITTER)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        links, spoilt = spoil(links)
        found = solve_links(nominal, links)
        kept = np.arange(len(tiles)) != EMPTY
        error = (found.positions - truth)[kept]
        error -= error.mean(0)
        a, b = links.pairs.T
        off = abs(links.offset - (truth[b] - truth[a])).max(1) > OFF
        wrong = links.usable & off
        assert found.rejected[spoilt]
        yield [
            name,
            " x ".join(map(str, tiles[0].shape)),
            f"{links.usable.sum()} of {len(links)}",
            f"{wrong.sum()}, {(wrong & ~found.rejected).sum()}",
            float(np.sqrt((error**2).mean())),
            float(abs(error).max()),
            wall,
            cpu,
        ]


def spoil(links: Links) -> tuple[Links, int]:
    """One link is made wrong."""
    usable = np.flatnonzero(links.usable)
    number = int(usable[len(usable) // 3])
    first = links.first.copy()
    first[number] += WRONG
    return dataclasses.replace(links, first=first), number


def real(folder):
    """Rows of tiles that come with their truth."""
    for path in sorted(folder.rglob("nominal.json")) if folder else []:
        said = json.loads(path.read_text())
        truth = json.loads((path.parent / "truth.json").read_text())
        truth = np.array(truth["true_origin_zyx_px"], float)
        files = [path.parent / name for name in said["tiles"]]
        tiles = tiles_at(files, said["nominal_origin_zyx_px"])
        cpu, wall = time.process_time(), time.perf_counter()
        links = measure_links(tiles)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found = solve_links([t.origin for t in tiles], links)
        error = found.positions - found.positions[0] - (truth - truth[0])
        shape = " x ".join(map(str, tiles[0].shape))
        used = f"{links.usable.sum()} of {len(links)}"
        rms, most = float(np.sqrt((error**2).mean())), float(abs(error).max())
        yield [path.parent.name, shape, used, "", rms, most, wall, cpu]


def solutions(count: int):
    """Rows: a square grid of tiles."""
    side = round(count**0.5)
    rng = np.random.default_rng(0)
    index = np.arange(side**2).reshape(side, side)
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    nominal = 900.0 * np.stack([0 * y.ravel(), y.ravel(), x.ravel()], 1)
    truth = nominal + rng.normal(0, 5, nominal.shape)
    joined = [(index[:-1], index[1:]), (index[:, :-1], index[:, 1:])]
    more = [(index[:-1, :-1], index[1:, 1:]), (index[:-1, 1:], index[1:, :-1])]
    for parts in (joined, joined + more):
        pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in parts])
        sigma = rng.uniform(0.02, 0.1, (len(pairs), 1))
        offsets = truth[pairs[:, 1]] - truth[pairs[:, 0]]
        offsets = offsets + sigma * rng.normal(size=offsets.shape)
        wrong = rng.random(len(pairs)) < 0.01
        signs = rng.choice([-1, 1], offsets.shape)
        offsets[wrong] += (signs * rng.uniform(10, 50, offsets.shape))[wrong]
        covariance = sigma[:, :, None] ** 2 * np.eye(3)
        links = Links.from_offsets(pairs, offsets, covariance=covariance)
        cpu, wall = time.process_time(), time.perf_counter()
        found = solve_links(nominal, links)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        error = found.positions - truth
        error -= error.mean(0)
        missed = int((wrong & ~found.rejected).sum())
        false = int((found.rejected & ~wrong).sum())
        yield [
            side**2,
            len(pairs),
            f"{wrong.sum()}, {missed}, {false}",
            float(np.sqrt((error**2).mean())),
            float(abs(error).max()),
            wall,
            cpu,
        ]


def blending(size=(64, 256, 256)):
    """Rows: Mvoxel per CPU second."""
    rng = np.random.default_rng(0)
    step = [n - n // 5 for n in size[1:]]
    nominal = np.array([(0, y, x) for y in (0, step[0]) for x in (0, step[1])], float)
    stacks = [rng.integers(100, 4000, size, dtype=np.uint16) for _ in nominal]
    tiles = tiles_at(stacks, nominal)
    places = nominal + rng.uniform(-0.5, 0.5, nominal.shape)
    gains = dataclasses.replace(
        measure_gains(tiles, places, background=100), background=100.0
    )
    for where, at in (("whole voxels", nominal), ("between voxels", places)):
        for corrected in (None, gains):
            row = [where, "yes" if corrected else "no"]
            for weights in WEIGHTS:
                row.append(throughput(tiles, at, weights, "linear", corrected))
            row.append(throughput(tiles, at, "linear", "cubic", corrected))
            yield row


def throughput(tiles, places, weights: str, order: str, gains: Gains | None) -> float:
    """Mvoxel per CPU second, the best of three."""
    box = np.array(mosaic_box(tiles, places))
    start, shape = box[:, 0].tolist(), (box[:, 1] - box[:, 0]).tolist()
    best = np.inf
    for _ in range(3):
        cpu = time.process_time()
        mosaic_region(
            tiles, places, start, shape, weights=weights, order=order, gains=gains
        )
        best = min(best, time.process_time() - cpu)
    return float(np.prod(shape) / best / 1e6)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    header("Stitching")
    columns = ["volume", "tile", "links used", "wrong, kept", "rms error", "max error"]
    rows = [*simulated(arguments.data), *real(arguments.data)]
    table([*columns, "links s", "CPU s"], rows)
    columns = ["tiles", "links", "wrong, missed, false", "rms error", "max error"]
    table([*columns, "solution s", "CPU s"], list(solutions(arguments.tiles)))
    columns = ["tiles at", "gains and shading", *WEIGHTS, "linear, cubic"]
    table(columns, list(blending()))
    if arguments.peers:
        from _stitching_peers import compare

        compare()


if __name__ == "__main__":
    main()
