"""Records of a rank-dynamics run, as labelled arrays and as a summary."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import htfjax as htf

from ..figures.dynamics import spell
from .problem import Problem
from .settings import Config, Setting
from .single import Asked, Outcome


@dataclasses.dataclass(frozen=True)
class Panel(Asked):
    """Label of a panel, and its name and tree for readers."""

    panel: str
    tree: str


def make_lane(config: Config, setting: Setting, problem: Problem) -> Any:
    """The descent of a panel, and what is recorded of it."""
    nodes = setting.track_nodes
    widths = htf.widths(problem.start)
    look = functools.partial(_observe, config=config, setting=setting)
    target = None
    if problem.target is not None:
        target = (problem.target, jnp.linalg.norm(problem.target.ravel()))
    return htf.runs.Lane(
        state=htf.start_descent(problem.start, problem.optimizer),
        loss=problem.step_loss,
        observe=jax.tree_util.Partial(look, problem.loss, problem.test, target),
        key=problem.key,
        optimizer=problem.optimizer,
        dims=(
            ("singular_value", ("modes", "index")),
            ("effective_rank", ("modes",)),
            ("local_component_norm", ("node", "component")),
            ("width", ("node",)),
            ("node_id", ("node",)),
        ),
        coords=(
            ("modes", tuple(spell(modes) for modes in setting.track_modes)),
            ("index", tuple(range(1, config.top + 1))),
            ("node", tuple(spell(setting.mode_tree.modes[k]) for k in nodes)),
            ("component", tuple(range(max(widths[k] for k in nodes)))),
            ("width", tuple(widths[k] for k in nodes)),
            ("node_id", nodes),
        ),
    )


def _observe(
    loss: Any, test: Any, target: Any, factors: htf.Factors,
    *, config: Config, setting: Setting,
) -> dict[str, jax.Array]:  # fmt: skip
    tensor = htf.end_tensor(factors)
    norms = htf.local_component_norms(factors)
    width = max(norms[k].shape[0] for k in setting.track_nodes)
    spectra = [
        jnp.linalg.svd(htf.matricize(tensor, modes), compute_uv=False)
        for modes in setting.track_modes
    ]
    seen = {
        "train_mse": htf.penalize(htf.residuals(loss, factors)),
        "unbalancedness": htf.unbalancedness(factors),
        "singular_value": jnp.stack([_pad(s, config.top) for s in spectra]),
        "effective_rank": jnp.stack([htf.effective_rank(s) for s in spectra]),
        "local_component_norm": jnp.stack(
            [_pad(norms[k], width) for k in setting.track_nodes]
        ),
    }
    if test is not None:
        seen["test_mse"] = htf.penalize(htf.residuals(test, factors))
    if target is not None:
        square = jnp.sum(jnp.square(tensor - target[0]))
        seen["population_loss"] = square / tensor.size
        seen["relative_error"] = jnp.sqrt(square) / target[1]
    return seen


def headline(dataset: xr.Dataset) -> str:
    """A few words on how a run stands."""
    values = dataset.singular_value.isel(seed=0, modes=0).values
    risen = (values[-1] > 1e-2 * values[-1, 0]) & (values[-1] > 10 * values[0])
    mse = float(dataset.train_mse[0, -1])
    return f"train MSE {mse:.2e}, singular values risen: {int(np.sum(risen))}"


def contributions(factors: htf.Factors, setting: Setting) -> xr.Dataset:
    """Contributions ||sigma_r C_r|| / ||W|| of the final local components."""
    found = htf.component_contributions(factors)
    norm = float(jnp.linalg.norm(htf.end_tensor(factors).ravel()))
    width = max(found[k].shape[0] for k in setting.track_nodes)
    kept = np.stack([np.asarray(_pad(found[k], width)) for k in setting.track_nodes])
    dims = ("seed", "node", "component")
    return xr.Dataset({"contribution": (dims, kept[None] / (norm or 1.0))})


def summarize(outcome: Outcome, config: Config, problem: Problem) -> dict[str, Any]:
    """One panel's row of `summary.json`: counts and times as `rise_times` defines them."""
    dataset, state = outcome.dataset, outcome.state
    last, steps = dataset.isel(seed=0, step=-1), dataset.step.values
    final = {
        name: _number(last[name])
        for name in ("train_mse", "test_mse", "relative_error", "population_loss",
                     "unbalancedness", "grad_norm")
        if name in last
    }  # fmt: skip
    spectra = {}
    for i, modes in enumerate(dataset.modes.values):
        values = dataset.singular_value.isel(seed=0, modes=i).values
        whole = htf.singular_values(state.params, _read_modes(modes))
        rise = htf.rise_times(steps, values)
        error = math.sqrt(config.tolerance * _num_entries(problem))
        spectra[str(modes)] = {
            "active": int(np.sum(rise.active)),
            "rising": int(np.sum(np.isfinite(rise.take_off))),
            "take_off_steps": _numbers(rise.take_off),
            "half_rise_steps": _numbers(rise.half_rise),
            "rise_width_steps": _numbers(rise.width),
            "final_values": _numbers(values[-1]),
            "effective_rank": _number(last.effective_rank[i]),
            "rank_within_tolerance": int(htf.rank_within(whole, error)),
            "target_rank_within_tolerance": _target_rank(problem, str(modes), error),
        }
    seconds = float(dataset.attrs["wall_seconds"])
    done, compiled = int(state.step), float(dataset.attrs["compile_seconds"])
    slow, stop = int(dataset.slow_steps.item()), int(dataset.stop_step.item())
    return {
        "status": outcome.status,
        "converged": outcome.status == "converged",
        "steps": done,
        "stop_step": None if stop < 0 else stop,
        "final": final,
        "spectra": spectra,
        "local_components": _components(dataset, config.top),
        "path_length": _number(dataset.chord[0].sum()),
        "natural_time": _number(dataset.duration[0].sum()),
        "eps_phase_share": None if slow < 0 else slow / done,
        "wall_seconds": round(seconds, 2),
        "compile_seconds": round(compiled, 2),
        "milliseconds_per_step": round(1e3 * (seconds - compiled) / done, 4),
    }


