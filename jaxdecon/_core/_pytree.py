"""Frozen, keyword-only dataclasses that JAX sees as pytrees."""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """A field that is part of the tree's structure, not a leaf (shapes, choices)."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    eq_default=False,
    field_specifiers=(static, dataclasses.field),
)
def pytree(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass pytree: fields are leaves unless `static()`.

    `__init__` runs again, with tracers, whenever JAX rebuilds the object. It must
    therefore neither validate nor convert; factories do.
    """
    cls = dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    names = {True: [], False: []}
    for field in fields:
        names[field.metadata.get("static", False)].append(field.name)
    return jax.tree_util.register_dataclass(
        cls, data_fields=names[False], meta_fields=names[True]
    )
