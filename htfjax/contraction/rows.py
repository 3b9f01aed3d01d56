"""One row of every node's table per sample: shared by entries and sensing."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from htfjax import _numerics
from htfjax.factors.factors import Factors

__all__ = ["contract_rows"]


def contract_rows(
    factors: Factors, leaf_rows: Sequence[jax.Array], precision: Any
) -> jax.Array:
    """v_k = W_k^T (product over children c of v_c) from the leaves to the root.

    Args:
      factors: checked factors.
      leaf_rows: for every mode n the rows x W_n, (B, R_parent(n)).

    Returns:
      (B,).
    """
    tree = factors.tree
    rows = dict(enumerate(leaf_rows))
    for k in tree.interior:
        joint = _numerics.product([rows.pop(c) for c in tree.children[k]])
        weight = factors.weights[k]
        if weight is None:
            return jnp.sum(joint, axis=1)
        rows[k] = jnp.matmul(joint, weight, precision=precision)
    return rows[tree.root][:, 0]
