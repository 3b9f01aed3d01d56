"""Calls of the numeric snapshot, by name: on every case, or alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import htfjax as htf
from tests import helpers
from tests.guards.cases import Case, Given


@dataclasses.dataclass(frozen=True)
class Call:
    """A public function with arguments.

    Attributes:
      covers: public names, such as "entries", "theory.degree" or "locality.convolve".
      compute: inputs of a case (or, for a call that stands alone, a dtype) to the result.
      traced: computed under `jax.jit`; a result with Python numbers in it cannot be.
      gradient: with respect to the factors, of the contracted result.
      grouped: whether grouped factors are accepted.
      where: the trees that it makes sense on.
      single: tolerance in single precision; double precision has none to choose.
    """

    name: str
    covers: tuple[str, ...]
    compute: Callable[[Any], Any]
    alone: bool
    traced: bool
    gradient: bool
    grouped: bool
    slow: bool
    where: Callable[[htf.ModeTree], bool]
    double: float
    single: float

    def takes(self, case: Case) -> bool:
        """Whether the call can be made on a case."""
        tree = htf.ModeTree.from_nested(helpers.TREES[case.tree])
        return (self.grouped or case.form == "plain") and self.where(tree)


CALLS: dict[str, Call] = {}


def call(
    name: str,
    *covers: str,
    traced: bool = True,
    gradient: bool = True,
    grouped: bool = True,
    slow: bool = False,
    where: Callable[[htf.ModeTree], bool] = lambda tree: True,
    double: float = 1e-12,
    single: float = 1e-6,
) -> Callable[[Callable[[Given], Any]], Callable[[Given], Any]]:
    """Registers a call that is made on every case; it covers its own name at least."""

    def register(compute: Callable[[Given], Any]) -> Callable[[Given], Any]:
        _add(
            Call(
                name,
                _covered(name, covers),
                compute,
                False,
                traced,
                gradient and traced,
                grouped,
                slow,
                where,
                double,
                single,
            )
        )
        return compute

    return register


def alone(
    name: str, *covers: str, slow: bool = False, double: float = 1e-12, single: float = 1e-6
) -> Callable[[Callable[[str], Any]], Callable[[str], Any]]:
    """Registers a call that has nothing to do with the case trees."""

    def register(compute: Callable[[str], Any]) -> Callable[[str], Any]:
        _add(
            Call(
                name,
                _covered(name, covers),
                compute,
                True,
                False,
                False,
                False,
                slow,
                lambda tree: True,
                double,
                single,
            )
        )
        return compute

    return register


def _covered(name: str, covers: tuple[str, ...]) -> tuple[str, ...]:
    return (name.partition("(")[0], *covers)


def _add(added: Call) -> None:
    assert added.name not in CALLS, added.name
    CALLS[added.name] = added
