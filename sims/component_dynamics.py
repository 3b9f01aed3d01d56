"""Do local components grow as the theorem says?

Expected: along the flow the measured growth equals the exact law; from a balanced start
also the balanced law, and from a Gaussian start it stays between the unbalanced bounds.
Descent follows with an error of the order of its step.

Takes 2 min on two cores, 30 s with `--quick`.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import xarray as xr
from rich.console import Console

import htfjax as htf

from .common import parts
from .common.command import command
from .common.theory import COLOURS, arc_flow, completion
from .figures.legends import legend_below
from .figures.short import say_too_short

TreeName = Literal["arity 2, depth 2", "arity 2, depth 3", "arity 3", "flat"]
TREES: dict[TreeName, htf.ModeTree] = {
    "arity 2, depth 2": htf.perfect(4),
    "arity 2, depth 3": htf.caterpillar(4),
    "arity 3": htf.pooled(4, 3),
    "flat": htf.flat(4),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares d sigma/dt with the three forms of the theorem, on trees of order 4."""

    out: Path
    """Folder for results and figures."""
    trees: tuple[TreeName, ...] = tuple(TREES)
    """Which trees."""
    widths: int = 6
    """Local components of every node."""
    scale: float = 0.5
    """Frobenius norm of every matrix at the start."""
    rank: int = 3
    """Widths of the target."""
    rtol: float = 1e-10
    """Of the flow."""
    stop_loss: float = 1e-3
    """The flow ends below this loss."""
    learning_rate: float = 1e-3
    """Of the descent that is compared."""
    seed: int = 2
    """Of target and start."""


QUICK: dict[str, Any] = {
    "trees": ("arity 2, depth 2", "flat"), "widths": 4, "rank": 2, "rtol": 1e-6,
    "stop_loss": 1e-2,
}  # fmt: skip


def plan(config: Config) -> dict[str, parts.Work]:
    """A flow and a short descent for each tree, from both kinds of start."""
    return {
        f"{name}, {kind}": functools.partial(_compare, config, TREES[name], kind)
        for name in config.trees
        for kind in ("balanced", "gaussian")
    }


def _problem(tree: htf.ModeTree, config: Config) -> Any:
    keys = jax.random.key(config.seed), jax.random.key(100 + config.seed)
    return completion(
        keys, dim=4, observed=256, tree=tree, target_tree=tree, widths=config.widths,
        init_std=config.scale / np.sqrt(4 * config.widths), target_rank=config.rank,
        target_norm=10.0,
    )  # fmt: skip


def _compare(config: Config, tree: htf.ModeTree, kind: str) -> xr.Dataset:
    """Curves of the root's components, and the errors of the laws at all nodes."""
    _, loss, start = _problem(tree, config)
    eps = 0.0
    if kind == "balanced":
        key = jax.random.key(100 + config.seed)
        start = htf.balanced_factors(key, tree, 4, config.widths, config.scale)
    else:
        eps = float(htf.unbalancedness(start))
    root = start.tree.root

    def laws(factors: htf.Factors) -> Any:
        exact = htf.theory.exact_growth(factors, loss)
        return {
            "exact": exact,
            "balanced": htf.theory.balanced_growth(factors, loss),
            "size": jax.tree.map(jnp.abs, exact),
        }

    def observe(factors: htf.Factors) -> Any:
        bounds = htf.theory.growth_bounds(factors, loss, eps=eps)
        return {
            "sigma": htf.local_component_norms(factors),
            "rate": htf.growth_rates(factors, loss),
            "lower": bounds.lower,
            "upper": bounds.upper,
            "side": {root: jnp.sign(factors.weights[root][:, 0])},
            **laws(factors),
        }

    path, count = arc_flow(
        start, loss, observe, length=20.0, num=121, rtol=config.rtol,
        integrate=laws, stop_loss=config.stop_loss,
    )  # fmt: skip
    seen = {k: np.asarray(v[root])[:count] for k, v in path.observed.items()}
    sums = {
        k: {v: np.diff(np.asarray(x)[:count], axis=0) for v, x in each.items()}
        for k, each in path.report.integrals.items()
    }
    worst = {"exact": 0.0, "balanced": 0.0}
    # A vector at the root is one number. Where it crosses zero its norm has a kink and its
    # direction jumps: the law holds on both sides, its integral across is not smooth.
    kinks = np.diff(seen["side"], axis=0) != 0
    outside = 0.0
    for v in start.tree.interior:
        change = np.diff(np.asarray(path.observed["sigma"][v])[:count], axis=0)
        size = sums["size"][v]
        for form in worst:
            error = np.abs(change - sums[form][v]) / size
            error = np.where(kinks & (v == root), 0.0, error)
            worst[form] = float(np.maximum(worst[form], np.max(error)))
        rate, low, high = (
            np.asarray(path.observed[k][v])[:count] for k in ("rate", "lower", "upper")
        )
        scale = np.maximum(np.abs(low), np.abs(high)) + 1e-12 * np.max(np.abs(rate))
        over = np.maximum(low - rate, rate - high) / scale
        outside = float(np.maximum(outside, np.max(over)))
    curves = {name: (("record", "component"), values) for name, values in seen.items()}
    return xr.Dataset(
        {"path": ("record", np.asarray(path.path_lengths)[:count]), **curves},
        attrs={
            "status": path.report.status,
            "intervals": count - 1,
            "crossings_left_out": int(np.sum(kinks)),
            "exact_law_error": worst["exact"],
            "balanced_law_error": worst["balanced"],
            "outside_bounds": outside,
            "drift": float(path.report.drift[-1]),
            "descent_error": _descent_error(start, loss, config.learning_rate),
        },
    )


