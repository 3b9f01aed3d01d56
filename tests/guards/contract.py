"""Contract: names, calls, results and folders that scripts elsewhere rely on.

`python -m tests.guards.contract [DIR]` checks all of it, `--write [DIR]` keeps what the
folders of the commands look like now; DIR as in `tests.guards.commands`. Only public
names and commands are used, so that the file can stay as it is while everything behind
them changes.
"""

import inspect
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf
from htfjax import locality
from tests.guards import commands

KEPT = Path(__file__).parent / "data" / "contract.json"
ABOUT = (
    "What the folders of the commands hold. Additions are allowed, removals are not; "
    "only names under `data_files` may be changed, with the format of the data."
)

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


def check_losses() -> None:
    """Means over the batch without a half: squares, sizes, and smooth sizes."""
    factors = normal()
    indices, targets = observed()
    x = np.asarray(htf.entries(factors, indices)) - targets
    size = np.abs(x)
    smooth = np.where(size < 0.3, x**2 / 0.6, size - 0.15)
    for penalty, expected in (("l2", x**2), ("l1", size), ("huber", smooth)):
        options: dict[str, Any] = {"penalty": penalty, "threshold": 0.3}
        loss = htf.completion_loss(TREE, 3, indices, targets, **options)
        assert close(loss(factors), np.mean(expected)), penalty
    vectors = [np.eye(3)[indices[:, n]] for n in range(4)]
    assert close(htf.sensing_loss(vectors, targets)(factors), np.mean(x**2))
    pair = normal(tree=htf.flat(2))
    matrices = np.random.default_rng(1).normal(size=(5, 3, 3))
    off = np.einsum("bij,ij->b", matrices, htf.end_tensor(pair)) - np.arange(5.0)
    loss = htf.matrix_sensing_loss(matrices, np.arange(5.0))
    assert close(loss(pair), np.mean(off**2))
    assert completion()(normal(dtype="float32")).dtype == np.float32


def losses_of(seed: int) -> dict[str, tuple[Any, Any]]:
    """One loss of each kind, of the same shapes for every seed, and factors."""
    indices, targets = observed(seed)
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(20, 3)) for _ in range(4)]
    matrices = rng.normal(size=(20, 3, 3))
    return {
        "completion": (htf.completion_loss(TREE, 3, indices, targets), normal(seed)),
        "sensing": (htf.sensing_loss(vectors, targets), normal(seed)),
        "matrix sensing": (
            htf.matrix_sensing_loss(matrices, targets),
            normal(seed, htf.flat(2)),
        ),
    }


def check_losses_are_pytrees() -> None:
    """No comparison by value; new data of a shape retrace nothing; vmap over data."""
    first, second = losses_of(0), losses_of(1)
    for name, (loss, factors) in first.items():
        traces = []

        @jax.jit
        def value(loss: Any, factors: Any, traces: list = traces) -> Any:
            traces.append(None)
            return jax.value_and_grad(loss)(factors)

        other, moved = second[name]
        value(loss, factors)
        found, _ = value(other, moved)
        assert len(traces) == 1, name
        assert close(found, other(moved)), name
        assert len(jax.tree.leaves(loss)) > 1, name
        leaves, structure = jax.tree.flatten(loss)
        copied = jax.tree.unflatten(structure, leaves)
        assert loss != copied, name
        assert loss == loss, name
        assert isinstance(hash(loss), int), name
        both = jax.tree.map(lambda *x: jnp.stack(x), loss, other)
        values = jax.vmap(lambda loss, factors=factors: loss(factors))(both)
        assert close(values, [loss(factors), other(factors)]), name


def check_optimizers() -> None:
    """Optax transformations: one adaptive size for all numbers; schedules and eps=0."""
    params = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}
    for transform in (htf.scale_by_group_rms(0.9, 0.0), htf.group_rmsprop(0.1, 0.9, 0.0)):
        assert isinstance(transform, optax.GradientTransformation)
        update: Any = transform.update(params, transform.init(params), params)[0]
        assert close(update["a"][0] / update["b"][0, 0], 0.75)
    scheduled = htf.group_rmsprop(optax.constant_schedule(0.1))
    scheduled.update(params, scheduled.init(params), params)


