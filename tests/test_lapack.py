"""Decompositions of stacks: values, and programs in which nothing can wait for itself."""

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlib.version import __version__ as jaxlib_version

import htfjax as htf
from htfjax import _lapack

affected = pytest.mark.skipif(
    not _lapack.waits_for_itself(jaxlib_version),
    reason=f"jaxlib {jaxlib_version} decomposes a stack in one thread",
)
# The first result is as large as the stack of matrices.
CALL = re.compile(r"f\d+\[(?P<shape>[\d,]+)\][^=]* custom-call\(.*\"lapack_\w+\"")


def stack(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape))


def symmetric(x: jax.Array) -> jax.Array:
    return x @ jnp.swapaxes(x, -1, -2)


def rebuilt(name: str, x: jax.Array) -> jax.Array:
    """A from its decomposition, or what stands for it."""
    if name == "qr":
        return jnp.matmul(*_lapack.qr(x))
    if name == "triangle":  # of Gram matrices, as signs are free
        r = _lapack.triangle(x)
        return jnp.swapaxes(r, -1, -2) @ r
    if name == "svd":
        left, values, right = _lapack.svd(x)
        return (left * values[..., None, :]) @ right
    if name == "singular_values":
        return _lapack.singular_values(x)
    if name == "eigh":
        values, vectors = _lapack.eigh(symmetric(x))
        return (vectors * values[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)
    return symmetric(_lapack.cholesky(symmetric(x)))


def expected(name: str, x: np.ndarray) -> np.ndarray:
    if name in ("qr", "svd"):
        return x
    if name == "triangle":
        return np.swapaxes(x, -1, -2) @ x
    if name == "singular_values":
        return np.linalg.svd(x, compute_uv=False)
    return x @ np.swapaxes(x, -1, -2)


@pytest.mark.parametrize("shape", [(4, 3), (5, 4, 3), (2, 3, 4, 3), (1, 3, 3), (0, 3, 3)])
@pytest.mark.parametrize(
    "name", ["qr", "triangle", "svd", "singular_values", "eigh", "cholesky"]
)
def test_matrices_and_stacks(name: str, shape: tuple[int, ...]) -> None:
    if name == "cholesky":  # of matrices of full rank
        shape = (*shape[:-2], 3, 3)
    x = stack(*shape)
    function = functools.partial(rebuilt, name)
    for transformed in (function, jax.jit(function)):
        np.testing.assert_allclose(
            transformed(x), expected(name, np.asarray(x)), atol=1e-12
        )


def test_vectorized_over_any_axis() -> None:
    x = stack(4, 3, 5, 2)
    values = jax.vmap(jax.vmap(_lapack.singular_values), in_axes=1)(x)
    moved = np.moveaxis(np.asarray(x), 1, 0)
    np.testing.assert_allclose(values, np.linalg.svd(moved, compute_uv=False), atol=1e-12)


def test_stacks_that_wait_are_those_of_some_versions() -> None:
    waiting = [
        version
        for version in ("0.9.2", "0.10.0", "0.10.1", "0.11.0", "0.11.1", "0.11.2", "0.12.0")
        if _lapack.waits_for_itself(version)
    ]
    assert waiting == ["0.10.0", "0.10.1", "0.11.0", "0.11.1"]


def stacks_given_to_lapack(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """Shapes in a compiled program's LAPACK calls that are several matrices."""
    text = jax.jit(function).lower(*arguments).compile().as_text() or ""
    calls = [line for line in text.splitlines() if '"lapack_' in line]
    shapes = [match["shape"] for line in calls if (match := CALL.search(line))]
    assert calls
    assert len(calls) == len(shapes)
    return [x for x in shapes if set(x.split(",")[:-2]) - {"1"}]


def many(tree: htf.ModeTree, dims: int, width: int, lanes: int) -> Any:
    keys = jax.random.split(jax.random.key(0), lanes)
    return jax.vmap(lambda key: htf.gaussian_factors(key, tree, dims, width, 0.5))(keys)


def sums(method: Any, factors: Any) -> jax.Array:
    found = htf.spectra(factors, method=method).values()
    return jnp.sum(jnp.stack([jnp.sum(x.values) for x in found]))


@affected
@pytest.mark.parametrize("method", ["dense", "qr", "gram"])
def test_no_stack_in_spectra_of_lanes(method: Any) -> None:
    factors = many(htf.perfect(4), 3, 2, 5)
    function = functools.partial(sums, method)
    assert stacks_given_to_lapack(jax.vmap(function), factors) == []
    assert stacks_given_to_lapack(jax.vmap(jax.grad(function)), factors) == []


@affected
def test_no_stack_in_second_derivatives_of_lanes() -> None:
    factors = many(htf.flat(2), 3, 2, 5)
    hessian = jax.jacfwd(jax.grad(functools.partial(sums, "qr")))
    assert stacks_given_to_lapack(jax.vmap(hessian), factors) == []


@affected
def test_no_stack_in_spectra_of_groups() -> None:
    grouped = htf.group(htf.gaussian_factors(jax.random.key(0), htf.perfect(16), 3, 4, 0.5))
    function = functools.partial(sums, "qr")
    assert stacks_given_to_lapack(jax.grad(function), grouped) == []


@affected
def test_no_stack_in_other_programs_of_lanes() -> None:
    tree = htf.perfect(4)
    factors = many(tree, 3, 2, 5)
    tensors = jax.vmap(htf.end_tensor)(factors)
    programs: Sequence[tuple[Callable[..., Any], Any]] = (
        (lambda x: htf.formats.hierarchical_svd(x, tree, ranks=2)[0], tensors),
        (htf.hierarchical_rank, factors),
        (lambda f: htf.formats.round_factors(f, ranks=2)[0], factors),
    )
    for function, arguments in programs:
        assert stacks_given_to_lapack(jax.vmap(function), arguments) == []


WAITED = """
import jax, htfjax as htf
from benchmarks import harness
factors = htf.group(htf.gaussian_factors(jax.random.key(0), htf.perfect(256), 2, 8, 0.5))
spectra = lambda f: [x.values for x in htf.spectra(f, method="qr").stacks]
run = jax.jit(harness.repeated(spectra, 10)).lower(factors).compile()
for _ in range(50):
    jax.block_until_ready(run(factors))
"""


@pytest.mark.slow
def test_a_program_that_waited_for_itself_ends() -> None:
    subprocess.run([sys.executable, "-c", WAITED], check=True, timeout=120)