def _descent_error(start: Any, loss: Any, rate: float) -> float:
    """Growth over single steps of plain descent against the exact law, at the root."""
    root = start.tree.root

    def observe(factors: htf.Factors) -> Any:
        exact = htf.theory.exact_growth(factors, loss)[root]
        return htf.local_component_norms(factors)[root], exact

    _, path = htf.descend(
        start, loss, optax.sgd(rate), num_steps=500, record_every=1, observe=observe
    )
    sigma, law = (np.asarray(x) for x in path.observed)
    change = np.diff(sigma, axis=0)
    size = np.sum(np.abs(change), axis=0)
    return float(np.max(np.sum(np.abs(change - rate * law[:-1]), axis=0) / size))


def summarize(saved: parts.Parts, config: Config) -> dict[str, Any]:
    """A row for each tree and start."""
    del config
    return {name: dict(part.attrs) for name, part in saved.items()}


def draw(saved: parts.Parts, config: Config, rows: dict[str, Any]) -> dict[str, Any]:
    """Measured growth rates of the root's two largest components, and the laws' values."""
    del config, rows
    columns = len(saved) // 2
    fig, axes = plt.subplots(
        2, columns, figsize=(3.7 * columns, 6.4), layout="constrained", squeeze=False
    )
    for i, (name, part) in enumerate(saved.items()):
        ax = axes[i % 2][i // 2]
        curve = {key: values.values for key, values in part.items()}
        order = np.argsort(-curve["sigma"][-1])[:2]
        for colour, r in zip(COLOURS, order, strict=False):
            x = curve["path"]
            ax.fill_between(x, curve["lower"][:, r], curve["upper"][:, r], color=colour,
                            alpha=0.18, lw=0)  # fmt: skip
            ax.plot(x, curve["rate"][:, r], color=colour, lw=2.6, alpha=0.5)
            ax.plot(x, curve["exact"][:, r], color="0.1", lw=0.9)
            ax.plot(x, curve["balanced"][:, r], ":", color="0.1", lw=1.4)
        low = min(0.0, float(np.min(curve["rate"][:, order])))
        high = max(0.0, float(np.max(curve["rate"][:, order])))
        ax.set_ylim(low - 0.15 * (high - low), high + 0.35 * (high - low))
        ax.set_title(name, fontsize=10)
        ax.grid(alpha=0.25)
        if i % 2:
            ax.set_xlabel("path length")
        if i // 2 == 0:
            ax.set_ylabel("growth of a root component,\nnorm per unit of time")
    ax = axes[0][0]
    ax.plot([], [], color="0.5", lw=2.6, alpha=0.6, label="measured")
    ax.plot([], [], color="0.1", lw=0.9, label="exact law")
    ax.plot([], [], ":", color="0.1", lw=1.4, label="balanced law")
    ax.fill_between([], [], [], color="0.5", alpha=0.25, lw=0, label="unbalanced bounds")
    for colour, rank in zip(COLOURS, ("largest", "second"), strict=False):
        ax.plot([], [], color=colour, lw=2.6, alpha=0.5, label=f"{rank} component")
    legend_below(fig, *ax.get_legend_handles_labels(), most=6)
    if not any(_has_grown(part) for part in saved.values()):
        say_too_short(fig, "no root component has doubled")
    return {"component_dynamics": fig}


def _has_grown(part: xr.Dataset) -> bool:
    """Whether the largest component of the root ended at twice its start or more."""
    sigma = part.sigma.values
    return bool(sigma[-1].max() > 2 * sigma[0].max())


def report(rows: dict[str, Any], config: Config, console: Console) -> None:
    """A line for each tree."""
    for name, row in rows.items():
        console.print(
            f"{name}: exact law {row['exact_law_error']:.1e}, balanced law "
            f"{row['balanced_law_error']:.1e}, outside the bounds "
            f"{row['outside_bounds']:.1e}, descent {row['descent_error']:.1e}"
        )
    console.print(f"figures and summary.json are in {config.out}", soft_wrap=True)


run, redraw = parts.run_and_redraw(Config, ("trees",), plan, summarize, draw)


def main() -> int:
    """The command line."""
    return command("component_dynamics", Config, run, report, quick=QUICK)


if __name__ == "__main__":
    sys.exit(main())
