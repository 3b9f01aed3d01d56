"""Status words: of a run, and of the session that works on a folder.

A run is `pending` until its first chunk and `running` until it ends: `converged` or
`diverged` by the stopping rule, `capped` at the step that was asked for; `failed` is one
that `build` did not make. A session is
`running` until it is `finished` or was `interrupted`, saved in both cases.
"""

import numpy as np

from htfjax.motion.stopping import CAUSES

RUN = ("pending", "running", "capped", "converged", "diverged", "failed")


def run_status(cause: int, end: int, until_step: int) -> int:
    """Place in `RUN` of a run that has begun.

    Args:
      cause: index into `CAUSES`.
      end: steps on disk.

    Example:
      >>> [RUN[run_status(0, end, 10)] for end in (5, 10)], RUN[run_status(2, 5, 10)]
      (['running', 'capped'], 'diverged')
    """
    word = "capped" if not cause and end >= until_step else CAUSES[cause]
    return RUN.index(word)


def ended(causes: np.ndarray, ends: np.ndarray, until_step: int) -> np.ndarray:
    """Runs that have nothing left to do, as booleans."""
    return (np.asarray(causes) > 0) | (np.asarray(ends) >= until_step)
