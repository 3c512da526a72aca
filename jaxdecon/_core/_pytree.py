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
    return as_pytree(dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls))


def as_pytree(cls: type[T]) -> type[T]:
    """Make a dataclass a pytree, whose `__init__` takes all fields by name.

    Not by `register_dataclass`: in jaxlib 0.10 to 0.12 the structures of any two
    classes that it made are equal if their static fields are, and where the hashes
    happen to collide, `jit` runs the program of the one for the other.
    """
    names: dict[bool, list[str]] = {True: [], False: []}
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        names[field.metadata.get("static", False)].append(field.name)
    leaves, statics = names[False], names[True]
    keys = [jax.tree_util.GetAttrKey(name) for name in leaves]

    def flatten(tree: T) -> tuple[list[Any], tuple[Any, ...]]:
        values = [getattr(tree, name) for name in leaves]
        return values, tuple(getattr(tree, name) for name in statics)

    def flatten_with_keys(tree: T) -> tuple[list[Any], tuple[Any, ...]]:
        values, structure = flatten(tree)
        return list(zip(keys, values, strict=True)), structure

    def unflatten(structure: tuple[Any, ...], values: Any) -> T:
        named = dict(zip(leaves, values, strict=True))
        return cls(**named, **dict(zip(statics, structure, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
