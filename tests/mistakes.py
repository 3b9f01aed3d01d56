"""Mistakes in calls: how a table of them is run, and the sound objects it starts from.

A row has a name, a call, the exception, and words that its message must hold: plain text,
not patterns.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf

Kind = type[Exception] | tuple[type[Exception], ...]

TREE = htf.perfect(4)
DIMS = (3, 3, 3, 3)
INDICES = np.array([[0, 1, 2, 0], [2, 2, 2, 2]])
TARGETS = np.array([1.0, -1.0])
VECTORS = [np.ones((2, 3))] * 4


def every(rows: Sequence[tuple[str, Callable[[], Any], Kind, str]]) -> pytest.MarkDecorator:
    """A test of `call`, `kind` and `words` for every row; no two rows share a name."""
    names = [row[0] for row in rows]
    assert len(set(names)) == len(names), "two mistakes of one name"
    return pytest.mark.parametrize(
        ("call", "kind", "words"), [row[1:] for row in rows], ids=names
    )


def assert_named(call: Callable[[], Any], kind: Kind, words: str) -> None:
    """The call is refused by a message that holds the words."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words.split() if word not in message]
    assert not missing, f"{missing} not in: {message}"


def key() -> jax.Array:
    return jax.random.key(0)


def factors(tree: htf.ModeTree = TREE, **options: Any) -> htf.Factors:
    return htf.gaussian_factors(key(), tree, 3, 2, 1.0, **options)


def with_weight(k: int, weight: Any) -> htf.Factors:
    weights = list(factors().weights)
    weights[k] = weight
    return dataclasses.replace(factors(), weights=tuple(weights))


def completion(
    indices: Any = INDICES,
    targets: Any = TARGETS,
    tree: Any = TREE,
    dims: Any = DIMS,
    **options: Any,
) -> Any:
    return htf.completion_loss(tree, dims, indices, targets, **options)


def indices_with(value: int) -> np.ndarray:
    changed = INDICES.copy()
    changed[1, 2] = value
    return changed


def masked(values: Any) -> np.ma.MaskedArray:
    """The values with the first one masked."""
    mask = np.zeros(np.shape(values), bool)
    mask.flat[0] = True
    return np.ma.array(values, mask=mask)


def square(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x))
