# %% [markdown]
# # Deconvolve a first stack
#
# The sample that comes with jaxdecon is one nucleus, recorded in widefield and, for
# comparison, in confocal. We read it, model the PSF, deconvolve, and look.

# %%
import importlib.resources

import numpy as np

import jaxdecon as jd

sample = importlib.resources.files("jaxdecon") / "data/nucleus_confocal_widefield.tif"
image = jd.io.read(sample)
print(image.sizes, image.voxel_size)
confocal, widefield = np.asarray(image)

# %% [markdown]
# ## The PSF
#
# From numerical aperture, wavelength, refractive index and the voxel size of the file.
# It is large, because out-of-focus light spreads far.

# %%
psf = jd.psf.widefield(
    (89, 65, 65), image.known_voxel_size, na=1.4, wavelength=0.46, index=1.518
)
print("FWHM in voxels:", jd.psf.fwhm(psf))

# %% [markdown]
# The voxels are coarser than what the lens resolves: this stack is undersampled, and
# its FWHM is that of a single voxel. We ask for a resolution of two voxels, which is
# what the sampling allows.
#
# ## Two ways
#
# Two iterations with a Wiener–Butterworth back projector, and twenty accelerated
# iterations of classical Richardson–Lucy. The camera's offset is part of the model.

# %%
fast = jd.richardson_lucy(
    widefield,
    psf,
    iterations=2,
    back_projector="wiener-butterworth",
    resolution=(2, 2, 2),
    alpha=0.02,
    background=650,
    boundary="reflect",
    restore_flux=True,
)
thorough = jd.richardson_lucy(
    widefield,
    psf,
    iterations=20,
    accelerated=True,
    background=650,
    boundary="reflect",
)

# %% [markdown]
# ## Is it sharper? Is it right?
#
# The correlation with the confocal stack, although the two are a few voxels apart:

# %%
for name, volume in {"raw": widefield, "fast": fast, "thorough": thorough}.items():
    print(f"{name:9} {float(jd.metrics.ncc(volume, confocal)):.3f}")

# %%
figure = jd.report.deconvolution_figure(
    {"raw": widefield, "fast": fast, "thorough": thorough, "confocal": confocal},
    psf,
    voxel_size=image.voxel_size,
)
figure
