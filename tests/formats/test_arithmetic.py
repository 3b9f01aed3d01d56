"""Sums, products and contractions of factors against those of dense tensors."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import formats
from tests.marks import slow_unless

# Five modes of htucker's own checks, on trees of its four types and some of ours.
DIMS = (5, 6, 4, 7, 3)
TREES = {
    "balanced": (((0, 1), 2), (3, 4)),
    "first_separate": (0, ((1, 2), (3, 4))),
    "train": ((((0, 1), 2), 3), 4),
    "flat": (0, 1, 2, 3, 4),
    "crossed": ((0, 3), (1, 4, 2)),
    "chains": (((0,), (3,)), ((1, (4,), 2),)),
}
KINDS = ["diagonal", "ones", "full", "train"]
TOLERANCE = 1e-13


def factors(kind: str, name: str, seed: int = 0, width: int = 3) -> htf.Factors:
    """Diagonal factors, with a root of ones, with transfer tensors, or a tensor train."""
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    tree = htf.as_tree(TREES[name])
    if kind == "diagonal":
        return htf.gaussian_factors(key, tree, DIMS, width, 1.0)
    if kind == "ones":
        return htf.gaussian_factors(key, tree, DIMS, width, 1.0, root="ones")
    if kind == "full":
        tensor = rng.standard_normal(DIMS)
        return formats.hierarchical_svd(tensor, tree, ranks=width)[0]
    ranks = (1, 3, 4, 2, 2, 1)
    shapes = [(ranks[n], DIMS[n], ranks[n + 1]) for n in range(5)]
    return formats.tensor_train_factors([rng.standard_normal(s) for s in shapes])


def close(found: htf.Factors, wanted: Any, size: Any) -> None:
    error = np.linalg.norm(np.asarray(htf.end_tensor(found)) - np.asarray(wanted))
    assert error <= TOLERANCE * size


def dense(one: htf.Factors) -> np.ndarray:
    """The end tensor by einsum over every index at once: another derivation."""
    tree, operands = one.tree, []
    for k, w in enumerate(one.weights):
        if w is None:
            continue
        matrix = w.matrix("float64") if isinstance(w, htf.Selector) else w
        row = k if k < tree.order else tree.order + k
        above = tree.parent[k]
        column = [] if above is None else [tree.order + above]
        array = np.asarray(matrix) if column else np.asarray(matrix)[:, 0]
        operands += [array, [row, *column]]
    return np.einsum(*operands, list(range(tree.order)), optimize=True)


PAIRS = [(k, name) for k in KINDS[:3] for name in TREES] + [("train", "train")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_operations_are_those_of_dense_tensors(kind: str, name: str) -> None:
    one, other = factors(kind, name), factors(kind, name, seed=1, width=2)
    left, right = dense(one), dense(other)
    size = np.linalg.norm(left) + np.linalg.norm(right)
    close(one, left, size)
    close(formats.add(one, other), left + right, size)
    close(formats.subtract(one, other), left - right, size)
    close(formats.scale(one, -2.5), -2.5 * left, 3 * size)
    close(formats.hadamard(one, other), left * right, np.linalg.norm(left * right))
    close(formats.orthogonalize(one), left, size)
    close(formats.from_transfer_tensors(formats.to_transfer_tensors(one)), left, size)
    inner = float(np.sum(left * right))
    assert abs(float(htf.inner_product(one, other)) - inner) <= 1e-12 * size**2
    assert abs(float(htf.squared_norm(one)) - np.sum(left**2)) <= 1e-12 * size**2
    assert abs(float(htf.distance(one, other)) - np.linalg.norm(left - right)) < 1e-7 * size


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_singular_values_are_those_of_dense_tensors(kind: str, name: str) -> None:
    """Where htucker's own test allows the root of 1e-13, at every node and route."""
    one = factors(kind, name)
    tensor = dense(one)
    for k in range(one.tree.num_nodes - 1):
        modes = one.tree.modes[k]
        rest = [n for n in range(5) if n not in modes]
        matrix = tensor.transpose([*modes, *rest]).reshape(
            np.prod([DIMS[n] for n in modes]), -1
        )
        wanted = np.linalg.svd(matrix, compute_uv=False)
        for method in ("dense", "qr"):
            found = np.asarray(htf.singular_values(one, k, method=method))
            padded = np.pad(wanted, (0, max(0, len(found) - len(wanted))))[: len(found)]
            assert np.abs(found - padded).max() <= 1e-13 * np.linalg.norm(tensor)


