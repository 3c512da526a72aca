# %% [markdown]
# # A volume that does not fit into memory
#
# What follows takes seconds here, and is the same for terabytes: a volume on disk is
# deconvolved block by block, the run is stopped half-way and taken up again, and tiles
# are stitched. All that is needed is a PSF and a path.

# %%
import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np

import jaxdecon as jd

folder = pathlib.Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
psf = jd.psf.gaussian((17, 13, 13), (5.0, 3.0, 3.0))

# %% [markdown]
# ## A volume on disk
#
# Filaments, blurred, with photon noise, as a microscope's software leaves it: an
# OME-Zarr, 16 bit.

# %%
shape = (32, 160, 224)
truth = np.zeros(shape, np.float32)
for _ in range(40):
    direction = rng.normal(size=3) * (0.2, 1, 1)
    direction /= np.linalg.norm(direction)
    steps = np.arange(-150, 150, 0.5)[:, None]
    places = rng.uniform(0, 1, 3) * shape + steps * direction
    places = np.round(places).astype(int)
    inside = ((places >= 0) & (places < shape)).all(1)
    np.add.at(truth, tuple(places[inside].T), 60)
blur = jd.operators.Convolution.from_psf(psf, shape, boundary="periodic")
image = rng.poisson(np.maximum(blur(truth), 0) + 10).astype(np.uint16)
source = folder / "brain.ome.zarr"
jd.io.write(source, jd.io.Image(data=image, axes="zyx", voxel_size=(0.3, 0.1, 0.1)))

# %% [markdown]
# ## The plan
#
# Blocks are as large as memory allows; here we ask for small ones, to see several.

# %%
target = folder / "sharp.ome.zarr"
options = {"iterations": 10, "background": "auto", "block": (32, 64, 64)}
plan = jd.volumes.deconvolve(source, target, psf, dry_run=True, **options)
print(plan)

# %% [markdown]
# ## Stop, and go on
#
# Somebody presses Ctrl-C after five blocks. The same call does the rest.


# %%
def impatient(progress):
    if progress.blocks == 5:
        raise KeyboardInterrupt


try:
    jd.volumes.deconvolve(source, target, psf, progress=impatient, **options)
except KeyboardInterrupt:
    print("stopped; the target is there:", target.exists())

run = jd.volumes.deconvolve(source, target, psf, **options)
print(f"{run.blocks} blocks were left to do; the target is there: {target.exists()}")

# %% [markdown]
# No face of a block shows, since all see a halo, and share what was measured.

# %%
sharp = np.asarray(jd.io.read(target))
whole = np.asarray(jd.richardson_lucy(image, psf, iterations=10, background=10))
figure, panels = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
titles = ("raw", "deconvolved in 12 blocks", "in one piece")
for axes, volume, title in zip(panels, (image, sharp, whole), titles, strict=True):
    axes.imshow(volume.max(0), cmap="gray")
    axes.set(title=title, xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## Tiles
#
# The same specimen in four tiles, each up to four voxels away from where the stage
# says.

# %%
nominal = np.array([(0, y, x) for y in (0, 70) for x in (0, 100)])
true = nominal + rng.integers(0, 5, nominal.shape) * (0, 1, 1)
tiles = [image[:, y : y + 85, x : x + 119] for _, y, x in true]
stitched = jd.volumes.stitch(
    tiles, folder / "mosaic.ome.zarr", positions=nominal, equalise=False
)
found = stitched.stitching.positions
print("errors, voxels:", np.abs(found - found[0] - (true - true[0])).max(1).round(3))

# %%
jd.report.stitch_figure(
    stitched.stitching.placement,
    stitched.stitching.links,
    stitched.stitching.nominal,
    stitched.stitching.shapes,
)
plt.show()
