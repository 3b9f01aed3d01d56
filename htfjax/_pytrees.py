"""Dataclasses as pytrees whose constructor may check what it is given."""

import dataclasses
from collections.abc import Iterable
from typing import TypeVar

import jax

T = TypeVar("T")


def register_checked(kind: type[T]) -> type[T]:
    """Registers a dataclass as `jax.tree_util.register_dataclass` does, but for one thing.

    Unflattening does not run the constructor: jax puts tracers, shapes, axis numbers and
    placeholders in the place of leaves, which a constructor that checks would refuse.
    """
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    static = tuple(f.name for f in fields if f.metadata.get("static", False))
    leaves = tuple(f.name for f in fields if f.name not in static)
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in leaves)

    def flatten(x: T) -> tuple[tuple, tuple]:
        return tuple(getattr(x, n) for n in leaves), tuple(getattr(x, n) for n in static)

    def flatten_with_keys(x: T) -> tuple[tuple, tuple]:
        children, fixed = flatten(x)
        return tuple(zip(keys, children, strict=True)), fixed

    def unflatten(fixed: tuple, children: Iterable[object]) -> T:
        x = object.__new__(kind)
        for names, values in ((static, fixed), (leaves, children)):
            for name, value in zip(names, values, strict=True):
                object.__setattr__(x, name, value)
        return x

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)
    return kind
