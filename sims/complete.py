"""What are the missing values of my table?

Expected: a tensor of low rank with a tenth of its cells held out comes back with its ranks
and an error that cells held out have measured; where cells do not suffice, that is said.

Takes 2 min on two cores, 20 s with `--quick`.

So long for the 320 cells of `examples/readings.csv`; tables of more cells or higher ranks
take longer. `--quick` only descends, without a search through ranks.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
import xarray as xr
from rich.console import Console
from rich.table import Table

import htfjax as htf

from .common import parts
from .common.command import command
from .common.display import now_and_then, progress_display, spell_seconds
from .common.errors import FolderError, SettingError
from .common.folder import open_folder, run_label, saved_config, write_json
from .common.settings import check_signs, read_tree
from .figures.completions import figures
from .figures.files import save_figures
from .tables import predictions
from .tables.record import (
    FACTORS,
    largest_ranks,
    named_modes,
    named_tree,
    record_of,
    write_tables,
)
from .tables.source import Source, numbers_of, read_source, said

PART = "completion"
MAY_DIFFER = ("predict",)
WITHIN = 1.3  # an error of so many times the noise is explained by it


@dataclasses.dataclass(frozen=True)
class Config:
    """What are the missing values of my table?

    FILE is a table with a row for each observed cell, a column for each mode and one of
    values (CSV, TSV, either with .gz, or Parquet), or an npz file with one array, NaN where
    it is unknown, or with `indices` (B, N) and `values` (B,), and `dims` (N,) if the
    largest index does not say them. Rows without a value are cells to predict. The same
    command on the same folder predicts again without computing; a search that was stopped
    starts anew.
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """Table or array of what is known."""
    out: Path
    """Folder for results, figures and predictions."""
    value: str | None = None
    """Column with the values; by default the last one of numbers."""
    modes: tuple[str, ...] = ()
    """Columns that are modes, by default all others; names of the modes of an array."""
    array: str | None = None
    """Array of an npz file that has several."""
    predict: Path | None = None
    """Cells to predict: a table of labels (npz: `indices`). Its values, if it has any, are
    compared. By default all that are not observed, up to a million."""

    tree: str = "auto"
    """Nested modes, by number or name, such as "((0, 1), 2)"; or flat, binary, caterpillar,
    interleaved. "auto" compares several."""
    ranks: Literal["auto"] | tuple[int, ...] = "auto"
    """One rank for all nodes, or one for every node but the root, leaves first."""
    method: Literal["auto", "small_start", "als", "descent"] = "auto"
    """How ranks are searched; "descent" descends from small starts alone, which errs by
    some per cent where a search is exact."""
    holdout: float = 0.1
    """Share of the observed cells that chooses ranks and tells the error."""
    noise: float | None = None
    """Standard deviation of the values, where it is known."""
    seed: int = 0
    """Seed of what is held out, and of starts."""
    dtype: Literal["float32", "float64"] = "float64"
    """Precision; exact results need float64."""


# No search: ranks are those at which descents stop to gain.
QUICK: dict[str, Any] = {"method": "descent"}


def run(config: Config) -> dict[str, Any]:
    """Completes the file's tensor into `config.out` and returns the summary.

    Raises:
      SettingError, ValueError, TypeError: a file or options that cannot be; nothing has
        run then.
      FolderError, OSError: a folder that cannot be used.
      KeyboardInterrupt: stopped by a signal.
    """
    check_signs(config)
    with jax.enable_x64(config.dtype == "float64"):
        source = read_source(config)
        cells = predictions.wanted(source, config.file, config.predict)
        opened = open_folder(config.out, config, may_differ=MAY_DIFFER, command="complete")
        with opened as folder:
            record, factors = _completed(config, source, folder)
            summary = summarize(record, source, config)
            bound = record.attrs["high"]
            refuse_own(folder, config.predict, cells.ending)
            summary["predictions"] = predictions.save(folder, source, cells, factors, bound)
            write_tables(record, folder)
            write_json(folder / "summary.json", summary)
            save_figures(figures(record), folder)
    return summary


def redraw(folder: Path) -> dict[str, Any]:
    """Figures by name, of the saved record.

    Raises:
      FolderError: there is none. ValueError: it is damaged.
    """
    label = run_label(PART, saved_config(folder, Config), MAY_DIFFER)
    record = parts.read(parts.place_of(folder, PART), label)
    if record is None:
        raise FolderError(f"{folder} lacks {PART}; the same command computes it.")
    return figures(record)


def refuse_own(folder: Path, predict: Path | None, ending: str) -> None:
    """The file of `--predict` is not the one that is written.

    Raises:
      SettingError: it is.
    """
    path = predictions.file_in(folder, ending)
    if predict is not None and path.exists() and path.samefile(predict):
        raise SettingError(
            f"`--predict {predict}` would be written over by its predictions; give a copy "
            "of it."
        )


