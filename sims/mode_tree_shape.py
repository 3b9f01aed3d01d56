"""What if the model's tree is not the target's?

Expected: on the target's own tree few singular values rise, on and off the tree as many
as the target has; on a mismatching tree the same target needs high rank, is learned
later and completes worse from the same entries.

Takes 20 s on two cores, 10 s with `--quick`.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator
from rich.console import Console

import htfjax as htf

from .common import parts
from .common.command import command
from .common.single import Job
from .common.theory import STYLES, completion, descent
from .figures.short import FOUND, say_too_short

MODES = ((0, 1), (0, 2))
TARGET_TREE = htf.perfect(4)
TREES = {"matching": TARGET_TREE, "mismatching": htf.as_tree(((0, 2), (1, 3)))}


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


QUICK: dict[str, Any] = {"seeds": (0,)}


def plan(config: Config) -> dict[str, parts.Work]:
    """A descent for each seed and tree."""
    return {
        f"seed {seed}, {name} tree": functools.partial(_learn, config, seed, tree)
        for seed in config.seeds
        for name, tree in TREES.items()
    }


def _learn(config: Config, seed: int, tree: htf.ModeTree) -> Job:
    target, loss, start = completion(
        jax.random.split(jax.random.key(seed), 2), dim=config.dim,
        observed=config.observed, tree=tree, widths=config.widths,
        init_std=config.init_std, target_tree=TARGET_TREE, target_rank=config.rank,
        target_norm=30.0,
    )  # fmt: skip
    norm = jnp.linalg.norm(target.ravel())
    spectra = [np.asarray(s) for s in _spectra(target)]
    return descent(
        start, loss, htf.group_rmsprop(config.learning_rate),
        jax.tree_util.Partial(_observe, target, norm),
        num_steps=config.num_steps, record_every=_record_every(config.num_steps),
        dims=(("spectra", ("modes", "index")), ("target_rank", ("modes",))),
        coords=(
            ("modes", tuple(",".join(map(str, modes)) for modes in MODES)),
            ("target_rank", tuple(_rank(s) for s in spectra)),
        ),
    )  # fmt: skip


def _observe(target: jax.Array, norm: jax.Array, factors: htf.Factors) -> dict[str, Any]:
    tensor = htf.end_tensor(factors)
    error = jnp.linalg.norm((tensor - target).ravel()) / norm
    return {"error": error, "spectra": jnp.stack([s[:12] for s in _spectra(tensor)])}


def _spectra(tensor: jax.Array) -> list[jax.Array]:
    """Singular values of both matricizations."""
    return [
        jnp.linalg.svd(htf.matricize(tensor, modes), compute_uv=False) for modes in MODES
    ]


def _rank(s: np.ndarray) -> int:
    return int(np.sum(s > 1e-2 * s[0]))


def _record_every(num_steps: int) -> int:
    """The largest divisor that gives 300 records or more, where there are so many steps."""
    most = max(num_steps // 300, 1)
    return max(d for d in range(1, most + 1) if num_steps % d == 0)


def summarize(saved: parts.Parts, config: Config) -> dict[str, Any]:
    """A row for each descent."""
    del config
    return {name: _row(part) for name, part in saved.items()}


def _row(part: xr.Dataset) -> dict[str, Any]:
    last = part.isel(step=-1)
    row: dict[str, Any] = {
        "train_mse": float(last.loss),
        "relative_error": float(last.error),
    }
    for i, modes in enumerate(part.modes.values):
        row[f"rank_{modes}"] = _rank(last.spectra.values[i])
        row[f"target_rank_{modes}"] = int(part.target_rank[i])
    return row


def draw(saved: parts.Parts, config: Config, rows: dict[str, Any]) -> dict[str, Any]:
    """Singular values on and off the target's tree, and errors, for both models."""
    fig, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained", sharex="col")
    for i, name in enumerate(TREES):
        part = saved[f"seed {config.seeds[0]}, {name} tree"]
        steps, spectra = part.step.values, part.spectra.values
        for j, modes in enumerate(MODES):
            ax = axes[i][j]
            for k in range(spectra.shape[2]):
                grey = str(min(0.1 + 0.05 * k, 0.55))
                ax.plot(steps, spectra[:, j, k], STYLES[k % 4], color=grey, lw=1.3)
            where = "a node of the target's tree" if j == 0 else "no node of it"
            ax.set_title(
                f"{name} tree: modes {{{modes[0]},{modes[1]}}},\n{where}", fontsize=9
            )
            ax.set_ylabel("singular value")
            ax.grid(alpha=0.25)
    for i, quantity in enumerate(("loss", "error")):
        ax = axes[i][2]
        for n, part in enumerate(saved.values()):
            name, style = (("matching", "-"), ("mismatching", "--"))[n % 2]
            values = part[quantity].values
            label = f"{name} tree" if n < 2 else None
            ax.semilogy(part.step.values, values, style, color="0.2", lw=1.1, label=label)
        ax.set_ylabel(
            "training loss" if quantity == "loss" else "relative error of the tensor"
        )
        ax.legend(fontsize=8, frameon=False)
        ax.grid(alpha=0.25)
    for ax in axes[1]:
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ends = [r["relative_error"] for name, r in rows.items() if " matching" in name]
    if min(ends) > FOUND:
        say_too_short(fig, f"no relative error on the target's tree is below {FOUND}")
    return {"mode_tree_shape": fig}


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


run, redraw = parts.run_and_redraw(Config, ("seeds",), plan, summarize, draw)


def main() -> int:
    """The command line."""
    return command("mode_tree_shape", Config, run, report, quick=QUICK)


if __name__ == "__main__":
    sys.exit(main())
