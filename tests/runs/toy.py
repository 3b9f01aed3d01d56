"""Quadratic problems that compile in a moment, and a child process that runs them."""

import argparse
import dataclasses
import functools
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

import htfjax as htf

NUM_STEPS, EVERY, CHUNK = 60, 2, 10


@dataclasses.dataclass(frozen=True)
class Toy:
    """Least squares by gradient descent."""

    rate: float = 0.1
    size: int = 3
    note: str = "plain"


@functools.cache
def optimizer() -> Any:
    return optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)


def distance(data: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(data["a"] @ x - data["b"]))


def look(data: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
    return {"gap": data["a"] @ x - data["b"], "norm": jnp.sqrt(jnp.sum(x * x))}


def toy_lane(setting: Toy, key: jax.Array) -> Any:
    """A lane of the toy problem."""
    keys = jax.random.split(key, 3)
    n = setting.size
    data = {
        "a": jax.random.normal(keys[0], (n, n), jnp.float32),
        "b": jax.random.normal(keys[1], (n,), jnp.float32),
    }
    state = htf.start_descent(jax.random.normal(keys[2], (n,), jnp.float32), optimizer())
    hyper = {"learning_rate": jnp.asarray(setting.rate, jnp.float32)}
    state = state._replace(opt_state=state.opt_state._replace(hyperparams=hyper))
    return htf.runs.Lane(
        state=state,
        loss=jax.tree_util.Partial(distance, data),
        observe=jax.tree_util.Partial(look, data),
        key=None,
        optimizer=optimizer(),
        dims=(("gap", ("row",)),),
    )


def grid(seeds: Any = 3, **axes: Any) -> Any:
    """Seeds x learning rates, by default 6 runs of one program."""
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    return htf.runs.Grid(Toy(), seeds, axes or {"rate": (0.05, 0.1)})


DEFAULTS: dict[str, Any] = {
    "until_step": NUM_STEPS,
    "record_every": EVERY,
    "chunk_steps": CHUNK,
    "build": toy_lane,
    "checkpoint_seconds": 0.0,
}
# Hierarchical factorizations, some of which stop before the end.
FACTOR_OPTIONS: dict[str, Any] = {
    "until_step": 300,
    "record_every": 10,
    "chunk_steps": 50,
    "build": htf.runs.completion_lane,
    "tolerance": 8.0,
    "patience": 2,
}


def factor_grid() -> Any:
    """Nine hierarchical factorizations: three learning rates, one program."""
    setting = htf.problems.Completion(
        mode_dims=4, widths=6, init_std=0.2, target_rank=2, observed=150
    )
    return htf.runs.Grid(setting, range(3), {"learning_rate": (3e-3, 1e-2, 3e-2)})


def finish(out: Path, chosen: Any = None, **options: Any) -> Any:
    """Runs a grid to its end and returns the last progress."""
    chosen = grid() if chosen is None else chosen
    return list(htf.runs.run(chosen, out, **{**DEFAULTS, **options}))[-1]


def main() -> None:
    """A child process: runs the toy grid, noting executed steps after every chunk."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-steps", type=int, default=NUM_STEPS)
    parser.add_argument("--chunk-steps", type=int, default=CHUNK)
    parser.add_argument("--size", type=int, default=3)
    parser.add_argument("--factors", action="store_true")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--largest-file", type=int, default=0)
    parser.add_argument("--observations", type=int, default=1)
    parser.add_argument("--process", type=int)
    parser.add_argument("--port", type=int)
    chosen = parser.parse_args()
    if chosen.largest_file:
        unlimited = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (chosen.largest_file, unlimited))
    if chosen.process is not None:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{chosen.port}", 2, chosen.process)
    options = {"until_step": chosen.num_steps, "chunk_steps": chosen.chunk_steps}
    mesh = htf.runs.lane_mesh(observations=chosen.observations)
    grid = htf.runs.Grid(Toy(size=chosen.size), range(3), {"rate": (0.05, 0.1)})
    if chosen.factors:
        grid, options = factor_grid(), FACTOR_OPTIONS
    runs = htf.runs.run(grid, chosen.out, mesh=mesh, **{**DEFAULTS, **options})
    before, state = 0, ""
    for progress in runs:
        if chosen.log is not None:
            with open(chosen.log, "a") as file:
                file.write(f"{progress.executed - before} {progress.changed}\n")
        before, state = progress.executed, progress.state
    sys.stdout.write(f"{jax.device_count()} {state}\n")


if __name__ == "__main__":
    main()
