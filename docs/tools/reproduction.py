"""Runs behind the pages of `docs/reproduction`: their records and figures.

Each study runs into `runs/reproduction/NAME` (the same call resumes it); then its numbers,
its duration, the versions and a digest of its results go into
`docs/reproduction/records/NAME.json`, which pages read, and its figures into
`docs/figures`.
"""

import argparse
import functools
import hashlib
import json
import math
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

from docs.tools import legibility
from sims import incremental_rank
from sims.common.command import command_of
from sims.common.folder import versions
from sims.figures import dynamics
from sims.figures.files import fit_page
from sims.reports.folders import Folder, read_folder

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "reproduction"
RECORDS = ROOT / "docs" / "reproduction" / "records"
FIGURES = ROOT / "docs" / "figures"
DIGITS = 4  # of numbers in records

Summary = dict[str, Any]


class Study(NamedTuple):
    """One command, which of its figures are shown, and what pages say of its results."""

    command: str
    figures: dict[str, str]  # name in docs/figures: file in the folder
    numbers: Callable[[Summary], dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs studies and writes their records; the exit code of the first that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.tools.reproduction",
        description="Runs the studies that docs/reproduction shows, and writes their "
        f"records and figures. All of them: {', '.join(STUDIES)}.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of studies, or all")
    chosen = parser.parse_args(arguments).names or list(STUDIES)
    if unknown := set(chosen) - set(STUDIES):
        parser.error(f"no study {', '.join(sorted(unknown))}; there are {list(STUDIES)}")
    for name in chosen:
        if code := run(name):
            return code
        write(name)
    return 0


def run(name: str) -> int:
    """Runs or resumes a study; the origin of its results stands beside its folder."""
    folder, known = RUNS / name, _origin(name)
    RUNS.mkdir(parents=True, exist_ok=True)
    _keep_origin(name, known)  # a session that is killed is the first all the same
    began = time.monotonic()
    words = shlex.split(STUDIES[name].command)[1:]
    asked = [sys.executable, "-m", "sims", *words, "--out", str(folder)]
    try:
        return subprocess.run(asked, cwd=ROOT, check=False).returncode
    finally:
        known["seconds"] += time.monotonic() - began
        _keep_origin(name, known)


def _keep_origin(name: str, origin: dict[str, Any]) -> None:
    (RUNS / f"{name}.json").write_text(json.dumps(origin), encoding="utf-8")


def _origin(name: str) -> dict[str, Any]:
    """Seconds of all sessions of a study, versions and commit of the first of them."""
    file = RUNS / f"{name}.json"
    if file.exists() and (RUNS / name).exists():
        return json.loads(file.read_text("utf-8"))
    return {"seconds": 0.0, "versions": versions(), "commit": _commit()}


def write(name: str) -> None:
    """The record and the figures of a study that is done."""
    study, folder = STUDIES[name], read_folder(RUNS / name, name)
    for figure, found in illegible(RUNS / name).items():
        raise ValueError(f"{name}, {figure} cannot be read: {'; '.join(found)}")
    origin = _origin(name)
    record = {
        "command": f"{study.command} --out DIR",
        **origin,
        "seconds": round(origin["seconds"]),
        "digest": digest(folder),
        "numbers": rounded(study.numbers(folder.summary)),
    }
    RECORDS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (RECORDS / f"{name}.json").write_text(text, encoding="utf-8")
    for figure, file in study.figures.items():
        shutil.copyfile(RUNS / name / file, FIGURES / f"{figure}.png")


def illegible(folder: Path) -> dict[str, list[str]]:
    """What cannot be read of the figures of a folder, by name; drawn again for it."""
    command = command_of(folder)
    if command is incremental_rank:
        runs = incremental_rank.load_runs(folder)
        figures = dynamics.standard(runs, dynamics.View(marks=True))
    else:
        figures = command.redraw(folder) if hasattr(command, "redraw") else {}
    found = {}
    for name, figure in figures.items():
        fit_page(figure)
        found[name] = legibility.faults(figure)
        plt.close(figure)
    return {name: faults for name, faults in found.items() if faults}