def check_descent() -> None:
    """(final, Trajectory); steps, losses and observed are read before the update."""
    start, loss, rate = normal(), completion(), 1e-2
    options: dict[str, Any] = {"num_steps": 6, "record_every": 2}
    observe = htf.local_component_norms
    final, path = htf.descend(start, loss, optax.sgd(rate), observe=observe, **options)
    assert isinstance(path, htf.Trajectory)
    assert path.steps.tolist() == [0, 2, 4, 6]
    params = start
    for step in range(7):
        if step % 2 == 0:
            assert close(path.losses[step // 2], loss(params))
            assert close(path.observed[6][step // 2], observe(params)[6])
        if step < 6:
            gradient = jax.grad(loss)(params)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
    assert all(map(close, jax.tree.leaves(final), jax.tree.leaves(params)))
    assert htf.descend(start, loss, optax.sgd(rate), **options)[1].observed is None
    numbers, _ = htf.descend({"x": jnp.ones(2)}, lambda p: jnp.sum(p["x"] ** 2),
                             optax.sgd(0.25), num_steps=1, record_every=1)  # fmt: skip
    assert close(numbers["x"], [0.5, 0.5])


def check_random_losses() -> None:
    """With `key` a loss takes key_t = fold_in(key, step)."""
    key = jax.random.key(5)

    def loss(x: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.sum(x * jax.random.normal(key, x.shape, x.dtype))

    start, optimizer = jnp.ones(3), optax.sgd(1.0)
    state, path = htf.continue_descent(
        htf.start_descent(start, optimizer), loss, optimizer,
        num_steps=3, record_every=1, key=key,
    )  # fmt: skip
    x, keys = start, [jax.random.fold_in(key, t) for t in range(4)]
    for step in range(4):
        assert close(path.losses[step], loss(x, keys[step]))
        if step < 3:
            x = x - jax.random.normal(keys[step], (3,), x.dtype)
    assert close(state.params, x)


def check_chunks() -> None:
    """A descent in chunks equals one scan bit for bit."""
    optimizer, loss = htf.group_rmsprop(1e-2), completion()
    start = htf.start_descent(normal(), optimizer)
    assert isinstance(start, htf.DescentState)
    assert int(start.step) == 0
    assert equal(start.params, normal())
    options: dict[str, Any] = {"record_every": 2, "observe": htf.local_component_norms}
    whole, one = htf.continue_descent(start, loss, optimizer, num_steps=12, **options)
    state, pieces = start, []
    for _ in range(3):
        state, piece = htf.continue_descent(state, loss, optimizer, num_steps=4, **options)
        pieces.append(piece)
    assert int(state.step) == 12
    assert equal(state, whole)
    for read in (lambda t: t.losses, lambda t: t.steps, lambda t: t.observed[6]):
        joined = [np.asarray(read(piece)) for piece in pieces]
        ends = [part[:-1] for part in joined[:-1]]
        assert np.array_equal(np.concatenate([*ends, joined[-1]]), read(one))
    final, _ = htf.descend(normal(), loss, optimizer, num_steps=12, **options)
    assert equal(final, whole.params)


def check_flow() -> None:
    """(final, Trajectory) whose `times` are those asked for."""
    times = np.array([0.0, 0.5, 1.0])
    final, path = htf.gradient_flow(
        jnp.array([2.0, 1.0]), lambda x: jnp.sum(x**2) / 2,
        times=times, rtol=1e-8, atol=0.0, observe=lambda x: x[0],
    )  # fmt: skip
    assert isinstance(path, htf.Trajectory)
    assert close(path.times, times)
    decay = np.exp(-times)
    assert np.allclose(path.observed, 2 * decay, rtol=1e-6)
    assert np.allclose(path.losses, 2.5 * decay**2, rtol=1e-6)
    assert np.allclose(final, np.array([2.0, 1.0]) * decay[-1], rtol=1e-6)


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


CHECKS: dict[str, Callable[[], None]] = {
    name.removeprefix("check_"): check
    for name, check in list(globals().items())
    if name.startswith("check_")
}


def folder_facts(folder: Path) -> dict[str, Any]:
    """Names of files, keys of JSON files, and the layout of the records."""
    names = {
        path.name + "/" * path.is_dir()
        for path in folder.iterdir()
        if not path.name.startswith(".")
    }
    names |= {
        path.relative_to(folder).as_posix()
        for kind in ("*.nc", "*.npz")
        for path in folder.rglob(kind)
    }
    files = {n for n in names if n.endswith((".png", ".svg"))}
    files |= names & {"config.json", "summary.json"}
    facts: dict[str, Any] = {
        "files": sorted(files),
        "data_files": sorted(names - files),
        "summary": _keys(folder / "summary.json"),
    }
    if "config.json" in files:
        facts["config"] = _keys(folder / "config.json")
        nested = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if isinstance(nested.get("config"), dict):
            facts["config"] += sorted(f"config/{key}" for key in nested["config"])
    return facts


def _keys(path: Path) -> list[str]:
    return sorted(json.loads(path.read_text(encoding="utf-8")))


def record_facts(folder: Path) -> dict[str, Any]:
    """Variables with their dimensions, and coordinates with their values."""
    data = htf.load_results(folder)
    return {
        "sizes": {str(dim): int(size) for dim, size in data.sizes.items()},
        "variables": {str(k): list(v.dims) for k, v in sorted(data.data_vars.items())},
        "coordinates": {str(k): list(v.dims) for k, v in sorted(data.coords.items())},
        "labels": {
            str(k): v.values.tolist()
            for k, v in sorted(data.coords.items())
            if v.dims == (k,) and v.size <= 32
        },
    }


def facts(name: str, base: Path) -> dict[str, Any]:
    """What is kept of a job, or of a command that reads the folder of one."""
    if name == "plot":
        drawn = base / "plot"
        source = commands.finished("incremental_rank", base)
        commands.execute("sims.plot", str(source), "--out", str(drawn))
        return {"files": sorted(path.name for path in drawn.iterdir())}
    if name == "status":
        source = commands.finished("rank_statistics", base)
        said = commands.execute("sims.status", str(source), "--json")
        return {"keys": sorted(json.loads(said))}
    folder = commands.finished(name, base)
    found = folder_facts(folder)
    return found if commands.JOBS[name].values else found | record_facts(folder)


NAMES = (*commands.JOBS, "plot", "status")


def broken(found: Any, kept: Any, where: str) -> list[str]:
    """What was kept and is not found; more may be found."""
    if isinstance(kept, dict):
        lost = [f"{where}/{key} is lost" for key in kept if key not in found]
        return lost + [
            line
            for key in kept.keys() & found.keys()
            for line in broken(found[key], kept[key], f"{where}/{key}")
        ]
    ordered = where.split("/")[1] in ("sizes", "variables", "coordinates", "labels")
    if ordered:
        return [] if found == kept else [f"{where} was {kept}, is {found}"]
    return [f"{where}: {name} is lost" for name in kept if name not in found]


def kept() -> dict[str, Any]:
    """The facts kept, by job."""
    return json.loads(KEPT.read_text(encoding="utf-8"))["jobs"]


def main() -> int:
    """Checks everything, or writes what the folders hold."""
    jax.config.update("jax_enable_x64", True)
    given = sys.argv[1:]
    writing = given[:1] == ["--write"]
    for name, check in {} if writing else CHECKS.items():
        check()
        sys.stdout.write(f"{name}: holds\n")
    found = {}
    with commands.kept_or_passing(given[1:] if writing else given) as base:
        for name in NAMES:
            found[name] = facts(name, base)
            sys.stdout.write(f"{name}: ran\n")
            sys.stdout.flush()
    if writing:
        text = json.dumps({"about": ABOUT, "jobs": found}, indent=1)
        KEPT.write_text(text + "\n", encoding="utf-8")
        return 0
    lines = [line for name in NAMES for line in broken(found[name], kept()[name], name)]
    sys.stdout.write("\n".join([*lines, f"{len(lines)} broken"]) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
