"""What 100 TB would take on 64 GPUs, on paper."""

import math

import zarr
from _common import header, table
from _volumes_data import BACKGROUND, PSFS, psf_of

import jaxdecon as jd
from jaxdecon.volumes._engine import THREADS
from jaxdecon.volumes._target import LEAST_SHARD

SHAPE = (4096, 110_592, 110_592)
"""50 Tvoxel of uint16: 100 TB."""
GPUS, PER_NODE = 64, 8
DEVICE_BYTES = 60e9
"""Of 80 GB, what a block may take."""
BANDWIDTH = 2.0e12
"""Bytes per second of a data-centre GPU's memory; by their data sheets A100 80 GB
2.0e12, H100 SXM 3.35e12."""
REACHED = 0.6
"""Of that, by large FFTs and by pointwise steps, which both are bound by memory;
libraries reach half to three quarters."""
PASSES = 3
"""Times that a real 3D FFT reads and writes the volume: once per axis."""
POINTWISE = {"matched": 48, "wiener-butterworth": 56}
"""Bytes per voxel and iteration besides the FFTs: products with the OTF, ratio,
update, normaliser."""
FFTS = 4
"""Per iteration; and as many once per block, for OTF, back projector and normaliser."""
STORAGE = 5e9
"""Bytes per second that a node reads and writes, from a parallel file system or an
object store."""
COMPRESSION = 2.0
UNPACK, PACK = 150e6, 50e6
"""Bytes of voxels per second and core, unpacked from zstd, and converted, binned into
the pyramid and packed: measured on the machine of the other benchmarks, uint16."""
CORES = 16
"""Per GPU."""
HANDS = THREADS - 1
"""Blocks of a process that are read and written while one is computed."""
METHODS = {
    "Wiener-Butterworth, 2": {"iterations": 2, "back_projector": "wiener-butterworth"},
    "matched, 10": {"iterations": 10, "back_projector": "matched"},
}


def paper(folder, *, quick):
    """A table of one row per method, with all that it rests on."""
    methods = list(METHODS.items())[: 1 if quick else None]
    header("Volumes: 100 TB on 64 GPUs, an estimate; no GPU was measured")
    rows = [estimate(name, options, folder) for name, options in methods]
    table(
        [
            *("", "block with halo", "blocks", "halo overhead", "read TB"),
            *("compute h", "storage h", f"host h, {CORES} cores per GPU"),
            *(f"host h, {HANDS} threads per GPU", "last levels, one process, h"),
        ],
        rows,
    )
    print(ASSUMED)


ASSUMED = f"""
{" x ".join(map(str, SHAPE))} voxels of uint16, {2 * math.prod(SHAPE):.3g} bytes; the
result is uint16 with its pyramid (+ 1/7); {GPUS} GPUs, {PER_NODE} per node.

- GPU memory {BANDWIDTH:.3g} B/s, of which {REACHED:.0%} are reached; an FFT passes
  {PASSES} times over the volume, reads and writes 4 bytes per voxel; {FFTS} FFTs per
  iteration, and {FFTS} once per block; besides these {POINTWISE} bytes
  per voxel and iteration. `extend` enlarges the transform by the PSF.
- A node moves {STORAGE:.3g} B/s; files are compressed {COMPRESSION:g} : 1.
- A core unpacks {UNPACK:.3g} bytes of voxels per second, and packs {PACK:.3g}, pyramid
  included (measured here). {HANDS} threads per GPU is what an engine has now.
- Levels that are too coarse for whole shards per block are made at the end.
- Blocks and halo are those of a real plan (`dry_run`) for this PSF:
  {PSFS["common"]} (shape, FWHM).

Reading, computing and writing go on at a time: the slowest counts, then come the last
levels.
"""


def estimate(name, options, folder):
    """The row of one method."""
    plan = planned(options, folder)
    grid, psf = plan.grid, psf_of("common").shape
    blocks = len(grid)
    transform = math.prod(
        jd.fourier.next_fast_len(n + p - 1)
        for n, p in zip(grid.read_shape, psf, strict=True)
    )
    ffts = FFTS * (options["iterations"] + 1)
    pointwise = options["iterations"] * POINTWISE[options["back_projector"]]
    traffic = transform * (ffts * PASSES * 2 * 4 + pointwise)
    computing = blocks * traffic / (BANDWIDTH * REACHED) / GPUS
    read = blocks * 2 * math.prod(grid.read_shape)
    written = 2 * math.prod(grid.shape) * 8 / 7
    nodes = GPUS // PER_NODE
    moving = (read + written) / COMPRESSION / STORAGE / nodes
    packing = (read / UNPACK + written / PACK) / GPUS
    by_blocks = min(plan.shard) // LEAST_SHARD  # the coarsest step that blocks write
    finest = 2 * math.prod(grid.shape) / by_blocks**3
    last = finest * (1 / UNPACK + 1 / PACK)
    times = (computing, moving, packing / CORES, packing / HANDS, last)
    return [
        name,
        " x ".join(map(str, grid.read_shape)),
        blocks,
        f"{plan.overhead:.0%}",
        round(read / 1e12),
        *(seconds / 3600 for seconds in times),
    ]


def planned(options, folder):
    """The plan of a real dry run: a Zarr array of that shape without a single chunk."""
    shard = (256,) * 3
    array = zarr.create_array(
        folder / "empty.zarr", shape=SHAPE, chunks=(64,) * 3, shards=shard,
        dtype="uint16", overwrite=True,
    )  # fmt: skip
    return jd.volumes.deconvolve(
        array,
        folder / "target.ome.zarr",
        psf_of("common"),
        dtype="uint16",
        background=BACKGROUND,
        memory=DEVICE_BYTES,
        dry_run=True,
        **options,
    )
