"""Records of a rank-dynamics run, as labelled arrays and as a summary."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import htfjax as htf

from ..figures.dynamics import spell
from .problem import Problem
from .settings import Config, Setting


def make_observe(
    config: Config, setting: Setting, problem: Problem
) -> Callable[[Any], Any]:
    """The function of the factors that is evaluated on the device at every record."""
    return functools.partial(_observe, config=config, setting=setting, problem=problem)


def _observe(
    factors: htf.Factors, *, config: Config, setting: Setting, problem: Problem
) -> dict[str, jax.Array]:
    tensor = htf.end_tensor(factors)
    norms = htf.local_component_norms(factors)
    spectra = [
        jnp.linalg.svd(htf.matricize(tensor, modes), compute_uv=False)
        for modes in setting.track_modes
    ]
    seen = {
        "train_mse": htf.penalize(htf.residuals(problem.loss, factors)),
        "unbalancedness": htf.unbalancedness(factors),
        "singular_value": jnp.stack([_pad(s, config.top) for s in spectra]),
        "effective_rank": jnp.stack([htf.effective_rank(s) for s in spectra]),
    }
    for node in setting.track_nodes:
        seen[f"local_component_norm_{node}"] = norms[node]
    if problem.test is not None:
        seen["test_mse"] = htf.penalize(htf.residuals(problem.test, factors))
    if problem.target is not None:
        square = jnp.sum(jnp.square(tensor - problem.target))
        seen["population_loss"] = square / tensor.size
        seen["relative_error"] = jnp.sqrt(square) / jnp.linalg.norm(problem.target.ravel())
    return seen


def to_dataset(piece: htf.Trajectory, *, config: Config, setting: Setting) -> xr.Dataset:
    """Records as labelled arrays over (seed, step, ...)."""
    observed = dict(piece.observed)
    nodes = setting.track_nodes
    norms = [np.asarray(observed.pop(f"local_component_norm_{k}")) for k in nodes]
    width = max(x.shape[1] for x in norms)
    scalars = {
        "loss": piece.losses,
        "grad_norm": piece.grad_norms,
        "step_length": piece.step_lengths,
        "chord": piece.chords,
        "duration": piece.durations,
        **{name: x for name, x in observed.items() if np.ndim(x) == 1},
    }
    padded = np.stack([_pad_columns(x, width) for x in norms], axis=1)
    variables = {
        name: (("seed", "step"), np.asarray(x)[None]) for name, x in scalars.items()
    }
    variables |= {
        "singular_value": (
            ("seed", "step", "modes", "index"),
            np.asarray(observed["singular_value"])[None],
        ),
        "effective_rank": (
            ("seed", "step", "modes"),
            np.asarray(observed["effective_rank"])[None],
        ),
        "local_component_norm": (("seed", "step", "node", "component"), padded[None]),
    }
    return xr.Dataset(
        variables,
        coords={
            "seed": [config.seed],
            "step": np.asarray(piece.steps),
            "modes": [spell(modes) for modes in setting.track_modes],
            "index": np.arange(1, config.top + 1),
            "node": list(nodes),
            "component": np.arange(width),
            "width": ("node", [x.shape[1] for x in norms]),
            "node_modes": ("node", [spell(setting.mode_tree.modes[k]) for k in nodes]),
        },
        attrs={"panel": setting.panel, "tree": repr(setting.tree)},
    )


def find_stop(dataset: xr.Dataset, *, config: Config) -> htf.Stop | None:
    """The stopping rule, on the training mean squared error whatever the loss."""
    losses = dataset.train_mse.values[0]
    return htf.find_stop(losses, config.tolerance, config.patience)


def headline(dataset: xr.Dataset) -> str:
    """A few words on how a run stands."""
    values = dataset.singular_value.isel(seed=0, modes=0).values
    risen = (values[-1] > 1e-2 * values[-1, 0]) & (values[-1] > 10 * values[0])
    mse = float(dataset.train_mse[0, -1])
    return f"train MSE {mse:.2e}, singular values risen: {int(np.sum(risen))}"


def finish(dataset: xr.Dataset, factors: htf.Factors, setting: Setting) -> xr.Dataset:
    """Adds the contributions ||sigma_r C_r|| / ||W|| of the final local components."""
    contributions = htf.component_contributions(factors)
    norm = float(jnp.linalg.norm(htf.end_tensor(factors).ravel()))
    width = dataset.sizes["component"]
    shares = [
        _pad_columns(np.asarray(contributions[k])[None] / (norm or 1.0), width)[0]
        for k in setting.track_nodes
    ]
    return dataset.assign(
        contribution=(("seed", "node", "component"), np.stack(shares)[None])
    )


def summarize(
    dataset: xr.Dataset, state: htf.DescentState, config: Config, problem: Problem
) -> dict[str, Any]:
    """One panel's row of `summary.json`: counts and times as `rise_times` defines them."""
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
    slow, stop = _slow_steps(state), dataset.attrs.get("stop_step")
    return {
        "status": dataset.attrs["status"],
        "converged": dataset.attrs["status"] == "converged",
        "steps": done,
        "stop_step": None if stop is None else int(stop),
        "final": final,
        "spectra": spectra,
        "local_components": _components(dataset, config.top),
        "path_length": _number(dataset.chord[0].sum()),
        "natural_time": _number(dataset.duration[0].sum()),
        "eps_phase_share": None if slow is None else slow / done,
        "wall_seconds": round(seconds, 2),
        "compile_seconds": round(compiled, 2),
        "milliseconds_per_step": round(1e3 * (seconds - compiled) / done, 4),
    }


def _components(dataset: xr.Dataset, top: int) -> dict[str, Any]:
    """The largest final norms of each tracked node, by index, with contributions."""
    found = {}
    for i, node in enumerate(dataset.node.values):
        norms = dataset.local_component_norm.isel(seed=0, step=-1, node=i).values
        order = np.argsort(-np.nan_to_num(norms))[:top]
        order = order[~np.isnan(norms[order])]
        history = dataset.local_component_norm.isel(seed=0, node=i).values[:, order]
        rise = htf.rise_times(dataset.step.values, history)
        found[str(node)] = {
            "modes": str(dataset.node_modes.values[i]),
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


def _slow_steps(state: htf.DescentState) -> int | None:
    """Steps in the eps phase, which GroupRMSprop counts itself."""
    for part in jax.tree.leaves(
        state.opt_state, is_leaf=lambda x: hasattr(x, "slow_steps")
    ):
        if hasattr(part, "slow_steps"):
            return int(part.slow_steps)
    return None


def _pad(s: jax.Array, length: int) -> jax.Array:
    """The first `length` values, NaN where there are fewer."""
    missing = max(0, length - s.shape[0])
    return jnp.concatenate([s[:length], jnp.full((missing,), jnp.nan, s.dtype)])


def _pad_columns(x: np.ndarray, width: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=np.nan)


def _number(x: Any) -> float | None:
    value = float(x)
    return value if math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(x) for x in values]
