"""How close is descent to gradient flow, and what does each cost?

Expected: from one start GroupRMSprop and the flow take off in the same order, at the
same training loss and the same path length; descent's first steps lie below the
optimizer's eps; plain descent converges to the flow with order one in its step.

Takes 40 s on two cores, 10 s with `--quick`.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import xarray as xr
from matplotlib.ticker import NullFormatter
from rich.console import Console

import htfjax as htf

from .common import parts
from .common.command import command
from .common.single import Job
from .common.theory import (
    COLOURS,
    STYLES,
    Problem,
    arc_flow,
    completion,
    descent,
    finite,
    interpolated_loss,
    path_lengths,
    share_crossings,
    top_singular_values,
)
from .figures.short import say_too_short

EXACT = 1e-6  # rtol of the flow that the others are compared with


@dataclasses.dataclass(frozen=True)
class Config:
    """Runs the flow and GroupRMSprop from one start on the paper's hierarchical setting."""

    out: Path
    """Folder for results and figures."""
    widths: int = 64
    """Local components of every node."""
    init_std: float = 3e-2
    """Standard deviation of the start."""
    learning_rates: tuple[float, ...] = (1e-2, 1e-3)
    """Of GroupRMSprop, the largest first."""
    num_steps: int = 14_000
    """Steps at the first learning rate; the others take proportionally more."""
    chord_steps: int = 10
    """Steps between records at the first learning rate, likewise."""
    rtol: float = 1e-4
    """Of the flow that is compared."""
    stop_loss: float = 2e-3
    """The flow ends below this loss."""
    dim: int = 8
    """Every mode's dimension."""
    observed: int = 2048
    """Number of observed entries."""
    seed: int = 0
    """Of target, observations and start."""


QUICK: dict[str, Any] = {
    "widths": 8, "dim": 4, "observed": 128, "learning_rates": (1e-2,), "num_steps": 12_000,
    "stop_loss": 2e-2,
}  # fmt: skip


def plan(config: Config) -> dict[str, parts.Work]:
    """Two flows, a descent for each learning rate, and plain descents."""
    flows = {
        f"flow, rtol {rtol}": functools.partial(_flow, config, rtol)
        for rtol in (config.rtol, EXACT)
    }
    descents = {
        f"lr {rate}": functools.partial(_descent, config, rate)
        for rate in config.learning_rates
    }
    return {**flows, **descents, "convergence": functools.partial(_convergence, config)}


def _problem(config: Config) -> Problem:
    return completion(
        jax.random.split(jax.random.key(config.seed), 2), dim=config.dim,
        observed=config.observed, widths=config.widths, init_std=config.init_std,
    )  # fmt: skip


def _flow(config: Config, rtol: float) -> xr.Dataset:
    _, loss, start = _problem(config)
    path, count = arc_flow(
        start, loss, top_singular_values(6, (0, 1)), length=60.0, num=1201, rtol=rtol,
        stop_loss=config.stop_loss, interpolate=rtol > 1e-5,
    )  # fmt: skip
    report = path.report
    taken = int(report.num_evaluations) + int(report.num_steps) - int(report.num_rejected)
    curves = {
        "losses": path.losses, "path": path.path_lengths, "grads": path.grad_norms,
    }  # fmt: skip
    return xr.Dataset(
        {
            "values": (("record", "index"), np.asarray(path.observed)[:count]),
            **{name: ("record", np.asarray(y)[:count]) for name, y in curves.items()},
        },
        attrs={
            "evaluations": taken,
            "drift": float(report.drift[-1]),
            "status": report.status,
        },
    )


def _descent(config: Config, rate: float) -> Job:
    slower = _slower(config, rate)
    _, loss, start = _problem(config)
    return descent(
        start, loss, htf.group_rmsprop(rate), _observe,
        num_steps=config.num_steps * slower, record_every=config.chord_steps * slower,
        dims=(("value", ("index",)),), stop_loss=config.stop_loss,
    )  # fmt: skip


def _slower(config: Config, rate: float) -> int:
    """How many times the steps of the first learning rate."""
    return round(config.learning_rates[0] / rate)


def _observe(factors: htf.Factors) -> dict[str, jax.Array]:
    return {"value": top_singular_values(6, (0, 1))(factors)}


