"""multiview-stitcher and ours on two tiles with a known shift between voxels.

    python tests/benchmarks/_stitching_peers.py [--size 128]

Two tiles of a scene of Gaussian blobs, rendered at their true places, with photon
noise; nominal positions are whole voxels, some voxels away. Error: of the offset of the
two tiles, the largest of three axes, voxels. Fusion: Mvoxel of the mosaic per CPU
second, float32 tiles in memory, each at its true place, linear interpolation. The
defaults of multiview-stitcher: `registration.register(msims, transform_key=,
new_transform_key=, reg_channel_index=)` calls `phase_correlation_registration`, and
`fusion.fuse(sims, transform_key=)` calls `weighted_average_fusion`. A program that is
not installed is left out; each can run in an environment of its own.
"""

import argparse
import importlib.util
import time

import numpy as np

OFFSET, STAGE = (2.37, -3.62, 96.45), (0.0, 0.0, 100.0)


def blobs(size, origin, *, seed):
    """A tile of the scene whose first voxel is at an origin."""
    rng = np.random.default_rng(1)
    extent = np.array([size, size, 2 * size])
    places = rng.uniform(-10, extent + 10, (size**3 // 700, 3)) - origin
    heights = rng.uniform(0.2, 1, len(places))
    volume = np.zeros((size,) * 3)
    for place, height in zip(places, heights, strict=True):
        low = np.maximum(np.floor(place).astype(int) - 9, 0)
        high = np.minimum(np.floor(place).astype(int) + 10, size)
        if (high <= low).any():
            continue
        lines = [
            np.exp(-0.5 * ((np.arange(a, b) - p) / 2) ** 2)
            for a, b, p in zip(low, high, place, strict=True)
        ]
        z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
        volume[z, y, x] += height * np.einsum("i,j,k->ijk", *lines)
    noise = np.random.default_rng(10 + seed)
    return noise.poisson(100 * volume + 10).astype(np.float32)


def timed(function, repeats=3):
    """The result, and the least wall and CPU seconds after a first call."""
    result = function()
    best = [np.inf, np.inf]
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        spent = time.perf_counter() - wall, time.process_time() - cpu
        best = [min(b, s) for b, s in zip(best, spent, strict=True)]
    return result, best


def ours(stacks):
    """(offset, seconds of the link, size of the mosaic, seconds of the fusion)."""
    from jaxdecon.volumes._mosaic import mosaic_box, mosaic_region
    from jaxdecon.volumes._tile_links import measure_links
    from jaxdecon.volumes._tile_positions import tiles_at

    tiles = tiles_at(stacks, [(0, 0, 0), STAGE])
    links, spent = timed(lambda: measure_links(tiles, search=13))
    places = np.array([(0, 0, 0), OFFSET])
    box = np.array(mosaic_box(tiles, places))
    start, shape = box[:, 0].tolist(), (box[:, 1] - box[:, 0]).tolist()
    fused, fusion = timed(lambda: mosaic_region(tiles, places, start, shape))
    return links.offset[0], spent, fused.size, fusion


def multiview_stitcher(stacks):
    """Likewise."""
    from multiview_stitcher import (
        fusion,
        msi_utils,
        registration,
        spatial_image_utils,
    )

    def image(stack, origin):
        return spatial_image_utils.get_sim_from_array(
            stack,
            dims=list("zyx"),
            scale=dict.fromkeys("zyx", 1.0),
            translation=dict(zip("zyx", map(float, origin), strict=True)),
            transform_key="stage",
        )

    def register():
        sims = [image(s, o) for s, o in zip(stacks, [(0, 0, 0), STAGE], strict=True)]
        msims = [msi_utils.get_msim_from_sim(sim, scale_factors=[]) for sim in sims]
        return registration.register(
            msims,
            transform_key="stage",
            new_transform_key="found",
            reg_channel_index=0,
        )

    found, spent = timed(register)
    moves = [np.squeeze(np.asarray(p))[:3, 3] for p in found]
    offset = np.array(STAGE) + moves[1] - moves[0]
    sims = [image(s, o) for s, o in zip(stacks, [(0, 0, 0), OFFSET], strict=True)]
    fused, fusion_spent = timed(
        lambda: np.asarray(fusion.fuse(sims, transform_key="stage").data)
    )
    return offset, spent, fused.size, fusion_spent


def compare(size: int = 128) -> None:
    """Print a row per program."""
    stacks = [blobs(size, o, seed=n) for n, o in enumerate([(0, 0, 0), OFFSET])]
    rows = []
    programs = {"jaxdecon": ours, "multiview_stitcher": multiview_stitcher}
    for name, program in programs.items():
        if importlib.util.find_spec(name) is None:
            continue
        offset, (wall, cpu), voxels, (fusion_wall, fusion_cpu) = program(stacks)
        error = abs(np.asarray(offset) - OFFSET).max()
        rows.append([name, error, wall, cpu, voxels / fusion_cpu / 1e6, fusion_wall])
    columns = ["program", "error", "link s", "CPU s", "Mvoxel / CPU s", "fusion s"]
    lines = [columns, ["---"] * len(columns), *rows]
    for line in lines:
        cells = [f"{c:.3g}" if isinstance(c, float) else str(c) for c in line]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=128)
    compare(parser.parse_args().size)
