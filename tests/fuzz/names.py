"""Names: all that is public, the calls that reach each, and those without a call."""

import inspect
import re
from types import ModuleType
from typing import Any

import htfjax as htf
import htfjax.locality  # not imported by the package
from tests.fuzz import (
    kinds_containers,
    kinds_files,
    kinds_locality,
    kinds_plot,
    kinds_problems,
    kinds_runs,
)
from tests.fuzz.kinds_completion import COMPLETION_CALLS
from tests.fuzz.kinds_contraction import CONTRACTION_CALLS
from tests.fuzz.kinds_data import DATA_CALLS
from tests.fuzz.kinds_exchange import EXCHANGE_CALLS
from tests.fuzz.kinds_factors import FACTOR_CALLS, TREE_CALLS
from tests.fuzz.kinds_formats import FORMAT_CALLS
from tests.fuzz.kinds_instruments import INSTRUMENT_CALLS
from tests.fuzz.kinds_losses import LOSS_CALLS
from tests.fuzz.kinds_motion import DESCENT_CALLS
from tests.fuzz.kinds_theory import THEORY_CALLS

__all__ = ["CALLS", "CORE_CALLS", "NOT_CALLED", "PUBLIC", "calls_of", "public_name"]

MODULES = (
    "theory",
    "locality",
    "problems",
    "runs",
    "losses",
    "formats",
    "exchange",
    "plot",
)


def _listed(module: ModuleType) -> list[str]:
    """Functions and classes that a module offers, in order."""
    names = getattr(module, "__all__", vars(module))
    found = {name: getattr(module, name) for name in names if not name.startswith("_")}
    return [n for n, value in found.items() if inspect.isroutine(value) or callable(value)]


def _public() -> list[str]:

    inside = {name: getattr(htf, name) for name in MODULES}
    return [
        *(name for name in htf.__all__ if name not in MODULES),
        *(f"{name}.{n}" for name, module in inside.items() for n in _listed(module)),
    ]


PUBLIC = _public()

CORE_CALLS: dict[str, Any] = (
    TREE_CALLS
    | FACTOR_CALLS
    | CONTRACTION_CALLS
    | LOSS_CALLS
    | COMPLETION_CALLS
    | DATA_CALLS
    | INSTRUMENT_CALLS
    | FORMAT_CALLS
    | EXCHANGE_CALLS
    | DESCENT_CALLS
    | THEORY_CALLS
)
CALLS: dict[str, Any] = (
    CORE_CALLS
    | {f"locality.{name}": call for name, call in kinds_locality.CALLS.items()}
    | kinds_containers.CALLS
    | kinds_containers.LOCALITY_CALLS
    | kinds_files.CALLS
    | kinds_plot.CALLS
    | kinds_problems.CALLS
    | kinds_runs.CALLS
)

# Pure results: no function takes them back, so that there is no door to knock at.
NOT_CALLED: dict[str, str] = kinds_containers.RESULTS


def public_name(call: str) -> str:
    """The public name that a call is of.

    Example:
      >>> public_name("ModeTree.from_nested"), public_name("locality.fit_loss of classes")
      ('ModeTree', 'locality.fit_loss')
    """
    parts = re.split(r" ", call)[0].split(".")
    return ".".join(parts[:2]) if parts[0] in MODULES else parts[0]


def calls_of(name: str) -> dict[str, Any]:
    """The calls of a public name."""
    return {call: CALLS[call] for call in CALLS if public_name(call) == name}
