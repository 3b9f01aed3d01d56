"""Record of a completion: ranks, singular values, history, and what was held out.

One dataset, of which summary, tables and figures are made; factors have their own file.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import htfjax as htf

from .files import write_frame

FACTORS = "factors.npz"
ATTRIBUTES = (
    "heldout_error", "relative_error", "verdict", "degrees_of_freedom", "observations",
)  # fmt: skip


def record_of(found: htf.Completion) -> xr.Dataset:
    """The record of a result.

    Dimensions are node (all but the root), index (of a singular value), cell (held out),
    mode and stage (of the search).
    """
    tree, data, history = found.tree, found.data, found.history
    spectra = [_resolved(found.factors, tree.modes[k]) for k in range(tree.root)]
    longest = max([*map(len, spectra), *found.ranks.values()])
    padded = np.full((tree.root, longest), np.nan)
    for row, values in zip(padded, spectra, strict=True):
        row[: len(values)] = values
    dataset = xr.Dataset(
        {
            "rank": ("node", list(found.ranks.values())),
            "singular_value": (("node", "index"), padded),
            "dim": ("mode", list(data.mode_dims)),
            "heldout_index": (("cell", "mode"), data.test_indices),
            "heldout_value": ("cell", np.asarray(data.in_units(data.test_targets))),
            "heldout_prediction": ("cell", found.heldout_predictions.astype(float)),
            "stage_rank": (("stage", "node"), [trial.ranks for trial in history]),
            "stage_freedom": ("stage", [t.degrees_of_freedom for t in history]),
            "training_error": ("stage", [float(t.training_error) for t in history]),
            "heldout_error": ("stage", [float(t.heldout_error) for t in history]),
        },
        coords={
            "node": np.arange(tree.root),
            "mode": list(data.mode_names),
            "stage_name": ("stage", [trial.stage for trial in history]),
        },
    )
    low, high = found.interval
    return dataset.assign_attrs(
        {name: getattr(found, name) for name in ATTRIBUTES},
        low=low, high=high, tree=json.dumps(tree.nested), value_name=data.value_name,
    )  # fmt: skip


def _resolved(factors: htf.Factors, modes: tuple[int, ...]) -> np.ndarray:
    """Singular values above rounding, the largest first."""
    values = np.asarray(htf.singular_values(factors, modes))
    rounding = 10 * len(values) * np.finfo(values.dtype).eps * values[0]
    return values[values > rounding].astype(float)


def tree_of(record: xr.Dataset) -> htf.ModeTree:
    """The mode tree."""
    return htf.as_tree(record.attrs["tree"])


def named_modes(record: xr.Dataset, node: int) -> str:
    """The modes of a node by their names."""
    names = record["mode"].values.tolist()
    return ", ".join(str(names[mode]) for mode in tree_of(record).modes[node])


def largest_ranks(record: xr.Dataset) -> list[int]:
    """The rank that dimensions allow every node but the root."""
    tree, dims = tree_of(record), record["dim"].values.astype(float)
    inside = [float(np.prod(dims[list(tree.modes[k])])) for k in range(tree.root)]
    return [int(min(size, np.prod(dims) / size)) for size in inside]


def rank_table(record: xr.Dataset) -> pd.DataFrame:
    """Node, modes, rank, the largest rank there could be, and singular values."""
    values = record["singular_value"].values
    columns = {
        "node": record["node"].values,
        "modes": [named_modes(record, k) for k in record["node"].values],
        "rank": record["rank"].values,
        "largest_rank": largest_ranks(record),
    }
    each = {f"singular_value_{i + 1}": column for i, column in enumerate(values.T)}
    return pd.DataFrame(columns | each)


def history_table(record: xr.Dataset) -> pd.DataFrame:
    """What every stage of the search found best; errors are relative."""
    ranks = [" ".join(map(str, row)) for row in record["stage_rank"].values.tolist()]
    return pd.DataFrame(
        {
            "stage": record["stage_name"].values,
            "ranks": ranks,
            "degrees_of_freedom": record["stage_freedom"].values,
            "training_error": record["training_error"].values,
            "heldout_error": record["heldout_error"].values,
        }
    )


def write_tables(record: xr.Dataset, folder: Path) -> None:
    """Writes `ranks.csv` and `history.csv`."""
    write_frame(rank_table(record), folder / "ranks.csv")
    write_frame(history_table(record), folder / "history.csv")


def named_tree(record: xr.Dataset) -> str:
    """The tree as nested names of modes.

    Example: "((station, hour), day)".
    """
    names = record["mode"].values.tolist()

    def spelled(nested: Any) -> str:
        if isinstance(nested, int):
            return str(names[nested])
        return f"({', '.join(map(spelled, nested))})"

    return spelled(tree_of(record).nested)
