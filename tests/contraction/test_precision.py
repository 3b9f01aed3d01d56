"""Every matrix product of every kernel says how precise it must be.

A backend's default may round float32 operands to bfloat16 or TF32; nothing on a CPU would
show it, so the lowered program is read.
"""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import htfjax as htf
from tests import helpers

PRODUCT = re.compile(r"stablehlo\.dot_general|stablehlo\.convolution|stablehlo\.dot ")
HIGHEST = re.compile(
    r"precision = \[HIGHEST, HIGHEST\]|HIGHEST>, #stablehlo<precision HIGHEST"
)


def single(name: str) -> htf.Factors:
    factors = helpers.random_factors(name)
    return jax.tree.map(lambda w: w.astype(jnp.float32), factors)


@functools.cache
def kernels(name: str) -> dict[str, Any]:
    """Name -> (function, argument)."""
    factors = single(name)
    tree, dims = factors.tree, htf.mode_dims(factors)
    indices = htf.random_indices(jax.random.key(0), dims, 20)
    vectors = htf.random_vectors(jax.random.key(1), dims, 20, dtype=jnp.float32)
    targets = jnp.ones((20,), jnp.float32)
    completion = htf.completion_loss(tree, dims, indices, targets)
    found: dict[str, Any] = {
        "end_tensor": htf.end_tensor,
        "entries": lambda f: htf.entries(f, indices),
        "sense": lambda f: htf.sense(f, vectors),
        "squared_norm": htf.squared_norm,
        "distance": lambda f: htf.distance(f, factors),
        "component_contributions": htf.component_contributions,
        "growth_rates": lambda f: htf.growth_rates(f, completion),
        "unbalancedness": htf.unbalancedness,
        "sensing": jax.grad(htf.sensing_loss(vectors, targets)),
        "population": jax.grad(htf.population_loss(factors)),
        "scaled": lambda f: htf.scaled_value_and_grad(completion, f),
    }
    routes: tuple[Any, ...] = ("dense", "qr", "gram")
    for route in routes:
        found[f"spectra, {route}"] = lambda f, r=route: htf.spectra(f, method=r)
    shape = (tree, dims, htf.widths(factors)[tree.order :], 20)
    for force in ("rows", "table", "gather", "dense", "masked"):
        plan = htf.contraction_plan(
            *shape, masked=completion.dense is not None, force=force
        )
        loss = htf.completion_loss(tree, dims, indices, targets, plan=plan)
        found[f"completion, {force}"] = jax.value_and_grad(loss)
    found["completion, exact"] = jax.value_and_grad(
        htf.completion_loss(tree, dims, indices, targets, plan="exact")
    )
    return found


KERNELS = sorted(kernels("mixed5"))


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_product_is_lowered_at_highest_precision(kernel: str) -> None:
    program = jax.jit(kernels("mixed5")[kernel]).lower(single("mixed5")).as_text()
    products = [line for line in program.splitlines() if PRODUCT.search(line)]
    assert products or kernel in ("unbalancedness",), "nothing is multiplied here"
    for line in products:
        assert HIGHEST.search(line), line


@pytest.mark.parametrize("kernel", ["completion", "sensing", "sense", "entries"])
def test_grouped_products_too(kernel: str) -> None:
    factors = htf.gaussian_factors(
        jax.random.key(0), htf.perfect(8), 3, 4, 0.5, dtype=jnp.float32
    )
    indices = htf.random_indices(jax.random.key(1), (3,) * 8, 20)
    vectors = htf.random_vectors(jax.random.key(2), (3,) * 8, 20, dtype=jnp.float32)
    ones = jnp.ones((20,), jnp.float32)
    function = {
        "completion": jax.grad(htf.completion_loss(factors.tree, 3, indices, ones)),
        "sensing": jax.grad(htf.sensing_loss(vectors, ones)),
        "sense": lambda f: htf.sense(f, vectors),
        "entries": lambda f: htf.entries(f, indices),
    }[kernel]
    program = jax.jit(function).lower(htf.group(factors)).as_text()
    products = [line for line in program.splitlines() if PRODUCT.search(line)]
    assert products
    for line in products:
        assert HIGHEST.search(line), line
