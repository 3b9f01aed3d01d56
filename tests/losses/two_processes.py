"""A sharded loss in a child process, alone or one of two, run by `test_sharded`."""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

import htfjax as htf

COUNT = 45  # which eight devices do not divide


def losses() -> dict[str, Any]:
    """Sensing, completion by distinct rows, and minibatches of it."""
    dims = (3, 4, 3, 4)
    vectors = htf.random_vectors(jax.random.key(1), dims, COUNT)
    targets = np.random.default_rng(0).standard_normal(COUNT)
    indices = htf.random_indices(jax.random.key(2), dims, COUNT)
    completion = htf.completion_loss(htf.perfect(4), dims, indices, targets, plan="exact")
    return {
        "sensing": htf.sensing_loss(vectors, targets),
        "completion": completion,
        "minibatches": htf.minibatch_loss(completion, 11),
    }


def descents(sharded: bool) -> dict[str, Any]:
    """Losses on the way, and final parameters, of 20 steps on each loss."""
    start = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), (3, 4, 3, 4), 3, 0.8)
    found = {}
    for name, loss in losses().items():
        final, trajectory = htf.descend(
            start, htf.sharded_loss(loss) if sharded else loss, htf.group_rmsprop(1e-2),
            num_steps=20, record_every=5, observe=htf.local_component_norms,
            key=jax.random.key(3) if name == "minibatches" else None,
        )  # fmt: skip
        found[name] = np.asarray(trajectory.losses)
        found[f"{name}, final"] = np.asarray(ravel_pytree(final)[0])
        found[f"{name}, norms"] = np.asarray(ravel_pytree(trajectory.observed)[0])
    return found


def main() -> None:
    """Writes what `descents` finds, by every process into a file of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("process", type=int)
    parser.add_argument("port", type=int)
    chosen = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{chosen.port}", 2, chosen.process)
    assert jax.device_count() == 8
    np.savez(chosen.out, **descents(sharded=True))


if __name__ == "__main__":
    main()
