"""Bindings of a builder: the values beside setting and key that decide what it makes."""

import functools
import math
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from htfjax._digests import array_digest, text_digest
from htfjax.runs.identity import described, fields_of, named
from htfjax.runs.lanes import Build, Lane, Untraced

Seen = dict[int, object]  # callables by id, kept alive so that no id comes twice
# A lane is what is made: its last digits may depend on the device.
OPAQUE = (Lane, types.ModuleType)


def build_identity(build: Build) -> Any:
    """Name of a builder, and described values that it is bound to.

    The module is left out: that of a script has several names. So are values that cannot
    be described, and lanes, which are what is made.

    Example:
      >>> def build(setting, key, *, shift=0.0): ...
      >>> build_identity(functools.partial(build, shift=1.0))
      {'name': 'build', 'bound': {'shift': 1.0}}
    """
    return _callable(build.build if isinstance(build, Untraced) else build, {})


def _callable(function: Any, seen: Seen) -> Any:
    if id(function) in seen:
        return None
    seen[id(function)] = function
    name, values = _parts(function)
    bound = {k: x for k, v in values.items() if (x := _bound(v, seen)) is not None}
    return {"name": name, "bound": bound} if bound else name


def _parts(function: Any) -> tuple[str, dict[str, object]]:
    """Name of a callable, and the values that it is bound to, by name."""
    if isinstance(function, functools.partial):
        name, values = _parts(function.func)
        return name, values | _numbered(function.args) | function.keywords
    if isinstance(function, types.MethodType):
        name, values = _parts(function.__func__)
        return name, values | {"self": function.__self__}
    if isinstance(function, types.FunctionType):
        return function.__qualname__, _defaults(function) | _closure(function)
    if hasattr(function, "__wrapped__"):  # by `jax.jit` or `functools.cache`
        return _parts(function.__wrapped__)
    if hasattr(function, "__qualname__"):
        return function.__qualname__, {}
    return type(function).__qualname__, fields_of(function) or dict(
        getattr(function, "__dict__", {})
    )


def _defaults(function: types.FunctionType) -> dict[str, object]:
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(given) :]
    return dict(zip(names, given, strict=True)) | (function.__kwdefaults__ or {})


def _closure(function: types.FunctionType) -> dict[str, object]:
    found = {}
    for name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _numbered(values: Any) -> dict[str, object]:
    return {str(i): v for i, v in enumerate(values)}


def _bound(value: Any, seen: Seen) -> Any:
    """A bound value as JSON values, None where it cannot be described."""
    if isinstance(value, OPAQUE):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, complex | bytes):
        return text_digest(repr(value))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _array(value)
    if isinstance(value, Mapping):
        return {str(k): _bound(v, seen) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(_bound(v, seen)) for v in value)
    if (fields := fields_of(value)) is not None:
        return named(value, {name: _bound(v, seen) for name, v in fields.items()})
    if isinstance(value, tuple | list):
        return [_bound(v, seen) for v in value]
    if callable(value) and not isinstance(value, type):
        return _callable(value, seen)
    try:
        return described(value)
    except TypeError:
        return None


def _array(value: Any) -> str | None:
    if jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    found = np.asarray(value)
    return None if found.dtype.hasobject else array_digest(found)