def _commit() -> str:
    """Commit of the checkout, marked where the code that runs differs from it."""
    changed = _git("status", "--porcelain", "--", "htfjax", "sims")
    return _git("rev-parse", "--short=9", "HEAD") + ("-dirty" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def digest(folder: Folder) -> str:
    """SHA-256 of all that was recorded: names, shapes and numbers of every part."""
    found = hashlib.sha256()
    for part in folder.parts:
        found.update(part.name.encode())
        for name, values in _recorded(part.dataset):
            found.update(f"{name} {values.shape}".encode())
            found.update(np.ascontiguousarray(values, "<f8").tobytes())
    if not folder.parts:  # of a command that keeps a summary alone
        found.update(json.dumps(STUDIES[folder.name].numbers(folder.summary)).encode())
    return found.hexdigest()


def _recorded(dataset: xr.Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """Numbers that do not depend on how fast the machine was."""
    for name in sorted(map(str, dataset.data_vars)):
        values = dataset[name]
        if values.dtype.kind in "fiub" and "seconds" not in name:
            yield name, values.values


def rounded(value: Any) -> Any:
    """Numbers with a few digits, NaN as None, in tables and lists of them."""
    if isinstance(value, dict):
        return {str(k): rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [rounded(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


@functools.cache
def record(name: str) -> dict[str, Any]:
    """The record of a study, as pages read it."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def provenance(name: str) -> str:
    """The command of a study, its duration, versions and digest in one line."""
    known = record(name)
    software = known["versions"]
    return (
        f"`{known['command']}` took {duration(known['seconds'])} on two cores with jax "
        f"{software['jax']}, htfjax {software['htfjax']} at {known['commit']}; SHA-256 of "
        f"its results {known['digest'][:12]}"
    )


def duration(seconds: float) -> str:
    """Seconds, or minutes where there are two."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _dynamics(summary: Summary) -> dict[str, Any]:
    """Take-offs of singular values, what the paper plots, and errors, for each model."""

    def panel(name: str, modes: str, final: Sequence[float]) -> dict[str, Any]:
        found, spectra = summary[name], summary[name]["spectra"]
        return {
            "take_offs": [round(x) for x in spectra[modes]["take_off_steps"] if x],
            "final": [x for x in final if x > 1e-2 * final[0]],
            "test_mse": found["final"]["test_mse"],
            "ranks": {
                modes: (row["rank_within_tolerance"], row["target_rank_within_tolerance"])
                for modes, row in spectra.items()
            },
            "eps_phase_share": found["eps_phase_share"],
        }

    def root(name: str) -> list[float]:
        return list(summary[name]["local_components"].values())[-1]["norm"]

    return {
        "mf": panel("mf", "0", summary["mf"]["spectra"]["0"]["final_values"]),
        "tf": panel("tf", "0", root("tf")),
        "htf": panel("htf", "0,1", root("htf")),
    }


def _ensembles(summary: Summary) -> dict[str, Any]:
    """Incrementality and convergence over starts, for each model."""
    rows: dict[str, Any] = {}
    for row in summary["rows"]:
        found = row["incrementality"] or {}  # None: no run had two rises
        rows.setdefault(row["model"], {})[f"{row['init_scale']:g}"] = {
            **{k: found.get(k) for k in ("median", "low", "high", "runs", "dropped")},
            "converged": row["runs"].get("converged", 0),
            "final_rank": row["final_rank"],
        }
    coarse = sum(row["coarse_rises"] for row in summary["rows"])
    return {"models": rows, "coarse_rises": coarse}


def _flow(summary: Summary) -> dict[str, Any]:
    names = ("evaluations", "worst_loss_error", "worst_path_error")
    return {run: {k: row[k] for k in names} for run, row in summary["runs"].items()}


def _trees(summary: Summary) -> dict[str, Any]:
    """Least and largest relative error on each kind of tree."""
    errors: dict[str, list[float]] = {}
    for name, row in summary.items():
        errors.setdefault(name.partition(", ")[2], []).append(row["relative_error"])
    return {kind: (min(found), max(found)) for kind, found in errors.items()}


def _components(summary: Summary) -> dict[str, Any]:
    """Largest errors of the laws over trees, from balanced and from Gaussian starts."""
    starts = {start: [row for name, row in summary.items() if name.endswith(start)]
              for start in ("balanced", "gaussian")}  # fmt: skip
    laws = ("exact_law_error", "balanced_law_error", "outside_bounds", "descent_error")
    return {start: {law: max(row[law] for row in rows) for law in laws}
            for start, rows in starts.items()}  # fmt: skip


def _starts(summary: Summary) -> dict[str, Any]:
    return {name: row["first_width_over_wait"] for name, row in summary.items()}


def _networks(summary: Summary) -> dict[str, Any]:
    """Accuracies in per cent, and gains over coefficient 0 with their intervals."""
    axis = summary["axis"]
    names = ("train_accuracy", "test_accuracy", "change")
    rows: dict[str, Any] = {}
    for row in summary["rows"]:
        means = {name: row[name]["mean"] for name in names}
        for name in names[:2]:
            means[name] = 100 * means[name]
        rows.setdefault(str(row[axis]), {})[row["arm"]] = means
    for gap in summary["gaps"]:
        found = rows[str(gap[axis])][gap["arm"]]
        found["gain"] = 100 * gap["gap"]
        found["interval"] = [100 * x for x in gap["interval"] or ()]
    found = {"rows": rows, "seeds": len(summary["rows"][0]["test_accuracy"]["values"])}
    for name in ("marker_distance_baseline", "marker_position_baseline"):
        found |= {name: summary[name]} if name in summary else {}
    return found


def _completion(summary: Summary) -> dict[str, Any]:
    """Cells, ranks of single modes, and the error on cells held out."""
    names = ("cells", "observed", "held_out", "heldout_error", "interval")
    leaves = [n["rank"] for n in summary["nodes"] if n["modes"] in summary["modes"]]
    return {name: summary[name] for name in names} | {"ranks": leaves}


def _laws(summary: Summary) -> dict[str, Any]:
    laws = summary["laws"]
    return {"laws": len({law["law"] for law in laws}), "checks": len(laws),
            "passed": sum(law["passed"] for law in laws)}  # fmt: skip


STUDIES = {
    "dynamics": Study(
        "htfjax incremental-rank",
        {"dynamics": "dynamics.png",
         "components_and_spectra": "htf_components_and_spectra.png"},
        _dynamics,
    ),
    "dynamics_of_another_seed": Study("htfjax incremental-rank --seed 1", {}, _dynamics),
    "verify": Study("htfjax verify", {}, _laws),
    "flow_against_descent": Study(
        "htfjax flow-against-descent",
        {"flow_against_descent": "flow_against_descent.png"},
        _flow,
    ),
    "component_dynamics": Study(
        "htfjax component-dynamics",
        {"component_dynamics": "component_dynamics.png"},
        _components,
    ),
    "init_scale": Study("htfjax init-scale", {"init_scale": "sharpening.png"}, _starts),
    "mode_tree_shape": Study(
        "htfjax mode-tree-shape", {"mode_tree_shape": "mode_tree_shape.png"}, _trees
    ),
    "ensembles": Study(
        "htfjax rank-statistics --num-seeds 24 --init-scales 0.5 1 3 10",
        {"ensemble_bands": "bands.png"},
        _ensembles,
    ),
    "readings": Study(
        "htfjax complete examples/readings.csv", {"completion": "completion.png"},
        _completion,
    ),
    "is_same_class": Study(
        "htfjax is-same-class",
        {"is_same_class": "distance.png", "samples_same_class": "samples.png"},
        _networks,
    ),
    "pathfinder": Study(
        "htfjax pathfinder --controls two_passes dropout=0.2 weight_decay=1e-3 "
        "gradient_norm=10",
        {"pathfinder": "path_length.png"},
        _networks,
    ),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
