"""What if the model's tree is not the target's?

Expected: on the target's own tree few singular values rise, on and off the tree as many
as the target has; on a mismatching tree the same target needs high rank, is learned
later and completes worse from the same entries.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console

import htfjax as htf

from .common.command import command
from .common.folder import open_folder, write_json
from .common.theory import STYLES, check_given, completion
from .figures.files import save_figure

MODES = ((0, 1), (0, 2))


@dataclasses.dataclass(frozen=True)
class Config:
    """Learns one target, of low rank on ((0,1),(2,3)), on two trees."""

    out: Path
    """Folder for results and figures."""
    widths: int = 32
    """Local components of every node."""
    init_std: float = 0.05
    """Standard deviation of the start."""
    dim: int = 6
    """Every mode's dimension."""
    rank: int = 2
    """Widths of the target."""
    observed: int = 600
    """Number of observed entries, of dim^4."""
    learning_rate: float = 3e-3
    """Of GroupRMSprop."""
    num_steps: int = 30_000
    """Steps of descent."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of target, observations and start."""


def run(config: Config) -> dict[str, Any]:
    """Runs and returns the summary; figures and `summary.json` go to `config.out`."""
    with open_folder(config.out, config, may_differ=()) as folder:
        return _compute(config, folder)


def _compute(config: Config, folder: Path) -> dict[str, Any]:
    check_given("seeds", config.seeds)
    target_tree = htf.perfect(4)
    trees = {"matching": target_tree, "mismatching": htf.as_tree(((0, 2), (1, 3)))}
    rows, curves = {}, {}
    with jax.enable_x64(True):
        for seed in config.seeds:
            keys = jax.random.split(jax.random.key(seed), 2)
            for name, tree in trees.items():
                problem = completion(
                    keys, dim=config.dim, observed=config.observed, tree=tree,
                    widths=config.widths, init_std=config.init_std,
                    target_tree=target_tree, target_rank=config.rank, target_norm=30.0,
                )  # fmt: skip
                path = _learn(problem, config)
                rows[f"seed {seed}, {name} tree"] = _row(path, problem)
                curves[seed, name] = path
    write_json(folder / "summary.json", rows)
    save_figure(draw(curves, config.seeds[0]), folder, "mode_tree_shape")
    return rows


def _learn(problem: Any, config: Config) -> htf.Trajectory:
    norm = jnp.linalg.norm(problem.target.ravel())

    def observe(factors: htf.Factors) -> dict[str, Any]:
        tensor = htf.end_tensor(factors)
        error = jnp.linalg.norm((tensor - problem.target).ravel()) / norm
        spectra = [
            jnp.linalg.svd(htf.matricize(tensor, modes), compute_uv=False)[:12]
            for modes in MODES
        ]
        return {"error": error, "spectra": jnp.stack(spectra)}

    return htf.descend(
        problem.start,
        problem.loss,
        htf.group_rmsprop(config.learning_rate),
        num_steps=config.num_steps,
        record_every=_record_every(config.num_steps),
        observe=observe,
    )[1]


def _record_every(num_steps: int) -> int:
    """The largest divisor that gives 300 records or more, where there are so many steps."""
    most = max(num_steps // 300, 1)
    return max(d for d in range(1, most + 1) if num_steps % d == 0)


def _row(path: htf.Trajectory, problem: Any) -> dict[str, Any]:
    last = np.asarray(path.observed["spectra"])[-1]
    row: dict[str, Any] = {
        "train_mse": float(path.losses[-1]),
        "relative_error": float(path.observed["error"][-1]),
    }
    for i, modes in enumerate(MODES):
        s = jnp.linalg.svd(htf.matricize(problem.target, modes), compute_uv=False)
        key = ",".join(map(str, modes))
        row[f"rank_{key}"] = int(np.sum(last[i] > 1e-2 * last[i][0]))
        row[f"target_rank_{key}"] = int(np.sum(np.asarray(s) > 1e-2 * float(s[0])))
    return row


def draw(curves: dict[Any, Any], seed: int) -> Any:
    """Singular values on and off the target's tree, and errors, for both models."""
    fig, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained", sharex="col")
    for i, name in enumerate(("matching", "mismatching")):
        path = curves[seed, name]
        steps, spectra = np.asarray(path.steps), np.asarray(path.observed["spectra"])
        for j, modes in enumerate(MODES):
            ax = axes[i][j]
            for k in range(spectra.shape[2]):
                grey = str(0.1 + 0.05 * k)
                ax.plot(steps, spectra[:, j, k], STYLES[k % 4], color=grey, lw=1.3)
            where = "a node of the target's tree" if j == 0 else "no node of it"
            ax.set_title(
                f"{name} tree: modes {{{modes[0]},{modes[1]}}}, {where}", fontsize=9
            )
            ax.set_ylabel("singular value")
            ax.grid(alpha=0.25)
    for i, quantity in enumerate(("train", "error")):
        ax = axes[i][2]
        for (number, name), path in curves.items():
            style = "-" if name == "matching" else "--"
            values = path.losses if quantity == "train" else path.observed["error"]
            label = f"{name} tree" if number == seed else None
            ax.semilogy(path.steps, values, style, color="0.2", lw=1.1, label=label)
        ax.set_ylabel(
            "training loss" if quantity == "train" else "relative error of the tensor"
        )
        ax.legend(fontsize=8, frameon=False)
        ax.grid(alpha=0.25)
    for ax in axes[1]:
        ax.set_xlabel("step")
    return fig


def report(rows: dict[str, Any], config: Config, console: Console) -> None:
    """A line for each tree."""
    for name, row in rows.items():
        ranks = ", ".join(
            f"{{{key}}} {row[f'rank_{key}']} (target {row[f'target_rank_{key}']})"
            for key in ("0,1", "0,2")
        )
        console.print(
            f"{name}: ranks {ranks}; relative error {row['relative_error']:.1e}, "
            f"train MSE {row['train_mse']:.1e}"
        )
    console.print(f"figures and summary.json are in {config.out}", soft_wrap=True)


def main() -> int:
    """The command line."""
    return command("mode_tree_shape", Config, run, report)


if __name__ == "__main__":
    sys.exit(main())