def _curves(saved: parts.Parts, config: Config) -> tuple[dict, dict]:
    """Curves of the flows by their rtol, and of the descents by name."""
    flows = {
        rtol: _flow_curves(saved[f"flow, rtol {rtol}"]) for rtol in (config.rtol, EXACT)
    }
    descents = {
        f"lr {rate:g}": _descent_curves(
            saved[f"lr {rate}"], config.chord_steps * _slower(config, rate)
        )
        for rate in config.learning_rates
    }
    return flows, descents


def _flow_curves(part: xr.Dataset) -> dict[str, Any]:
    return {str(name): values.values for name, values in part.items()} | {
        "evaluations": np.full(part.sizes["record"], part.evaluations),
        "drift": part.drift,
        "status": part.status,
    }


def _descent_curves(part: xr.Dataset, every: int) -> dict[str, Any]:
    grads = part.grad_norm.values
    return {
        "losses": part.loss.values,
        "values": part.value.values,
        "path": path_lengths(part),
        "grads": grads,
        "evaluations": part.step.values,
        "eps_phase_steps": int(np.sum(grads < 1e-5) * every),  # ten times eps
        "status": "fitted" if part.status == "converged" else "ran out of steps",
    }


def summarize(saved: parts.Parts, config: Config) -> dict[str, Any]:
    """A row for each flow and descent, beside the exact flow's take-offs."""
    flows, descents = _curves(saved, config)
    truth = _positions(flows[EXACT])
    rows: dict[str, Any] = {
        f"flow, rtol {rtol:g}": _row(flows[rtol], truth) for rtol in (EXACT, config.rtol)
    }
    rows |= {name: _row(curves, truth) for name, curves in descents.items()}
    orders = saved["convergence"]
    counts, distances = orders.steps.values.astype(str), orders.distance.values.tolist()
    return {
        "runs": rows,
        "evaluations_ratio": rows[f"flow, rtol {config.rtol:g}"]["evaluations"]
        / rows[next(iter(descents))]["evaluations"],
        "convergence": {
            "steps_and_distance": dict(zip(counts.tolist(), distances, strict=True)),
            **orders.attrs,
        },
    }


