"""Contract: names, parameters, trees, factors, values and instruments."""

import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from htfjax import locality

# Leading parameters, by position; those after the star by keyword.
CALLS: dict[str, tuple[str, str]] = {
    "perfect": ("order arity", ""),
    "flat": ("order", ""),
    "caterpillar": ("order", ""),
    "interleaved": ("order", ""),
    "square_patches": ("side patch", ""),
    "pooled": ("order window pattern", ""),
    "gaussian_factors": ("key tree mode_dims widths std", "mean root dtype"),
    "balanced_factors": ("key tree mode_dims widths scale", "root dtype"),
    "identity_factors": ("tree mode_dims widths scale", "root dtype"),
    "collapse_chains": ("factors", ""),
    "save_factors": ("path factors", ""),
    "load_factors": ("path", ""),
    "group": ("factors", ""),
    "ungroup": ("factors", ""),
    "end_tensor": ("factors", ""),
    "entries": ("factors indices", ""),
    "sense": ("factors vectors", ""),
    "local_component_norms": ("factors", ""),
    "unbalancedness": ("factors kind", ""),
    "growth_rates": ("params loss to_factors", ""),
    "singular_values": ("factors node_or_modes method", ""),
    "spectrum": ("factors node_or_modes", "method"),
    "spectra": ("factors", ""),
    "effective_rank": ("s", ""),
    "numerical_rank": ("s rtol", ""),
    "entanglement_entropy": ("s", ""),
    "completion_loss": ("tree mode_dims indices targets", "penalty threshold"),
    "sensing_loss": ("vectors targets", "penalty threshold"),
    "matrix_sensing_loss": ("matrices targets", "penalty threshold"),
    "scale_by_group_rms": ("decay eps", ""),
    "group_rmsprop": ("learning_rate decay eps", ""),
    "start_descent": ("params optimizer", ""),
    "continue_descent": (
        "state loss optimizer",
        "num_steps record_every observe key",
    ),
    "descend": ("params loss optimizer", "num_steps record_every observe key"),
    "gradient_flow": ("params loss", "times rtol atol observe"),
    "load_results": ("path group", ""),
}
CLASSES = ("ModeTree", "Factors", "DescentState", "Trajectory")
TREE = htf.ModeTree.from_nested(((0, 1), (2, 3)))


def normal(seed: int = 0, tree: htf.ModeTree = TREE, dtype: Any = np.float64) -> Any:
    """Factors with entries of size one."""
    key = jax.random.key(seed)
    return htf.gaussian_factors(key, tree, 3, 4, 0.7, dtype=dtype)


def observed(seed: int = 0, count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Indices and targets of a tensor of order four."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (count, 4)), rng.normal(size=count)


def completion(seed: int = 0, count: int = 20) -> Any:
    """The loss of the tests below."""
    return htf.completion_loss(TREE, 3, *observed(seed, count))


def equal(a: Any, b: Any) -> bool:
    """The same pytree, bit for bit."""
    leaves, structure = jax.tree.flatten(a)
    others, other = jax.tree.flatten(b)
    return structure == other and all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(leaves, others, strict=True)
    )


def close(a: Any, b: Any) -> bool:
    """Equal to rounding."""
    return np.allclose(np.asarray(a), np.asarray(b), rtol=1e-10, atol=1e-12)


def refused(error: type[Exception], call: Callable[[], Any]) -> bool:
    """Whether a call raises that error."""
    try:
        call()
    except error:
        return True
    return False


def check_names() -> None:
    """Every name is there on `import htfjax as htf`, and in `__all__` and `dir`."""
    for name in (*CALLS, *CLASSES):
        assert hasattr(htf, name), name
        assert name in htf.__all__, name
        assert name in dir(htf), name
    assert all(inspect.isclass(getattr(htf, name)) for name in CLASSES)
    assert callable(locality.input_gradient_change)


def check_parameters() -> None:
    """Leading parameters by position, what may follow them has a default."""
    for name, (positional, keyword) in CALLS.items():
        parameters = inspect.signature(getattr(htf, name)).parameters
        leading = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        wanted = positional.split()
        assert [p.name for p in leading][: len(wanted)] == wanted, name
        assert all(p.default is not p.empty for p in leading[len(wanted) :]), name
        assert set(keyword.split()) <= set(parameters), name
    defaults = {
        ("gaussian_factors", "mean"): 0.0,
        ("gaussian_factors", "root"): "trained",
        ("gaussian_factors", "dtype"): None,
        ("unbalancedness", "kind"): "components",
        ("singular_values", "method"): "auto",
        ("completion_loss", "penalty"): "l2",
        ("completion_loss", "threshold"): 1.0,
        ("group_rmsprop", "decay"): 0.99,
        ("group_rmsprop", "eps"): 1e-6,
        ("descend", "observe"): None,
        ("descend", "key"): None,
        ("continue_descent", "key"): None,
        ("load_results", "group"): None,
    }
    for (name, parameter), value in defaults.items():
        found = inspect.signature(getattr(htf, name)).parameters[parameter].default
        assert found == value, (name, parameter)


