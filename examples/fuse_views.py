# %% [markdown]
# # Fuse two views of one specimen
#
# A light-sheet microscope with two objectives sees a specimen from two sides. Either
# view is blurred along its own axis. We simulate such a pair, and make one volume of it
# that is sharp along every axis.

# %%
import matplotlib.pyplot as plt
import numpy as np

import jaxdecon as jd
from jaxdecon.geometry import turned

rng = np.random.default_rng(0)
shape = (48, 56, 48)
specimen = np.zeros(shape, np.float32)
along = np.linspace(0, 1, 400)[:, None]
for _ in range(12):
    start, slope, bend = (rng.uniform(low, 1, 3) for low in (0, -1, -1))
    line = np.round((start + slope * along + bend * along**2) * shape).astype(int)
    inside = ((line >= 3) & (line < np.array(shape) - 3)).all(1)
    specimen[tuple(line[inside].T)] = rng.uniform(0.3, 1)
speck = jd.psf.gaussian((9, 9, 9), 2.0)
smooth = jd.operators.Convolution.from_psf(speck, shape, boundary="periodic")
specimen = np.maximum(smooth(specimen), 0)

# %% [markdown]
# ## Record it
#
# The second objective looks along x: its recording has the axes of the first one turned
# by 90 degrees about y. It is also a little out of place. Both have the same PSF, each
# in its own orientation.

# %%
psf = jd.psf.gaussian((25, 9, 9), (6.6, 2.2, 2.2))
side = turned(90, shape=shape)
pose = side.copy()
pose[:3, 3] += (1.7, -2.2, 0.6)
recordings = []
for matrix in (np.eye(4), pose):
    placed = jd.warp(specimen, np.linalg.inv(matrix), order="cubic")
    blur = jd.operators.Convolution.from_psf(psf, shape, boundary="reflect")
    clean = np.maximum(blur(placed), 0)
    photons = rng.poisson(300 * clean / clean.max())
    recordings.append((photons + rng.normal(100, 2, shape)).astype(np.float32))

# %% [markdown]
# ## One call
#
# The views are registered, starting from the known turn, and deconvolved jointly.

# %%
fused = jd.fuse(
    recordings,
    [psf, psf],
    initial=[None, side],
    background=100.0,
    iterations=3,
    alpha=0.02,
)
print(fused.registrations[0].message)
print("pose, off by:", abs(fused.matrices[1] - pose).max().round(3))
print("deviance per voxel of either view:", fused.residuals)

# %% [markdown]
# ## What was gained
#
# The correlation with the specimen, of the first view, of the two averaged, of the
# first one deconvolved alone, and of both deconvolved together.

# %%
average = jd.fuse(
    recordings, None, matrices=fused.matrices, background=100.0, method="average"
)
alone = jd.richardson_lucy(np.maximum(recordings[0] - 100, 0), psf, iterations=15)
volumes = {
    "first view": recordings[0],
    "average": average.image,
    "first view, deconvolved": alone,
    "both, deconvolved": fused.image,
}
for name, volume in volumes.items():
    print(f"{float(jd.metrics.ncc(volume, specimen)):.3f}  {name}")

# %%
figure, axes = plt.subplots(1, 5, figsize=(11, 2.6))
for ax, (name, volume) in zip(
    axes, {**volumes, "specimen": specimen}.items(), strict=True
):
    ax.imshow(np.asarray(volume).max(1), cmap="gray", origin="lower")
    ax.set_title(name, fontsize=8)
    ax.set(xticks=[], yticks=[], xlabel="x", ylabel="z")

# %% [markdown]
# A view alone cannot tell what its long axis hides. `jd.fuse(..., refine=True)` refines
# poses with the object, `jd.fusion.fuse_series` follows a series, and `jaxdecon fuse`
# does it all from files.
