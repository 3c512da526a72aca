"""The PSFs of several views of one object, as functions of the same parameters."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...psf._zernike import Modes, parse_aberrations
from ._fit_inputs import OnVector

Model = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class Several:
    """Models of their own, one per view; equal for equal models and tree."""

    views: tuple[OnVector, ...]

    @property
    def first(self) -> OnVector:
        """The model of the first view."""
        return self.views[0]

    def __call__(self, vector: jax.Array) -> jax.Array:
        """The PSFs (view, z, y, x) of a vector."""
        return jnp.stack([view(vector) for view in self.views])


@dataclasses.dataclass(frozen=True)
class Diverse:
    """One model with known aberrations added, others in every view.

    Attributes:
        view: the model without what is added.
        modes: Zernike polynomials that are added anywhere.
        amounts: radians, per view and mode.
    """

    view: OnVector
    modes: Modes
    amounts: tuple[tuple[float, ...], ...]

    @property
    def first(self) -> OnVector:
        """The model, with nothing added."""
        return self.view

    def __call__(self, vector: jax.Array) -> jax.Array:
        """The PSFs (view, z, y, x) of a vector."""
        known = jnp.asarray(self.amounts, vector.dtype)

        def one(extra: jax.Array) -> jax.Array:
            model = _Added(self.view.model, self.modes, extra)
            return dataclasses.replace(self.view, model=model)(vector)

        return jax.vmap(one)(known) if self.modes else one(known[0])[None]


@dataclasses.dataclass(frozen=True, eq=False)
class _Added:
    """A model with aberrations added to those that it is given."""

    model: Model
    modes: Modes
    extra: jax.Array

    def __call__(self, *, aberrations: Any = None, **others: Any) -> jax.Array:
        modes, values = parse_aberrations(aberrations)
        total = dict(zip(modes, values, strict=True))
        for mode, value in zip(self.modes, self.extra, strict=True):
            total[mode] = total.get(mode, 0.0) + value
        return self.model(aberrations=total, **others)


Views = Several | Diverse


def make_views(
    model: Model | Sequence[Model],
    start: Any,
    diversities: Sequence[Mapping[Any, float]] | None,
    count: int,
) -> Views:
    """The PSFs of `count` views.

    Raises:
        ValueError: as many models or diversities as images are needed; both, or
            neither; diversities that are all alike.
    """
    if callable(model):
        if diversities is None:
            raise ValueError(
                "`diversities` is None; with one `model` it must say which known "
                'aberrations each image has, e.g. [{}, {"astigmatism": 1.0}].'
            )
        _check_number("diversities", diversities, count)
        return _diverse(OnVector.of(model, start), diversities)
    if diversities is not None:
        raise ValueError("`diversities` is given, and a `model` for every image, too.")
    _check_number("model", model, count)
    return Several(tuple(OnVector.of(one, start) for one in model))


def _check_number(name: str, given: Sequence[Any], count: int) -> None:
    if len(given) != count:
        raise ValueError(f"`{name}` has {len(given)}; one per image, {count}, needed.")


def _diverse(view: OnVector, diversities) -> Diverse:
    views = []
    for known in diversities:
        modes, values = parse_aberrations(known)
        views.append(dict(zip(modes, map(float, values), strict=True)))
    if all(view == views[0] for view in views):
        raise ValueError(
            f"`diversities` are all alike ({diversities[0]}): images that are taken in "
            f"the same way do not tell the aberrations from the object."
        )
    modes = tuple(dict.fromkeys(mode for view in views for mode in view))
    amounts = tuple(tuple(view.get(mode, 0.0) for mode in modes) for view in views)
    return Diverse(view, modes, amounts)
