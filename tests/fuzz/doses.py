"""Doses: which calls are tried, few of each name in `make test`, all in the long one."""

import dataclasses
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tests.fuzz.foreign import FOREIGN
from tests.fuzz.names import CALLS, PUBLIC, calls_of
from tests.fuzz.outcomes import Outcome, ask_equal, ask_right, ask_wrong

__all__ = ["Trial", "all_trials", "quick_trials", "try_all", "try_traced"]

SEED = 2201


class Trial(NamedTuple):
    """One call to make: the name of the call, the parameter, and its other value."""

    call: str
    parameter: str
    role: str  # "wrong", "equal" or "right"
    value: Any  # a Wrong or a Form


def all_trials(name: str) -> list[Trial]:
    """Every trial of a public name; objects of other libraries besides."""
    return [trial for call in calls_of(name) for trial in _of_call(call)]


def _of_call(call: str) -> Iterator[Trial]:
    given = CALLS[call].arguments()
    for parameter, kind in CALLS[call].kinds.items():
        for wrong in _wrong_values(kind):
            yield Trial(call, parameter, "wrong", wrong)
        if given.get(parameter) is not None:
            for form in kind.equal:
                yield Trial(call, parameter, "equal", form)
            for form in getattr(kind, "right", ()):
                yield Trial(call, parameter, "right", form)


def _wrong_values(kind: Any) -> list[Any]:
    """Those of a kind, and foreign objects where it refuses unknown ones."""
    unknown = [w for w in kind.wrong if w.label == "object"]
    known = {w.label for w in kind.wrong}
    foreign = [
        dataclasses.replace(refused, label=w.label, make=w.make)
        for refused in unknown
        for w in FOREIGN
        if w.label not in known
    ]
    return [*kind.wrong, *foreign]


def quick_trials(count: int) -> list[Trial]:
    """A few wrong values of every name, chosen by a fixed seed, that fail at once."""
    chooser = random.Random(SEED)
    left = {name: _quick(name) for name in PUBLIC}
    for trials in left.values():
        chooser.shuffle(trials)
    found: list[Trial] = []
    while len(found) < count:
        names = [name for name, trials in left.items() if trials]
        chooser.shuffle(names)
        found += [left[name].pop() for name in names]
    return found[:count]


def _quick(name: str) -> list[Trial]:
    """Wrong values of calls that take milliseconds."""
    quick = [call for call, made in calls_of(name).items() if not made.slow]
    return [t for call in quick for t in _of_call(call) if t.role == "wrong"]


def try_all(trials: list[Trial]) -> list[Outcome]:
    """The outcome of every trial."""
    wanted: dict[str, Any] = {}
    found = []
    for call, parameter, role, value in trials:
        made = CALLS[call]
        if role == "wrong":
            found.append(ask_wrong(call, made, parameter, value))
        elif role == "right":
            found.append(ask_right(call, made, parameter, value))
        else:
            if call not in wanted:
                wanted[call] = made()
            found.append(ask_equal(call, made, parameter, value, wanted[call]))
    return found


# Under jit

# Wrong in shape or dtype, which can be seen while tracing.
STATIC = re.compile(
    "complex|extra_axis|longer|no_axis|floats|bools|columns|vector|three_axes|two_axes|"
    "ints|float32|number|column|matrix|no_channels|short|one"
)


def try_traced(call: str) -> list[Outcome]:
    """Outcomes of wrong arrays that are traced, where the right ones may be."""
    made, given = CALLS[call], CALLS[call].arguments()
    found = []
    for parameter, kind in made.kinds.items():
        if parameter in given and _is_traceable(made, parameter, given[parameter]):
            trials = [_traced(w) for w in kind.wrong if STATIC.fullmatch(w.label)]
            for wrong in trials:
                if _is_arrays(wrong.make(given[parameter])):
                    traced = dataclasses.replace(
                        made, function=_as_traced(made, parameter), read=_itself
                    )
                    found.append(ask_wrong(f"{call} traced", traced, parameter, wrong))
    return found


def _itself(result: Any) -> Any:
    return result


def _traced(wrong: Any) -> Any:
    return dataclasses.replace(wrong, make=lambda v: _as_jax(wrong.make(v)))


def _as_jax(value: Any) -> Any:
    try:
        return jax.tree.map(jnp.asarray, value)
    except Exception:
        return None


def _is_arrays(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(x, jax.Array) for x in leaves)


def _as_traced(made: Any, parameter: str) -> Callable[..., Any]:
    """The function, whose parameter is traced; nothing is compiled."""

    def function(**arguments: Any) -> Any:
        value = arguments.pop(parameter)

        def of_value(traced: Any) -> Any:
            made.function(**arguments, **{parameter: traced})

        return jax.eval_shape(of_value, value)

    return function


def _is_traceable(made: Any, parameter: str, value: Any) -> bool:
    """Whether the right value may be traced."""
    value = _as_jax(value)
    if not _is_arrays(value):
        return False
    try:
        _as_traced(made, parameter)(**made.arguments() | {parameter: value})
    except Exception:
        return False
    return True