@pytest.mark.parametrize("name", slow_unless(TREES, ("crossed",)))
def test_kinds_are_mixed(name: str) -> None:
    """A diagonal factorization and transfer tensors of one tree."""
    one, other = factors("diagonal", name), factors("full", name, seed=1)
    if name == "chains":
        one = htf.collapse_chains(one)
    left, right = dense(one), dense(other)
    size = np.linalg.norm(left) + np.linalg.norm(right)
    for a, b, x, y in ((one, other, left, right), (other, one, right, left)):
        close(formats.add(a, b), x + y, size)
        close(formats.hadamard(a, b), x * y, np.linalg.norm(x * y))


def test_sums_of_selectors_are_selectors() -> None:
    one = factors("full", "balanced")
    both = formats.add(one, one)
    product = formats.hadamard(one, one)
    for k in one.fixed:
        assert isinstance(both.weights[k], htf.Selector)
        assert isinstance(product.weights[k], htf.Selector)
    # Blocks: twice the entries, not the eightfold of full transfer tensors twice as wide.
    stored = [sum(x.size for x in jax.tree.leaves(f)) for f in (one, both)]
    inner = sum(one.weights[k].size * 4 for k in one.tree.interior if k not in one.fixed)
    assert stored[1] <= 2 * stored[0] + inner


@pytest.mark.parametrize(
    ("kind", "name"), slow_unless(PAIRS, (("full", "crossed"), ("diagonal", "chains")))
)
@pytest.mark.parametrize("mode", range(5))
def test_products_along_a_mode(kind: str, name: str, mode: int) -> None:
    one, rng = factors(kind, name), np.random.default_rng(2)
    tensor = dense(one)
    matrix = rng.standard_normal((2, DIMS[mode]))
    wanted = np.moveaxis(np.tensordot(matrix, tensor, axes=(1, mode)), 0, mode)
    close(formats.mode_product(one, matrix, mode), wanted, np.linalg.norm(wanted))
    vector = rng.standard_normal(DIMS[mode])
    less = formats.contract_mode(one, vector, mode)
    wanted = np.tensordot(tensor, vector, axes=(mode, 0))
    assert less.tree.order == 4
    close(less, wanted, np.linalg.norm(wanted))


def test_contracting_all_modes_but_one() -> None:
    one, rng = factors("full", "crossed"), np.random.default_rng(2)
    vectors = [rng.standard_normal(d) for d in DIMS]
    rest = functools.reduce(
        lambda f, n: formats.contract_mode(f, vectors[n], n), (4, 3, 2, 1), one
    )
    wanted = np.einsum("abcde,b,c,d,e->a", dense(one), *vectors[1:])
    assert rest.tree.order == 1
    close(rest, wanted, np.linalg.norm(wanted))
    assert np.allclose(htf.sense(one, [v[None] for v in vectors]), wanted @ vectors[0])
    with pytest.raises(ValueError, match=r"`factors` are of order 1.*`sense"):
        formats.contract_mode(rest, vectors[0], 0)