def check_trees() -> None:
    """Leaf n is mode n; interior nodes follow in left-to-right post-order."""
    tree = htf.ModeTree.from_nested(((2, 0), ((1, 4), 3)))
    assert (tree.order, tree.root, tuple(tree.interior)) == (5, 8, (5, 6, 7, 8))
    assert tuple(map(tuple, tree.children)) == (
        (), (), (), (), (), (2, 0), (1, 4), (6, 3), (5, 7),
    )  # fmt: skip
    assert tuple(tree.parent[k] for k in range(8)) == (5, 6, 5, 7, 6, 8, 7, 8)
    assert [set(tree.modes[k]) for k in (0, 5, 6, 7, 8)] == [
        {0}, {0, 2}, {1, 4}, {1, 3, 4}, {0, 1, 2, 3, 4},
    ]  # fmt: skip
    assert [tree.height[k] for k in (0, 5, 6, 7, 8)] == [0, 1, 1, 2, 3]
    assert tree.nested == ((2, 0), ((1, 4), 3))
    again = htf.ModeTree.from_nested(((2, 0), ((1, 4), 3)))
    assert (again == tree, hash(again) == hash(tree)) == (True, True)
    assert not jax.tree.leaves(tree) or jax.tree.leaves(tree) == [tree]
    assert htf.ModeTree.from_nested((0,)).order == 1
    assert htf.ModeTree.from_nested(((0,), 1)).children[2] == (0,)
    assert refused(TypeError, lambda: htf.ModeTree.from_nested(0))
    assert refused(ValueError, lambda: htf.ModeTree.from_nested((0, 0)))
    assert refused(ValueError, lambda: htf.ModeTree.from_nested((0, 2)))


def check_builders() -> None:
    """Trees by name."""
    spelled = {
        htf.perfect(4): ((0, 1), (2, 3)),
        htf.perfect(9, 3): ((0, 1, 2), (3, 4, 5), (6, 7, 8)),
        htf.flat(3): (0, 1, 2),
        htf.caterpillar(4): (((0, 1), 2), 3),
        htf.interleaved(4): ((0, 2), (1, 3)),
        htf.square_patches(4, 2): (
            ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15))
        ),
        htf.pooled(4, 2, "half"): ((0, 2), (1, 3)),
        htf.pooled(5, 2, "adjacent"): (((0, 1), (2, 3)), ((4,),)),
    }
    for tree, nested in spelled.items():
        assert tree == htf.ModeTree.from_nested(nested), (tree.nested, nested)


def check_factors() -> None:
    """Shapes (R_k, R_parent); None for a root of ones; a pytree that checks nothing."""
    factors = htf.gaussian_factors(jax.random.key(0), TREE, (2, 3, 4, 5), (6, 7, 8), 1.0)
    assert isinstance(factors.weights, tuple)
    assert [w.shape for w in factors.weights] == [
        (2, 6), (3, 6), (4, 7), (5, 7), (6, 8), (7, 8), (8, 1),
    ]  # fmt: skip
    assert factors.fixed == ()
    assert factors.tree == TREE
    by_height = htf.gaussian_factors(jax.random.key(0), TREE, 2, (6, 8), 1.0)
    assert [w.shape for w in by_height.weights[4:]] == [(6, 8), (6, 8), (8, 1)]
    for make in (htf.gaussian_factors, htf.balanced_factors):
        ones = make(jax.random.key(0), TREE, 2, 3, 1.0, root="ones", dtype="float32")
        assert ones.weights[TREE.root] is None
        assert ones.weights[0].dtype == np.float32
        assert len(jax.tree.leaves(ones)) == 6
    assert htf.identity_factors(TREE, 2, 3, 1.0, root="ones").weights[6] is None
    odd = htf.Factors(tree=TREE, weights=("no array",) * 7, fixed=(0,))
    assert jax.tree.map(len, odd).weights == (8,) * 7


def check_storage() -> None:
    """What is saved is what is read; stacks of nodes and chains give the same tensor."""
    factors = normal()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "factors.npz"
        htf.save_factors(path, factors)
        assert equal(htf.load_factors(path), factors)
    assert equal(htf.ungroup(htf.group(factors)), factors)
    assert close(htf.end_tensor(htf.group(factors)), htf.end_tensor(factors))
    deep = normal(tree=htf.ModeTree.from_nested((((0, 1),), (2, 3))))
    flat = htf.collapse_chains(deep)
    assert flat.tree == TREE
    assert close(htf.end_tensor(flat), htf.end_tensor(deep))