def _components(dataset: xr.Dataset, top: int) -> dict[str, Any]:
    """The largest final norms of each tracked node, by index, with contributions."""
    found = {}
    for i, node in enumerate(dataset.node_id.values):
        norms = dataset.local_component_norm.isel(seed=0, step=-1, node=i).values
        order = np.argsort(-np.nan_to_num(norms))[:top]
        order = order[~np.isnan(norms[order])]
        history = dataset.local_component_norm.isel(seed=0, node=i).values[:, order]
        rise = htf.rise_times(dataset.step.values, history)
        found[str(node)] = {
            "modes": str(dataset.node.values[i]),
            "index": order.tolist(),
            "norm": _numbers(norms[order]),
            "contribution": _numbers(dataset.contribution[0, i].values[order]),
            "take_off_steps": _numbers(rise.take_off),
        }
    return found


def _num_entries(problem: Problem) -> int:
    return math.prod(htf.mode_dims(problem.start))


def _target_rank(problem: Problem, modes: str, error: float) -> int | None:
    if problem.target is None:
        return None
    matrix = htf.matricize(problem.target, _read_modes(modes))
    return int(htf.rank_within(jnp.linalg.svd(matrix, compute_uv=False), error))


def _read_modes(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _pad(s: jax.Array, length: int) -> jax.Array:
    """The first `length` values, NaN where there are fewer."""
    missing = max(0, length - s.shape[0])
    return jnp.concatenate([s[:length], jnp.full((missing,), jnp.nan, s.dtype)])


def _number(x: Any) -> float | None:
    value = float(x)
    return value if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(x) for x in values]
