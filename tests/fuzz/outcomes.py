"""Outcomes of calls with one argument changed: what a user would see.

A wrong value should be "named": refused by an error of the declared kind, raised inside
htfjax, that names the parameter in backticks. Any other error is "raw", a return is
"silent", and more than `SECONDS` beside compiling is a "hang". An equal form of a value
should be "equal" to the call with the value itself; otherwise it "differs".
"""

import dataclasses
import os
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import htfjax

__all__ = ["SECONDS", "Outcome", "as_table", "ask_equal", "ask_right", "ask_wrong", "same"]

SECONDS = 20.0
PACKAGE = str(Path(htfjax.__file__).parent) + os.sep
# A compiler that takes longer hangs too.
MOST_SECONDS = 300.0
LOOK = 0.25


class Outcome(NamedTuple):
    """What one call came to.

    Example row: ("entries", "indices", "floats", "silent", "returned [1.0, 2.0]").
    """

    name: str
    parameter: str
    label: str
    kind: str
    text: str


class Hang(Exception):
    """The call has not returned."""


def ask_wrong(
    name: str, call: Any, parameter: str, wrong: Any, seconds: float = SECONDS
) -> Outcome:
    """How a wrong value is answered."""
    value = wrong.make(call.arguments().get(parameter))
    row = (name, parameter, wrong.label)
    try:
        found = _watched(lambda: call(**{parameter: value}), seconds)
    except Hang as hang:
        return Outcome(*row, "hang", str(hang))
    except Exception as error:
        kind = "named" if _is_named(error, parameter, wrong, value) else "raw"
        return Outcome(*row, kind, _describe(error))
    return Outcome(*row, "silent", f"returned {_spell(found)}")


def ask_equal(
    name: str, call: Any, parameter: str, form: Any, wanted: Any, seconds: float = SECONDS
) -> Outcome:
    """Whether an equal form of the right value has the same result."""
    row = (name, parameter, f"as {form.label}")
    value = form.make(call.arguments()[parameter])
    try:
        found = _watched(lambda: call(**{parameter: value}), seconds)
    except Hang as hang:
        return Outcome(*row, "hang", str(hang))
    except Exception as error:
        return Outcome(*row, "differs", _describe(error))
    problem = same(found, wanted, form.exact)
    return Outcome(*row, "differs" if problem else "equal", problem)


def ask_right(
    name: str, call: Any, parameter: str, form: Any, seconds: float = SECONDS
) -> Outcome:
    """Whether another right value is accepted."""
    row = (name, parameter, form.label)
    value = form.make(call.arguments()[parameter])
    try:
        _watched(lambda: call(**{parameter: value}), seconds)
    except Hang as hang:
        return Outcome(*row, "hang", str(hang))
    except Exception as error:
        return Outcome(*row, "differs", _describe(error))
    return Outcome(*row, "equal", "")


def as_table(outcomes: list[Outcome]) -> str:
    """Rows that can be read, for the message of a failing test."""
    rows = [
        (o.kind, o.name, o.parameter, o.label, " ".join(o.text.split())[:160])
        for o in sorted(outcomes, key=lambda o: (o.kind, o.name))
    ]
    wide = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:4]]
    lines = [
        "  ".join([*(x.ljust(w) for x, w in zip(row, wide, strict=False)), row[4]])
        for row in rows
    ]
    return "\n" + "\n".join(lines) if rows else ""


def _is_named(error: Exception, parameter: str, wrong: Any, value: Any) -> bool:
    if not isinstance(error, wrong.kinds) or not _is_ours(error.__traceback__):
        return False
    message = str(error)
    if any(f"`{name}" in message for name in (parameter, *wrong.says)):
        return True
    # A file is named by its path, a key that is not there by itself.
    if isinstance(value, str | os.PathLike) and os.sep in os.fspath(value):
        return os.fspath(value) in message
    return isinstance(error, KeyError) and repr(value) in message