def check_values() -> None:
    """`end_tensor` in mode order; `entries` and `sense` agree with it."""
    tree = htf.ModeTree.from_nested(((3, 1), (2, 0)))
    factors = htf.gaussian_factors(jax.random.key(0), tree, (2, 3, 4, 5), 3, 1.0)
    w = [np.asarray(x) for x in factors.weights]
    expected = np.einsum(
        "ar,br,cs,ds,rt,st,tu->dbca", w[3], w[1], w[2], w[0], w[4], w[5], w[6]
    )
    tensor = htf.end_tensor(factors)
    assert close(tensor, expected)
    rng = np.random.default_rng(0)
    indices = np.stack([rng.integers(0, d, 9) for d in (2, 3, 4, 5)], axis=1)
    values = htf.entries(factors, indices)
    assert values.shape == (9,)
    assert close(values, expected[tuple(indices.T)])
    vectors: list[Any] = [rng.normal(size=(6, d)) for d in (2, 3, 4, 5)]
    measured = htf.sense(factors, vectors)
    assert close(measured, np.einsum("dbca,nd,nb,nc,na->n", expected, *vectors))


def check_ranges() -> None:
    """Indices outside the tensor are refused where they are known."""
    factors = normal()
    for wrong in ([[0, 0, 0, 3]], [[-1, 0, 0, 0]], [[0, 7, 0, 0], [0, 0, 0, 0]]):
        asked = np.array(wrong)
        assert refused(ValueError, lambda asked=asked: htf.entries(factors, asked))
        targets = np.zeros(len(wrong))
        assert refused(
            ValueError,
            lambda asked=asked, targets=targets: htf.completion_loss(
                TREE, 3, asked, targets
            ),
        )
    jax.jit(htf.entries)(factors, np.array([[0, 0, 0, 3]]))  # unknown: no error


def check_mappings() -> None:
    """Results by node behave as dictionaries with every interior node, and no other."""
    factors, loss = normal(), completion()
    w = [np.asarray(x) for x in factors.weights]
    for given in (factors, htf.group(factors)):
        norms = htf.local_component_norms(given)
        assert isinstance(norms, Mapping)
        assert (sorted(norms), len(norms)) == ([4, 5, 6], 3)
        assert {k: v.shape for k, v in norms.items()} == {4: (4,), 5: (4,), 6: (4,)}
        assert [v.shape for v in norms.values()] == [(4,)] * 3
        assert sorted(norms.keys()) == sorted(dict(norms)) == [4, 5, 6]
        assert 4 in norms
        assert 0 not in norms
        assert norms.get(0) is None
        assert refused(KeyError, lambda norms=norms: norms[0])
        top = np.linalg.norm(w[4], axis=0) * np.linalg.norm(w[5], axis=0)
        assert close(norms[6], top * np.abs(w[6][:, 0]))
        doubled = jax.tree.map(lambda x: 2 * x, norms)
        assert close(doubled[6], 2 * norms[6])
        assert close(jax.jit(htf.local_component_norms)(given)[4], norms[4])
    rates = htf.growth_rates(factors, loss)
    assert isinstance(rates, Mapping)
    assert {k: v.shape for k, v in rates.items()} == {4: (4,), 5: (4,), 6: (4,)}
    assert isinstance(htf.spectra(factors), Mapping)


def check_instruments() -> None:
    """Spectra of nodes and of mode sets, ranks of them; finite at zero."""
    factors = normal()
    matrix = np.asarray(htf.end_tensor(factors)).reshape(9, 9)
    values = htf.singular_values(factors, 4)
    assert values.shape == (4,)  # min(9, 9, 4, 4)
    assert close(values, np.linalg.svd(matrix, compute_uv=False)[:4])
    assert close(htf.singular_values(factors, (0, 1), "auto")[:4], values)
    other = np.asarray(htf.end_tensor(factors)).transpose(0, 2, 1, 3).reshape(9, 9)
    found = htf.singular_values(factors, (0, 2))
    wanted = np.linalg.svd(other, compute_uv=False)[: len(found)]
    assert np.allclose(found, wanted, rtol=1e-8, atol=1e-12)
    assert htf.numerical_rank(jnp.array([1.0, 0.5, 1e-20]), 1e-6) == 2
    share = np.array([2.0, 1.0, 1.0]) ** 2 / 6
    entropy = -np.sum(share * np.log(share))
    spectrum = jnp.array([2.0, 1.0, 1.0, 0.0])
    assert close(htf.entanglement_entropy(spectrum), entropy)
    assert np.isfinite(htf.effective_rank(spectrum))
    assert float(htf.unbalancedness(factors)) > 0
    zero = jax.tree.map(jnp.zeros_like, factors)
    for part in jax.tree.leaves((htf.growth_rates(zero, completion()),
                                 htf.unbalancedness(zero),
                                 jax.grad(completion())(zero))):  # fmt: skip
        assert np.all(np.isfinite(part))


def check_locality() -> None:
    """Mean absolute cosine of a patch's gradients before and after a swap."""
    patch, other = locality.Patch(0, 0, 2, 2), locality.Patch(2, 3, 2, 2)
    assert (other.top, other.left, other.height, other.width) == (2, 3, 2, 2)
    x = jax.random.normal(jax.random.key(0), (5, 4, 5, 1), jnp.float64)

    def logits(x: jax.Array) -> jax.Array:
        return jnp.sum(x**2, axis=(1, 2, 3)) + x[:, 0, 0, 0] * x[:, 2, 3, 0]

    found = locality.input_gradient_change(logits, x, patch, other)
    assert found.shape == ()
    assert 0 < float(found) < 1