def _positions(run: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    return (
        interpolated_loss(run["losses"], run["values"]),
        share_crossings(run["path"], run["values"]),
    )


def _row(run: dict[str, Any], truth: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    losses, lengths = _positions(run)
    seen = ~np.isnan(truth[0])
    steps = share_crossings(run["evaluations"], run["values"])
    return {
        "status": run["status"],
        "evaluations": int(run["evaluations"][-1]),
        "take_off_evaluations": finite(steps[seen]),
        "take_off_loss": finite(losses[seen]),
        "take_off_path": finite(lengths[seen]),
        "worst_loss_error": _worst(losses[seen], truth[0][seen]),
        "worst_path_error": _worst(lengths[seen], truth[1][seen]),
        "order": np.argsort(lengths[seen])[: np.sum(~np.isnan(lengths[seen]))].tolist(),
        "eps_phase_steps": run.get("eps_phase_steps"),
        "drift": run.get("drift"),
    }


def _worst(found: np.ndarray, truth: np.ndarray) -> float | None:
    """Largest relative error; None where nothing took off, or something did not."""
    return finite(np.max(np.abs(found / truth - 1)))[0] if len(truth) else None


def _convergence(config: Config) -> xr.Dataset:
    """Distance of plain descent from the flow at one natural time, against the step."""
    _, loss, start = _problem(config)
    _, path = htf.gradient_flow(
        start, loss, times=[3.0, 7.0], rtol=1e-9, atol=0.0, clock="arc", solver="explicit"
    )
    times = np.asarray(path.times)
    origin, _ = htf.gradient_flow(
        start, loss, times=[times[0]], rtol=1e-10, atol=0.0, solver="explicit"
    )
    span = times[1] - times[0]
    end, _ = htf.gradient_flow(
        origin, loss, times=[span], rtol=1e-10, atol=0.0, solver="explicit"
    )
    counts, distances = (500, 1000, 2000, 4000), []
    for count in counts:
        final, _ = htf.descend(
            origin, loss, optax.sgd(span / count), num_steps=count, record_every=count
        )
        squares = [
            np.sum(np.square(np.asarray(a - b)))
            for a, b in zip(jax.tree.leaves(final), jax.tree.leaves(end), strict=True)
        ]
        distances.append(float(np.sqrt(sum(squares))))
    with np.errstate(divide="ignore", invalid="ignore"):
        order = float(np.log2(np.divide(distances[-2], distances[-1])))
    return xr.Dataset(
        {"distance": ("steps", distances)},
        {"steps": list(counts)},
        {"span": float(span), "order": order},
    )


def draw(saved: parts.Parts, config: Config, summary: dict[str, Any]) -> dict[str, Any]:
    """Singular values over path length, gradient norms with eps, and convergence."""
    flows, runs = _curves(saved, config)
    flow, orders = flows[EXACT], summary["convergence"]
    fig, axes = plt.subplots(1, 3, figsize=(13.5, 3.8), layout="constrained")
    for i in range(min(5, flow["values"].shape[1])):
        axes[0].plot(
            flow["path"], flow["values"][:, i], color=COLOURS[i], lw=2.6, alpha=0.45
        )
        for style, run in zip(STYLES[1:], runs.values(), strict=False):
            axes[0].plot(run["path"], run["values"][:, i], style, color=COLOURS[i], lw=1.2)
    axes[0].plot([], [], color="0.3", lw=2.6, alpha=0.45, label="gradient flow")
    for style, name in zip(STYLES[1:], runs, strict=False):
        axes[0].plot([], [], style, color="0.15", lw=1.2, label=f"GroupRMSprop, {name}")
    axes[0].set(
        xlabel="length of the recorded path", ylabel="singular value of modes {0,1}"
    )
    axes[0].legend(fontsize=8, frameon=False, loc="center", bbox_to_anchor=(0.44, 0.55))
    for style, (name, run) in zip(STYLES, runs.items(), strict=False):
        steps = np.maximum(run["evaluations"], 1)
        axes[1].loglog(steps, run["grads"], style, color="0.15", lw=1.2, label=name)
    axes[1].axhline(1e-6, color="0.55", lw=1)
    axes[1].text(1.5, 1.2e-6, "eps of GroupRMSprop", fontsize=8, color="0.35", va="bottom")
    axes[1].set(xlabel="step", ylabel="norm of the gradient")
    axes[1].legend(fontsize=8, frameon=False)
    counts = np.array([int(k) for k in orders["steps_and_distance"]])
    steps, distance = orders["span"] / counts, list(orders["steps_and_distance"].values())
    axes[2].loglog(steps, distance, "o-", color="0.15", lw=1.2, label="plain descent")
    line = np.array(distance[-1]) * steps / steps[-1]
    axes[2].loglog(steps, line, ":", color="0.5", label="order one")
    axes[2].set(xlabel="learning rate", ylabel="distance from the flow")
    axes[2].legend(fontsize=8, frameon=False)
    for axis in (axes[2].xaxis, axes[2].yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes[2].set_xticks([1e-2, 3e-2, 1e-1], ["0.01", "0.03", "0.1"])
    axes[2].set_yticks([5e-3, 1e-2, 2e-2, 4e-2], ["0.005", "0.01", "0.02", "0.04"])
    for ax in axes:
        ax.grid(alpha=0.25)
    if not np.isfinite(_positions(flow)[0]).any():
        say_too_short(fig, "no singular value has taken off along the flow")
    return {"flow_against_descent": fig}


def report(summary: dict[str, Any], config: Config, console: Console) -> None:
    """A line for each run, and both ways compared."""
    for name, row in summary["runs"].items():
        off = [row["worst_loss_error"], row["worst_path_error"]]
        said = "not all of the reference's take-offs, or none to compare"
        if None not in off:
            said = f"take-offs off by at most {off[0]:.1%} in loss and {off[1]:.1%} in path"
            said += f" length, order {row['order']}"
        console.print(f"{name}: {row['evaluations']} gradients, {said}, {row['status']}")
    console.print(
        f"flow over descent: {summary['evaluations_ratio']:.2f} in gradients; order of "
        f"convergence {summary['convergence']['order']:.2f}; results in {config.out}"
    )


run, redraw = parts.run_and_redraw(Config, ("learning_rates",), plan, summarize, draw)


def main() -> int:
    """The command line."""
    return command("flow_against_descent", Config, run, report, quick=QUICK)


if __name__ == "__main__":
    sys.exit(main())
