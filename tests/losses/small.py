"""Losses and starts that tests of gradients and of sums share."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import htfjax as htf
from tests import helpers

TREE, DIMS = htf.perfect(4), (3,) * 4
MATRIX = htf.flat(2)  # where a program of many loops is compiled
INDICES = helpers.random_indices(DIMS, 30)
TARGETS = np.random.default_rng(0).standard_normal(30)
KEY = jax.random.key(3)


def factors(
    std: float = 0.5, dtype: Any = np.float64, seed: int = 0, tree: htf.ModeTree = TREE
) -> htf.Factors:
    return htf.gaussian_factors(jax.random.key(seed), tree, 3, 3, std, dtype=dtype)


def completion(tree: htf.ModeTree = TREE) -> Any:
    return htf.completion_loss(tree, 3, INDICES[:, : tree.order], TARGETS)


def decay(params: Any) -> jax.Array:
    """A plain function of the factors."""
    return 0.3 * jnp.sum(jnp.square(ravel_pytree(params)[0]))


def noisy(params: Any, key: jax.Array) -> jax.Array:
    """A plain function that draws."""
    return decay(params) * jax.random.uniform(key, ())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Own:
    """A bowl that brings its gradient, and cannot be called."""

    centre: Any

    def value_and_grad(self, params: Any, key: Any) -> tuple:
        shift = self.centre if key is None else jax.random.normal(key, ())
        gap = params - shift
        return (gap @ gap, ()), 2 * gap


class Callable(Own):
    """The same, which can be called too."""

    def __call__(self, params: Any, key: Any = None) -> jax.Array:
        return self.value_and_grad(params, key)[0][0]


jax.tree_util.register_dataclass(Callable, ["centre"], [])


def bowl(params: Any, key: Any = None) -> jax.Array:
    return Callable(0.5)(params, key)


START = jnp.array([1.0, -2.0, 3.0])


compiled = functools.partial(jax.jit, compiler_options=helpers.LITTLE_WORK)


def assert_alike(a: Any, b: Any, rtol: float = 1e-12) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        helpers.assert_close(x, y, rtol=rtol)


def direction(gradient: Any) -> np.ndarray:
    flat = np.asarray(ravel_pytree(gradient)[0], np.float64)
    return flat / np.linalg.norm(flat)


def run(loss: Any, optimizer: Any, start: Any = None, **options: Any) -> htf.Trajectory:
    start = factors() if start is None else start
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies floats by ints
        return htf.descend(
            start, loss, optimizer, num_steps=20, record_every=10, **options
        )[1]