def test_classical_formats() -> None:
    rng = np.random.default_rng(3)
    matrices = [rng.standard_normal((d, 3)) for d in DIMS[:3]]
    weights = rng.standard_normal(3)
    cp = formats.cp_factors(weights, matrices)
    close(cp, np.einsum("r,ar,br,cr->abc", weights, *matrices), 100)
    ones = formats.cp_factors(None, matrices)
    close(ones, np.einsum("ar,br,cr->abc", *matrices), 100)
    core = rng.standard_normal((3, 3, 3))
    tucker = formats.tucker_factors(core, matrices)
    close(tucker, np.einsum("xyz,ax,by,cz->abc", core, *matrices), 100)
    cores = [rng.standard_normal(s) for s in ((1, 5, 2), (2, 6, 4), (4, 4, 1))]
    train = formats.tensor_train_factors(cores)
    close(train, np.einsum("xay,ybz,zcw->abc", *cores), 100)
    assert sum(x.size for x in jax.tree.leaves(train)) == sum(x.size for x in cores)
    for count in (1, 2):
        some = [rng.standard_normal((1, 4, 1)) for _ in range(count)]
        wanted = functools.reduce(np.multiply.outer, [x[0, :, 0] for x in some])
        close(formats.tensor_train_factors(some), wanted, 100)


OPERATIONS: dict[str, Callable[..., htf.Factors]] = {
    "add": formats.add,
    "subtract": formats.subtract,
    "hadamard": formats.hadamard,
    "scale": lambda f, g: formats.scale(f, g.weights[0][0, 0]),
    "mode_product": lambda f, g: formats.mode_product(f, g.weights[0].T, 0),
    "contract_mode": lambda f, g: formats.contract_mode(f, g.weights[0][:, 0], 0),
    "orthogonalize": lambda f, g: formats.orthogonalize(formats.add(f, g)),
    "round_ranks": lambda f, g: formats.round_factors(formats.add(f, g), ranks=3)[0],
    "round_rtol": lambda f, g: formats.round_factors(formats.add(f, g), rtol=0.3)[0],
    "transfer": lambda f, g: formats.from_transfer_tensors(
        formats.to_transfer_tensors(formats.add(f, g))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_under_transformations(operation: str, kind: str) -> None:
    """jit equals eager, vmap one at a time, derivatives differences."""
    one, other = factors(kind, "crossed"), factors(kind, "crossed", seed=1, width=2)

    def value(f: htf.Factors, g: htf.Factors) -> jax.Array:
        return htf.end_tensor(OPERATIONS[operation](f, g))

    wanted = value(one, other)
    size = float(jnp.linalg.norm(wanted))
    assert jnp.linalg.norm(jax.jit(value)(one, other) - wanted) <= 1e-12 * size
    copies = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), one)
    both = jax.vmap(value, in_axes=(0, None))(copies, other)
    twice = value(jax.tree.map(lambda x: 2 * x, one), other)
    for found, single in zip(both, (wanted, twice), strict=True):
        assert jnp.linalg.norm(found - single) <= 1e-12 * jnp.linalg.norm(single)
    slope_is_right(value, (one, other))


def slope_is_right(value: Callable[..., jax.Array], point: Any) -> None:
    """A directional derivative of a random combination against central differences."""
    keys = map(jax.random.key, itertools.count(10))
    weights = jax.random.normal(next(keys), value(*point).shape)
    way = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape), point)

    def along(step: Any) -> jax.Array:
        moved = jax.tree.map(lambda x, d: x + step * d, point, way)
        return jnp.sum(weights * value(*moved))

    slope = jax.grad(along)(0.0)
    step = 1e-6  # values near the cut make third derivatives large
    differences = (along(step) - along(-step)) / (2 * step)
    assert abs(slope - differences) <= 1e-6 * (1 + abs(slope))
    forward = jax.jvp(along, (0.0,), (1.0,))[1]
    assert abs(forward - slope) <= 1e-10 * (1 + abs(slope))


def test_float32_stays() -> None:
    one = jax.tree.map(lambda x: x.astype(jnp.float32), factors("full", "crossed"))
    both = formats.add(one, one)
    assert {x.dtype for x in jax.tree.leaves(both)} == {jnp.dtype("float32")}
    rounded, bound = formats.round_factors(both, rtol=1e-5)
    assert bound.dtype == jnp.float32
    error = jnp.linalg.norm(htf.end_tensor(rounded) - 2 * htf.end_tensor(one))
    assert error <= 1e-5 * jnp.linalg.norm(2 * htf.end_tensor(one))
    wide = formats.add(one, factors("full", "crossed"))
    assert wide.weights[0].dtype == jnp.float64
