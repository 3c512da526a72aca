# %% [markdown]
# # A network, where it fails, and how it says so
#
# A network that has seen tubules alone takes everything for tubules. Here is one,
# trained in a minute or two, on an image of the kind it knows, and on one of another.
# Every prediction is compared with the data, and with what the network was trained on;
# some Richardson–Lucy updates pull it back to the data.
#
# ## Pairs to train on
#
# Tubules, seen through a lens of NA 0.8, in random light. The images are made while the
# network is trained, so that it never sees one twice.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxdecon as jd

SIZE, BACKGROUND = 96, 5.0
psf = jd.psf.widefield(
    (1, 41, 41), (0.3, 0.065, 0.065), na=0.8, wavelength=0.52, index=1.33
)[0]
psf = psf / psf.sum()
blur = jd.operators.Convolution.from_psf(psf, (SIZE, SIZE))


def images_of(structure, seed, length=24):
    return jd.learning.SimulatedPairs(
        structure,
        blur,
        photons=(100, 1000),
        background=BACKGROUND,
        spacing=0.5,
        length=length,
        key=jax.random.key(seed),
    )


pairs = jd.learning.NormalisedPairs(
    images_of("tubules", seed=0, length=10_000), background=BACKGROUND
)

# %% [markdown]
# ## Train

# %%
steps = 600
fit = jd.learning.fit(
    jd.learning.DenseDeconNet(ndim=2),
    pairs,
    steps=steps,
    batch=4,
    optimizer=jd.learning.make_optimizer(steps=steps, rate=3e-3),
    loss="mse",
    key=jax.random.key(1),
)
print(fit.message)

# %% [markdown]
# ## Keep what it was trained on
#
# A model is the network with its normalisation and a record: what training images look
# like, and how large every score is on images that were held out. `model.save` writes
# all of it to one file.

# %%
model = jd.learning.Model.of(
    fit.network,
    pairs,
    validation=images_of("tubules", seed=2),
    operator=blur,
    psf=psf,
    background=BACKGROUND,
    voxel_size=(0.065, 0.065),
    most=24,
)

# %% [markdown]
# ## The kind that it knows, and another

# %%


def error(estimate, truth):
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


shown = {}
for name, structure in {"known": "tubules", "unknown": "beads"}.items():
    images, truth = images_of(structure, seed=3)[0]
    found = jd.learning.predict(
        model,
        images[0],
        operator=blur,
        background=BACKGROUND,
        voxel_size=(0.065, 0.065),
        repair=10,
    )
    shown[name] = images[0], truth, found
    before, after = (error(e, truth) for e in (found.image, found.repaired))
    print(f"{name}: {found.verdict}; error {before:.2f}, repaired {after:.2f}")
    for reason in found.reasons:
        print("  -", reason)

# %% [markdown]
# The trust map says what share of the voxels of held-out images look as bad as a voxel,
# or worse: dark is rare. What it cannot see, the reasons say, too: nobody but the
# training vouches for detail finer than what the optics pass on.

# %%
figure, axes = plt.subplots(2, 5, figsize=(13, 5.6), layout="constrained")
for row, (name, (image, truth, found)) in zip(axes, shown.items(), strict=True):
    top = float(truth.max())
    panels = {
        f"{name}: image": (image, None),
        "truth": (truth, top),
        f"predicted\n{found.verdict}": (found.image, top),
        "trust": (found.trust, 1.0),
        "repaired": (found.repaired, top),
    }
    for axis, (title, (panel, most)) in zip(row, panels.items(), strict=True):
        colours = "viridis" if title == "trust" else "magma"
        axis.imshow(panel, cmap=colours, vmin=0, vmax=most)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