# The search


def _completed(config: Config, source: Source, folder: Path) -> tuple[xr.Dataset, Any]:
    """Record and factors, from the disk or computed and saved."""
    label = run_label(PART, config, MAY_DIFFER)
    with progress_display() as display:
        for line in read_lines(source, config.file):
            display.console.print(line, soft_wrap=True, highlight=False)
        saved = _saved(folder, label, display.console)
        if saved is not None:
            line = f"finished before, in {folder}: nothing is searched again"
            display.console.print(line, soft_wrap=True, highlight=False)
        else:
            parts.tell(folder, [PART], "running")
            try:
                _compute(config, source, folder, label, display)
            except KeyboardInterrupt:
                parts.tell(folder, [PART], "interrupted")
                raise KeyboardInterrupt(
                    "a search keeps nothing; the same command starts it anew"
                ) from None
            saved = _saved(folder, label, display.console)
            assert saved is not None
        parts.tell(folder, [PART], "finished")
    return saved


def _saved(folder: Path, label: str, console: Console) -> tuple[xr.Dataset, Any] | None:
    """Record and factors of an earlier run; None if they are missing or damaged.

    Raises:
      FolderError: they are of another run.
    """
    place = parts.place_of(folder, PART)
    if not parts.file_of(place).exists():
        return None
    try:
        record = parts.read(place, label)
        if record is None:
            return None
        if htf.runs.file_digest(folder / FACTORS) != record.attrs["factors"]:
            raise ValueError(f"{folder / FACTORS} is damaged")
        return record, htf.load_factors(folder / FACTORS)
    except FileNotFoundError:
        problem = f"{folder / FACTORS} is missing"
    except ValueError as error:
        if "is damaged" not in str(error):  # of a newer htfjax
            raise
        problem = str(error)
    console.print(f"{problem}; computed anew", soft_wrap=True, highlight=False)
    return None


