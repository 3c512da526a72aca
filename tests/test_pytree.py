"""Pytrees of our classes: told apart, rebuilt, named."""

import jax
import numpy as np
import pytest

import jaxdecon as jd
from jaxdecon._core._pytree import pytree, static


@pytree
class Box:
    leaf: jax.Array
    choice: str = static(default="a")


def kind(number):
    """A class with one leaf, which says its number."""

    class Kind:
        leaf: float
        own = number

    Kind.__annotations__ = {"leaf": float}
    return pytree(Kind)


def test_jit_never_takes_one_class_for_another():
    """Among 100 structures some have hashes that collide in the bits that count."""

    @jax.jit
    def own(box):
        return box.leaf + type(box).own

    boxes = [kind(number)(leaf=1000.0) for number in range(100)]
    assert [float(own(box)) for box in boxes] == [1000.0 + n for n in range(100)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (jd.deconvolution.RelativeChange(), jd.deconvolution.Discrepancy()),
        (jd.deconvolution.Poisson(), jd.deconvolution.Gaussian(sigma=1.0)),
        (Box(leaf=1.0), Box(leaf=1.0, choice="b")),
    ],
)
def test_structures_of_different_things_differ(one, other):
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert jax.tree.structure(one) == jax.tree.structure(one)


def test_leaves_are_named_and_put_back():
    psf = jd.psf.gaussian((5, 5), 2.0)
    blur = jd.operators.Convolution.from_psf(psf, (8, 8))
    views = jd.operators.Views([blur, blur])
    (path, _), _ = jax.tree_util.tree_flatten_with_path(views)[0]
    assert jax.tree_util.keystr(path) == ".operators[0].transfer"
    doubled = jax.tree.map(lambda leaf: 2 * leaf, views)
    x = np.ones(views.domain, np.float32)
    for twice, once in zip(doubled(x), views(x), strict=True):
        np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