def _is_ours(traceback: types.TracebackType | None) -> bool:
    """Whether the innermost frame lies in the package."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    found = traceback is not None and traceback.tb_frame.f_code.co_filename
    return bool(found) and str(Path(found).absolute()).startswith(PACKAGE)


def _describe(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # the message shows an object whose repr fails
        return f"{type(error).__name__}, whose message fails"


def _spell(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__name__}"


# Time


def _watched(function: Callable[[], Any], seconds: float) -> Any:
    """The result of a function, in a thread that is left behind where it hangs."""
    answer: dict[str, Any] = {}

    def work() -> None:
        try:
            answer["result"] = function()
        except BaseException as error:
            answer["error"] = error

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning is no refusal
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        _wait(thread, seconds)
    if "error" in answer:
        raise answer["error"]
    return answer["result"]


def _wait(thread: threading.Thread, seconds: float) -> None:
    """Waits for a thread; the time that the compiler takes does not count."""
    begun, compiling = time.monotonic(), 0.0
    thread.join(min(LOOK, seconds))
    while thread.is_alive():
        spent = time.monotonic() - begun
        if spent - compiling > seconds or spent > MOST_SECONDS:
            raise Hang(f"no answer after {spent:.0f} s, {compiling:.0f} s of it compiling")
        busy = _compiles(thread)
        before = time.monotonic()
        thread.join(min(LOOK, seconds))
        compiling += (time.monotonic() - before) * busy


def _compiles(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        if frame.f_code.co_filename.endswith(os.path.join("jax", "_src", "compiler.py")):
            return True
        frame = frame.f_back
    return False


# Equality


def same(found: Any, wanted: Any, exact: bool) -> str:
    """How two results differ: "" where they are equal, bit for bit if `exact`.

    Otherwise numbers may differ by 1e-6 of the largest of their array.
    """
    ours, theirs = list(_parts(found)), list(_parts(wanted))
    if len(ours) != len(theirs):
        return f"{len(ours)} parts, not {len(theirs)}"
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        problem = _differs(a, b, exact)
        if problem:
            return f"part {i}: {problem}"
    return ""


def _parts(value: Any) -> Iterator[Any]:
    """Everything in a result: leaves of trees, fields of dataclasses, static ones too."""
    for leaf in jax.tree_util.tree_leaves(value, is_leaf=_is_record):
        if _is_record(leaf):
            for field in dataclasses.fields(leaf):
                yield from _parts(getattr(leaf, field.name))
        else:
            yield leaf


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _differs(a: Any, b: Any, exact: bool) -> str:
    if hasattr(b, "identical"):  # xarray's
        return "" if b.identical(a) else f"{a} is not {b}"
    if callable(b):
        return "" if callable(a) else f"{_spell(a)} cannot be called"
    x, y = _numbers(a), _numbers(b)
    if x is None or y is None:
        plain = [v.tolist() if isinstance(v, np.ndarray) else v for v in (a, b)]
        equal = isinstance(plain[0], type(plain[1])) and plain[0] == plain[1]
        return "" if equal else f"{_spell(a)} is not {_spell(b)}"
    if x.shape != y.shape:
        return f"shape {x.shape}, not {y.shape}"
    if exact:
        equal = x.dtype == y.dtype and np.array_equal(x, y, equal_nan=y.dtype.kind in "fc")
        return "" if equal else f"{x.dtype} {x.ravel()[:4]}, not {y.dtype} {y.ravel()[:4]}"
    x, y = np.asarray(x, complex), np.asarray(y, complex)
    largest = np.max(np.abs(y), initial=0.0, where=np.isfinite(y))
    if not np.allclose(x, y, rtol=1e-6, atol=1e-6 * largest, equal_nan=True):
        return f"{x.ravel()[:4]}, not {y.ravel()[:4]}"
    return ""


def _numbers(value: Any) -> np.ndarray | None:
    """Arrays and numbers as NumPy, keys by their data; None for anything else."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if dtype is None and not isinstance(value, bool | int | float | complex):
        return None
    found = np.asarray(value)
    if found.dtype.kind not in "biufc":
        return found.astype(np.float64) if found.dtype.kind == "V" else None
    return found
