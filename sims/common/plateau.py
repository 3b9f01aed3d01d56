"""Plateau of a small start: the steps that a run which never left it would have taken."""

import math
from collections.abc import Mapping
from typing import Any

import htfjax as htf

from .problem import Problem
from .settings import Config


def plateau_steps(config: Config, problem: Problem, row: Mapping[str, Any]) -> float | None:
    """Predicted step of the first rise, of a run whose every step was on the plateau.

    There a step is `learning_rate` long in flow time, or for GroupRMSprop below its eps
    `learning_rate / eps`; both are exact while gradients are small.

    Args:
      row: of the run's summary.

    Returns:
      None for other runs, and where nothing can be predicted.
    """
    step = _step_length(config, row)
    if row["status"] not in ("capped", "interrupted") or step is None:
        return None
    if htf.theory.degree(problem.start) <= 2:
        return None
    try:
        steps = float(htf.plateau_wait(problem.start, problem.loss)) / step
    except ValueError:  # no force at zero: there is no rise to wait for
        return None
    return steps if math.isfinite(steps) else None


def _step_length(config: Config, row: Mapping[str, Any]) -> float | None:
    """Flow time of a step on the plateau, None if the run left it or it is not constant."""
    if config.schedule != "constant" or config.momentum:
        return None
    if config.optimizer == "sgd":
        risen = any(spectrum["rising"] for spectrum in row["spectra"].values())
        return None if risen else config.learning_rate
    if row["eps_phase_share"] != 1.0 or not config.eps:
        return None
    return config.learning_rate / config.eps