def _compute(
    config: Config, source: Source, folder: Path, label: str, display: Any
) -> None:
    """Searches, and saves factors first: the record says that they are there."""
    begun = time.monotonic()
    tree = tree_for(config, source.data)
    ranks = config.ranks
    if isinstance(ranks, tuple) and len(ranks) == 1:
        ranks = ranks[0]
    try:
        found = htf.complete(
            source.data, tree=tree, ranks=ranks, method=config.method,
            holdout=config.holdout, noise=config.noise, key=jax.random.key(config.seed),
            progress=listener(display),
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise SettingError(said(str(error), config.file)) from error
    htf.save_factors(folder / FACTORS, found.factors)
    place = parts.place_of(folder, PART)
    place.parent.mkdir(exist_ok=True)
    record = record_of(found).assign_attrs(
        label=label, seconds=time.monotonic() - begun,
        factors=htf.runs.file_digest(folder / FACTORS),
    )  # fmt: skip
    htf.save_results(parts.file_of(place), record)


def tree_for(config: Config, data: Any) -> Any:
    """The tree that is meant; "auto" as it is.

    Raises:
      SettingError: text that does not spell a tree, or names something else.
    """
    if config.tree == "auto":
        return config.tree
    text = numbers_of(data.mode_names, config.tree)
    return read_tree("--tree", text, len(data.mode_names))


def listener(display: Any) -> Callable[[Any], None]:
    """What shows the rounds of a search; where several trees are tried, of each."""
    task = display.add_task("search", total=None, note="small starts (compiling first)")
    say, searches, begun = now_and_then(display), 0, time.monotonic()

    def listen(now: Any) -> None:
        nonlocal searches, begun
        if now.step == 0:
            searches, begun = searches + 1, time.monotonic()
        note = (
            f"search {searches}, round {now.step} of at most {now.until_step}, relative "
            f"error held out {now.loss:.2g}"
        )
        if now.step:
            pace = (time.monotonic() - begun) / now.step
            left = spell_seconds(pace * (now.until_step - now.step))
            note += f", at most about {left} left of it"
        display.update(task, completed=now.step, total=now.until_step, note=note)
        say(note)

    return listen


# Words


def read_lines(source: Source, file: Path) -> list[str]:
    """What was read, in sentences."""
    data, known = source.data, len(source.observed)
    modes = zip(data.mode_names, data.mode_dims, strict=True)
    held, size = len(data.test_indices), source.size
    lines = [
        f"{file.name}: {data.value_name} of {', '.join(f'{n} ({d})' for n, d in modes)}",
        f"{known:,} of {size:,} cells observed ({share(known, size)}), {held:,} of them "
        f"held out",
    ]
    return [*lines, *source.notes]


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent.

    Example: 1 of 8 is "12.5 %".
    """
    return f"{100 * part / whole:.3g} %" if part < whole else "100 %"


def summarize(record: xr.Dataset, source: Source, config: Config) -> dict[str, Any]:
    """Numbers and words of a completion, as JSON values."""
    data, attributes = source.data, record.attrs
    names = ("verdict", "heldout_error", "relative_error", "degrees_of_freedom",
             "observations", "seconds")  # fmt: skip
    tops, ranks = largest_ranks(record), record["rank"].values.tolist()
    return {
        "file": config.file.name,
        "value": data.value_name,
        "modes": dict(zip(data.mode_names, data.mode_dims, strict=True)),
        "cells": source.size,
        "observed": len(source.observed),
        "held_out": len(data.test_indices),
        "rows": source.rows,
        "notes": list(source.notes),
        "tree": named_tree(record),
        "nested": attributes["tree"],
        "nodes": [
            {"node": k, "modes": named_modes(record, k), "rank": ranks[k], "most": tops[k]}
            for k in range(len(ranks))
        ],
        **{name: attributes[name] for name in names},
        "interval": [attributes["low"], attributes["high"]],
        "noise": config.noise,
        "spread": float(np.std(record["heldout_value"].values)),
    }


def _says_nothing(summary: dict[str, Any]) -> bool:
    """Whether errors may be twice as large as the values."""
    error, relative = summary["heldout_error"], summary["relative_error"]
    size = error / relative if relative else 0.0
    return summary["interval"][1] >= 2 * size


def verdict(summary: dict[str, Any]) -> str:
    """The verdict, and what to do about it."""
    found = summary["verdict"]
    if found == "exact":
        return "exact: cells held out are predicted to rounding"
    noise = summary["noise"]
    if found == "approximate" and noise and summary["heldout_error"] < WITHIN * noise:
        return f"{found}: the error on cells held out is that of their noise, {noise:g}"
    if found == "not enough data" and _says_nothing(summary):
        advice = (
            "many tensors of these ranks meet the cells that are known, so that others are "
            "open; observe more cells, above all of levels with few, or give `--ranks`"
        )
    elif found == "not enough data":
        advice = (
            "one rank more at every node would have more degrees of freedom than there are "
            "cells to train on; observe more cells, or leave out levels with few"
        )
    else:
        advice = (
            "no tensor of low rank on this tree fits to rounding; values are noisy "
            "(`--noise` takes their standard deviation), or another `--tree` has lower "
            "ranks"
        )
    if not summary["heldout_error"] < summary["spread"]:
        advice += ". Predictions are no better than the mean of the values"
    return f"{found}: {advice}"


def report(summary: dict[str, Any], config: Config, console: Console) -> None:
    """Ranks, error and verdict, and where everything is."""
    table = Table(box=None, pad_edge=False)
    for heading in ("node", "modes", "rank", "of at most"):
        table.add_column(heading, justify="left" if heading == "modes" else "right")
    for row in summary["nodes"]:
        table.add_row(*(str(row[key]) for key in ("node", "modes", "rank", "most")))
    console.print(table)
    for line in lines(summary, config.out):
        console.print(line, soft_wrap=True, highlight=False)


def lines(summary: dict[str, Any], out: Path) -> list[str]:
    """What came out, in sentences."""
    (low, high), value = summary["interval"], summary["value"]
    top = f"{high:.3g}" if math.isfinite(high) else "anything"
    freedom, count = summary["degrees_of_freedom"], summary["observations"]
    found = [
        f"tree {summary['tree']}",
        f"{freedom:,} degrees of freedom, {count:,} cells ({count / freedom:.1f} for each)",
        f"error of {value} on {summary['held_out']:,} cells held out: "
        f"{summary['heldout_error']:.3g} (95 % interval {low:.3g} to {top}), relative "
        f"{100 * summary['relative_error']:.3g} %; their standard deviation is "
        f"{summary['spread']:.3g}",
        verdict(summary),
    ]
    told = summary["predictions"]
    if told["file"]:
        found.append(f"{told['file']}: {told['cells']:,} cells, {told['which']}")
    else:
        found.append("no cell to predict: `--predict` names some")
    if "error_of_given" in told:
        found.append(
            f"their error, of those that have a value there ({told['given']:,}): "
            f"{told['error_of_given']:.3g}"
        )
    where = f"figures, tables, {FACTORS} and summary.json are in {out}"
    return [*found, where]


def main() -> int:
    """The command line."""
    return command("complete", Config, run, report, quick=QUICK)


if __name__ == "__main__":
    sys.exit(main())
