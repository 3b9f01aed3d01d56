"""Problems of the benchmarks, and the schemes that plans are compared with."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf


def problem(tree: htf.ModeTree, dims: Any, widths: Any, batch: int, seed: int = 0) -> Any:
    """Factors whose entries have size one, random indices and targets, float32."""
    keys = jax.random.split(jax.random.key(seed), 3)
    factors = htf.gaussian_factors(keys[0], tree, dims, widths, 1.0, dtype=jnp.float32)
    # Every matrix preserves the size of what passes through it.
    weights = tuple(w * np.float32(1 / max(w.shape[0], 2) ** 0.5) for w in factors.weights)
    factors = htf.Factors(tree=tree, weights=weights)
    indices = htf.random_indices(keys[1], htf.mode_dims(factors), batch)
    return factors, indices, jax.random.normal(keys[2], (batch,), jnp.float32)


def planned_loss(factors: htf.Factors, loss: Any) -> jax.Array:
    """The loss as the library evaluates it."""
    return loss(factors)


def gather_loss(factors: htf.Factors, data: tuple) -> jax.Array:
    """One row per observation at every node."""
    indices, targets = data
    tree = factors.tree
    rows: dict[int, Any] = {n: factors.weights[n][indices[:, n]] for n in range(tree.order)}
    for k in tree.interior:
        joint = rows[tree.children[k][0]]
        for child in tree.children[k][1:]:
            joint = joint * rows[child]
        rows[k] = jnp.matmul(joint, factors.weights[k], precision="highest")
    return jnp.mean(jnp.square(rows[tree.root][:, 0] - targets))


def batch_major_loss(factors: htf.Factors, data: tuple) -> jax.Array:
    """All samples' vectors (B, N, D) in one array, every level one batched einsum.

    With one-hot vectors this is the one-hot scheme.
    """
    inputs, targets = data
    tree = factors.tree
    rows: Any = inputs
    level = list(range(tree.order))
    while level != [tree.root]:
        weights = jnp.stack([factors.weights[k] for k in level])
        rows = jnp.einsum("bod,odr->bor", rows, weights, precision="highest")
        rows = rows.reshape(rows.shape[0], -1, 2, rows.shape[2]).prod(axis=2)
        level = [tree.parent[k] for k in level[::2]]
    values = jnp.matmul(rows[:, 0], factors.weights[tree.root][:, 0], precision="highest")
    return jnp.mean(jnp.square(values - targets))


def vectors_loss(factors: htf.Factors, data: tuple) -> jax.Array:
    """Rank-one measurements as `sense` evaluates them."""
    vectors, targets = data
    return jnp.mean(jnp.square(htf.sense(factors, vectors) - targets))


def one_hot(indices: Any, dim: int) -> jax.Array:
    """(B, N, D), the inputs of the one-hot scheme."""
    return jax.nn.one_hot(indices, dim, dtype=jnp.float32)


def check_equal(values: dict[str, Any], rtol: float = 1e-4) -> None:
    """Stops unless all schemes found the same value."""
    first = next(iter(values.values()))
    for name, value in values.items():
        if not np.allclose(np.ravel(value)[0], np.ravel(first)[0], rtol=rtol):
            raise SystemExit(f"{name} computes another value: {values}")
