# %% [markdown]
# # Register two volumes
#
# The bundled sample is one nucleus, recorded in confocal and in widefield mode. We turn
# and shift the widefield recording, as if it were of another day, find its pose again,
# and see how far to believe it.

# %%
import importlib.resources

import jax
import jax.numpy as jnp
import numpy as np

import jaxdecon as jd
from jaxdecon.geometry import Transform, in_micrometres, in_voxels

sample = importlib.resources.files("jaxdecon") / "data/nucleus_confocal_widefield.tif"
image = jd.io.read(sample)
size = image.known_voxel_size
confocal, widefield = np.asarray(image).astype(np.float32)

# %% [markdown]
# ## A known pose
#
# A rotation is one in µm, about the centre of the volume: between voxels that are not
# cubes its matrix is something else.

# %%
centre = (np.array(confocal.shape) - 1) / 2 * size
motion = Transform(
    parameters=jnp.array([0.15, 0.02, -0.03, 0.2, 0.4, -0.3]),  # radians, then µm
    centre=jnp.asarray(centre),
    model="rigid",
)
matrix = in_voxels(motion.matrix, size, size)
moved = jd.warp(widefield, np.linalg.inv(matrix), order="cubic")
noise = np.random.default_rng(0).normal(size=moved.shape)
moved = moved + 0.01 * float(jnp.std(moved)) * noise

# %% [markdown]
# ## Find it
#
# What lies beyond the edge of the moved recording is empty, and is left out by a mask.

# %%
seen = jd.warp(np.ones_like(widefield), np.linalg.inv(matrix))
options = {"model": "rigid", "fixed_voxel_size": size, "moving_mask": seen}
found = jd.register(widefield, moved, **options)
print(found.message)
print("passes on every level:", found.iterations)

# %% [markdown]
# How far off are the corners, in µm? The uncertainty is in voxels.

# %%
corners = np.array(np.meshgrid(*([0, n] for n in widefield.shape))).reshape(3, -1)
corners = np.concatenate([corners * np.array(size)[:, None], np.ones((1, 8))])
poses = [in_micrometres(m, size, size) for m in (found.matrix, matrix)]
error = np.linalg.norm(((poses[0] - poses[1]) @ corners)[:3], axis=0)
print("µm:", error.mean().round(3), "uncertainty:", float(found.uncertainty) * size[2])

# %% [markdown]
# ## A pose that is not to be believed
#
# The confocal recording of the same nucleus has no haze, and the two are so smooth that
# their likeness could be chance. The result says so, instead of a matrix that looks
# right.

# %%
other = jd.register(confocal, moved, **options)
print(other.message)

# %% [markdown]
# ## Derivatives
#
# The pose is a differentiable function of both volumes. How does the shift along x
# change if the recording gets brighter towards one side?

# %%


def shift_along_x(slope):
    light = 1 + slope * jnp.linspace(-1, 1, moved.shape[2])
    pose = jd.register(widefield, moved * light, initial=found.matrix, **options)
    return pose.matrix[2, 3]


print("voxels per unit of the slope:", jax.grad(shift_along_x)(0.0))
