"""Callables as arguments of compiled programs, split into traced and static parts."""

import dataclasses
import functools
import types
import warnings
import weakref
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from htfjax._types import PyTree

# A compiled program holds about a hundred memory maps, of which Linux grants a process
# 65,530: some 640 programs.
MANY = 100
T = TypeVar("T")
DYNAMIC = (jax.Array, np.ndarray, np.generic, float, complex)


@dataclasses.dataclass(frozen=True)
class Rebuild:
    """The static rest of a callable: how to put it together from its traced leaves."""

    treedef: Any
    leaves: tuple[Any, ...]
    traced: tuple[bool, ...]

    def __call__(self, arrays: list[jax.Array]) -> Any:
        supply = iter(arrays)
        return jax.tree.unflatten(
            self.treedef,
            [
                next(supply) if array else leaf
                for leaf, array in zip(self.leaves, self.traced, strict=True)
            ],
        )


NOTHING = Rebuild(jax.tree.structure(None), (), ())


def split(function: PyTree) -> tuple[list[Any], Rebuild]:
    """The leaves of a callable pytree that are traced, and its static rest.

    Arrays, NumPy scalars and Python floats are traced, so that new values retrace nothing.
    Python's bools and integers are static: they choose branches, axes and shapes.
    """
    if function is None:
        return [], NOTHING
    leaves, treedef = jax.tree.flatten(function)
    dynamic = tuple([isinstance(leaf, DYNAMIC) for leaf in leaves])
    static = tuple([None if d else x for x, d in zip(leaves, dynamic, strict=True)])
    arrays = [x for x, d in zip(leaves, dynamic, strict=True) if d]
    return arrays, Rebuild(treedef, static, dynamic)


def check_hashable(name: str, function: PyTree) -> None:
    """A callable whose static rest can be told from that of others.

    Raises:
      TypeError: it cannot be hashed.
    """
    rebuild = split(function)[1]
    try:
        hash(rebuild)
    except TypeError:
        kinds = [type(x).__name__ for x in rebuild.leaves if not _is_hashable(x)]
        raise TypeError(
            f"`{name}` is or holds a {(kinds or [type(function).__name__])[0]} that cannot "
            "be hashed, by which its compiled program would be found again; make it a "
            "dataclass with `eq=False`, with `frozen=True` if it holds no arrays, or a "
            "pytree (`jax.tree_util.register_dataclass`), whose arrays are then traced."
        ) from None


def _is_hashable(leaf: object) -> bool:
    try:
        hash(leaf)
    except TypeError:
        return False
    return True


def traced(function: T) -> T:
    """The callable with jax arrays for all leaves that `split` traces."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, DYNAMIC) else x, function)


_seen = weakref.WeakKeyDictionary[types.CodeType, weakref.WeakSet]()


def count_fresh(name: str, given: object, rebuild: Rebuild) -> None:
    """Warns once when very many functions of one code have been compiled.

    Each is a program of its own, which the compiler's caches keep for ever.

    Args:
      name: the argument, for the message.
      given: a function, one with arguments filled in, or a pytree with such leaves.
      rebuild: of `given`, from `split`.
    """
    for function in (given, *rebuild.leaves):
        while isinstance(function, functools.partial):
            function = function.func
        if not isinstance(function, types.FunctionType):
            continue
        same = _seen.setdefault(function.__code__, weakref.WeakSet())
        if function in same:
            continue
        same.add(function)
        if len(same) == MANY:
            warnings.warn(
                f"`{name}`: {MANY} different functions `{function.__qualname__}` have been "
                "compiled, one program each, which stay in memory; a process ends after "
                "some 600. Define the function once, and hand on what varies as arrays: "
                "`jax.tree_util.Partial(function, arrays)` is compiled once for all "
                "values. `jax.clear_caches()` frees what has been compiled.",
                stacklevel=3,
            )
