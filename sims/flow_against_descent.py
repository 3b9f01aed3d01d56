"""How close is descent to gradient flow, and what does each cost?

Expected: from one start GroupRMSprop and the flow take off in the same order, at the
same training loss and the same path length; descent's first steps lie below the
optimizer's eps; plain descent converges to the flow with order one in its step.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.ticker import NullFormatter
from rich.console import Console

import htfjax as htf

from .common.command import command
from .common.folder import open_folder, write_json
from .common.theory import (
    COLOURS,
    STYLES,
    check_given,
    completion,
    finite,
    interpolated_loss,
    share_crossings,
    top_singular_values,
)
from .figures.files import save_figure


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


def run(config: Config) -> dict[str, Any]:
    """Runs and returns the summary; figures and `summary.json` go to `config.out`."""
    with open_folder(config.out, config, may_differ=()) as folder:
        return _compute(config, folder)


def _compute(config: Config, folder: Path) -> dict[str, Any]:
    check_given("learning-rates", config.learning_rates)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(config.seed), 2)
        _, loss, start = completion(
            keys, dim=config.dim, observed=config.observed, widths=config.widths,
            init_std=config.init_std,
        )  # fmt: skip
        look = top_singular_values(6, (0, 1))
        flows = {
            rtol: _flow(start, loss, look, config, rtol) for rtol in (config.rtol, 1e-6)
        }
        runs = {
            f"lr {rate:g}": _descend(start, loss, look, config, rate)
            for rate in config.learning_rates
        }
        orders = _convergence(start, loss)
    truth = _positions(flows[1e-6])
    rows: dict[str, Any] = {
        "flow, rtol 1e-06": _row(flows[1e-6], truth),
        f"flow, rtol {config.rtol:g}": _row(flows[config.rtol], truth),
    }
    rows |= {name: _row(path, truth) for name, path in runs.items()}
    first = next(iter(runs))
    summary = {
        "runs": rows,
        "evaluations_ratio": rows[f"flow, rtol {config.rtol:g}"]["evaluations"]
        / rows[first]["evaluations"],
        "convergence": orders,
    }
    write_json(folder / "summary.json", summary)
    save_figure(draw(flows[1e-6], runs, orders), folder, "flow_against_descent")
    return summary


def _flow(start: Any, loss: Any, look: Any, config: Config, rtol: float) -> dict[str, Any]:
    _, path = htf.gradient_flow(
        start,
        loss,
        times=np.linspace(0.0, 60.0, 1201),
        rtol=rtol,
        atol=0.0,
        observe=look,
        clock="arc",
        stop_loss=config.stop_loss,
        interpolate=rtol > 1e-5,
    )
    report = path.report
    count = max(int(np.sum(report.reached)), 1)  # a start below `--stop-loss` is one
    taken = int(report.num_evaluations) + int(report.num_steps) - int(report.num_rejected)
    return {
        "losses": np.asarray(path.losses)[:count],
        "values": np.asarray(path.observed)[:count],
        "path": np.asarray(path.path_lengths)[:count],
        "times": np.asarray(path.times)[:count],
        "grads": np.asarray(path.grad_norms)[:count],
        "evaluations": np.full(count, taken),
        "drift": float(report.drift[-1]),
        "status": report.status,
    }


def _descend(start: Any, loss: Any, look: Any, config: Config, rate: float) -> Any:
    slower = round(config.learning_rates[0] / rate)
    _, path = htf.descend(
        start,
        loss,
        htf.group_rmsprop(rate),
        num_steps=config.num_steps * slower,
        record_every=config.chord_steps * slower,
        observe=look,
    )
    losses = np.asarray(path.losses)
    below = losses < config.stop_loss
    count = int(np.argmax(below)) + 1 if below.any() else len(losses)
    eps_phase = np.asarray(path.grad_norms) < 1e-5  # ten times eps
    return {
        "losses": losses[:count],
        "values": np.asarray(path.observed)[:count],
        "path": np.asarray(path.path_lengths)[:count],
        "times": np.asarray(path.times)[:count],
        "grads": np.asarray(path.grad_norms)[:count],
        "evaluations": np.asarray(path.steps)[:count],
        "eps_phase_steps": int(np.sum(eps_phase[:count]) * config.chord_steps * slower),
        "status": "fitted" if below.any() else "ran out of steps",
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


def _convergence(start: Any, loss: Any) -> dict[str, Any]:
    """Distance of plain descent from the flow at one natural time, against the step."""
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
    found = {}
    for count in (500, 1000, 2000, 4000):
        final, _ = htf.descend(
            origin, loss, optax.sgd(span / count), num_steps=count, record_every=count
        )
        squares = [
            np.sum(np.square(np.asarray(a - b)))
            for a, b in zip(jax.tree.leaves(final), jax.tree.leaves(end), strict=True)
        ]
        found[str(count)] = float(np.sqrt(sum(squares)))
    errors = list(found.values())
    with np.errstate(divide="ignore", invalid="ignore"):
        order = float(np.log2(np.divide(errors[-2], errors[-1])))
    return {"steps_and_distance": found, "span": float(span), "order": order}


def draw(flow: dict[str, Any], runs: dict[str, Any], orders: dict[str, Any]) -> Any:
    """Singular values over path length, gradient norms with eps, and convergence."""
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
    axes[1].axhline(1e-6, color="0.6", lw=1)
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
    return fig


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


def main() -> int:
    """The command line."""
    return command("flow_against_descent", Config, run, report)


if __name__ == "__main__":
    sys.exit(main())
