# %% [markdown]
# # Write your own scheme
#
# The problem: from data $y \sim \mathrm{Poisson}(A x + b)$ find the object $x \ge 0$.
# A scheme says how to improve an estimate once. The driver does the rest: the loop, the
# history, stopping, gradients, batches.
#
# ## Data and operator

# %%
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import jaxdecon as jd

rng = np.random.default_rng(0)
truth = np.zeros((64, 64), np.float32)
truth[tuple(rng.integers(5, 59, (2, 30)))] = 1000
psf = jd.psf.gaussian((15, 15), 4.0)
blur = jd.operators.Convolution.from_psf(psf, truth.shape, boundary="reflect")
image = rng.poisson(np.maximum(blur(truth), 0) + 2).astype(np.float32)

# %% [markdown]
# ## The scheme
#
# Projected gradient descent on the squared error, in a dozen lines. `init` returns a
# state, `update` the next one; both are pytrees, and `estimate` is the object so far.
#
# jaxlib 0.10 to 0.12 can take one class that `register_dataclass` made for another
# with as many leaves and no other static fields: rarely, and without a word. If you
# write several schemes, give each a static field with a value of its own, such as
# `name: str = dataclasses.field(default="landweber", metadata={"static": True})`.


# %%
@jax.tree_util.register_dataclass
@dataclasses.dataclass
class State:
    estimate: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Landweber:
    step: float

    def init(self, problem):
        return State(problem.operator.lift(problem.data))

    def update(self, problem, state):
        misfit = problem.data - problem.predict(state.estimate)
        ahead = state.estimate + self.step * problem.operator.adjoint(misfit)
        return State(jnp.maximum(ahead, 0))


# %% [markdown]
# ## Run it, beside Richardson–Lucy

# %%
for scheme in (Landweber(1.0), jd.deconvolution.RichardsonLucy()):
    result = jd.deconvolve(image, blur, scheme, iterations=50, background=2.0)
    quality = float(jd.metrics.ncc(result.value, truth))
    print(f"{type(scheme).__name__:15} NCC {quality:.3f}; {result.message}")

# %% [markdown]
# ## Differentiate through it
#
# The step is a leaf of the pytree, so its derivative is one call away.


# %%
def loss(scheme):
    result = jd.deconvolve(image, blur, scheme, iterations=10, background=2.0)
    return ((result.value - truth) ** 2).mean()


print("d loss / d step =", jax.grad(loss)(Landweber(1.0)).step)
