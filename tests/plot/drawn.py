"""Small records to draw, with known values."""

from typing import Any

import numpy as np
import xarray as xr

import htfjax as htf

STEPS = np.array([0, 10, 20, 30])
# Of three components: the second ends largest, the first smallest.
NORMS = np.array([[0.1, 0.1, 0.1], [0.1, 1.0, 0.2], [0.2, 2.0, 1.0], [0.3, 3.0, 2.0]])


def trajectory(observed: Any, **changes: Any) -> htf.Trajectory:
    """A descent of four records with chords 1, 2, 3 and durations 0.5 each."""
    fields: dict[str, Any] = {
        "steps": STEPS,
        "losses": np.array([8.0, 4.0, 2.0, 1.0]),
        "observed": observed,
        "grad_norms": np.ones(4),
        "step_lengths": np.ones(4),
        "chords": np.array([1.0, 2.0, 3.0, 0.0]),
        "durations": np.array([0.5, 0.5, 0.5, 0.0]),
        "report": None,
    }
    return htf.Trajectory(**(fields | changes))


def run() -> xr.Dataset:
    """One run, as `load_results` gives it: two nodes, the second of them narrower."""
    norms = np.stack([NORMS, np.where([True, True, False], 2 * NORMS, np.nan)], axis=1)
    return xr.Dataset(
        {
            "local_component_norm": (("seed", "step", "node", "component"), norms[None]),
            "singular_value": (
                ("seed", "step", "modes", "index"),
                np.stack([NORMS[:, ::-1], 5 * NORMS], axis=1)[None],
            ),
            "loss": (("seed", "step"), np.array([[8.0, 4.0, 2.0, 1.0]])),
            "chord": (("seed", "step"), np.array([[1.0, 2.0, 3.0, 0.0]])),
            "duration": (("seed", "step"), np.array([[0.5, 0.5, 0.5, 0.0]])),
        },
        coords={
            "seed": [0], "step": STEPS, "node": ["0,1", "0,1,2"],
            "node_id": ("node", [3, 4]), "component": [0, 1, 2], "modes": ["0", "0,2"],
            "index": [1, 2, 3],
        },
    )  # fmt: skip


def seeds() -> xr.Dataset:
    """Three runs and one that has not begun; the first one stopped at step 10.

    Losses at step 30, or where a run stopped: 4, 6, 8.
    """
    nan = np.nan
    losses = [[5.0, 4.0, nan, nan], [9.0, 8.0, 7.0, 6.0], [9.0, 9.0, 9.0, 8.0], [nan] * 4]
    count = [[5, 4, 0, 0], [9, 8, 7, 6], [9, 9, 9, 8], [0] * 4]
    return xr.Dataset(
        {"loss": (("seed", "step"), losses), "count": (("seed", "step"), np.array(count))},
        coords={"seed": range(4), "step": STEPS, "steps": ("seed", [10, 30, 30, 0])},
    )


def grid() -> xr.Dataset:
    """Two ranks, three ratios and three seeds; final errors are 0.1 rank + ratio + seed.

    All runs of rank 1 converged, one of three of rank 2; one run stopped early.
    """
    rank, ratio, seed = np.meshgrid([1, 2], [0.5, 1.0, 2.0], [0, 1, 2], indexing="ij")
    last = 0.1 * rank + ratio + seed
    error = np.stack([last + 1, last], axis=-1)
    error[0, 0, 0] = [last[0, 0, 0], np.nan]
    status = np.where((rank == 1) | (seed == 0), "converged", "capped")
    axes = ("target_rank", "ratio", "seed")
    return xr.Dataset(
        {"relative_error": ((*axes, "step"), error)},
        coords={
            "target_rank": [1, 2], "ratio": [0.5, 1.0, 2.0], "seed": [0, 1, 2],
            "step": [0, 10], "status": (axes, status),
        },
    )  # fmt: skip
