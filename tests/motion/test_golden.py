"""Trajectories of an independent implementation, reproduced to 1e-12 relative."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from tests import golden_files
from tests.marks import slow_unless

RELATIVE = 1e-12


def assert_close(found: Any, wanted: Any) -> None:
    """No entry is off by more than 1e-12 of the largest wanted entry."""
    assert np.shape(found) == np.shape(wanted)
    scale = float(np.max(np.abs(wanted)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=RELATIVE * scale)


def descend_to(
    params: Any, loss: Any, optimizer: Any, steps: list[int]
) -> tuple[dict[int, Any], np.ndarray]:
    """Parameters after each of some numbers of steps, and the loss before every step."""
    _, trajectory = htf.descend(
        params, loss, optimizer, num_steps=steps[-1], record_every=1, observe=identity
    )
    found = {k: jax.tree.map(lambda x, k=k: x[k], trajectory.observed) for k in steps}
    return found, np.asarray(trajectory.losses[:-1])


def identity(params: Any) -> Any:
    """Records the parameters themselves."""
    return params


def test_all_nine_files_are_here_and_read() -> None:
    """Neither more nor less than what the tests read."""
    read = golden_files.HIERARCHICAL + golden_files.FLAT + golden_files.NETWORKS
    assert len(read) == 9
    stored = {path.stem for path in golden_files.HERE.glob("*.npz")}
    assert {name for name in stored if name.startswith(("ht_", "mf_", "cp_", "igc_"))} == (
        set(read)
    )


@pytest.mark.parametrize(
    "name", slow_unless(golden_files.HIERARCHICAL, ("ht_order4_dim6_sgd",))
)
def test_hierarchical_trajectory(name: str) -> None:
    """Targets, losses, first gradient, weights, end tensor, norms and spectra of a file."""
    golden = golden_files.read(name)
    loss = stored_loss(golden)
    start = golden_files.factors(golden, "init")
    steps = golden_files.steps(golden.arrays)

    assert_close(predicted(golden), golden.arrays["targets"])
    assert_weights(jax.grad(loss)(start), golden_files.factors(golden, "grad0"))
    found, losses = descend_to(start, loss, stored_optimizer(golden.meta), steps)
    assert_close(losses, golden.arrays["losses"])
    read_off = jax.jit(lambda factors: instruments(factors, golden))
    for step, factors in found.items():
        assert_weights(factors, golden_files.factors(golden, f"step{step}"))
        assert_metrics(read_off(factors), golden, f"step{step}/metric/")
    # Stored with the modes in the order in which the tree pools them.
    tensor = htf.end_tensor(found[steps[-1]])
    assert_close(tensor.transpose(golden.levels[-1][0]), golden.arrays["final_tensor"])
    assert golden.arrays.unread == []


@pytest.mark.slow
def test_matrix_trajectory() -> None:
    """Depth-3 matrix factorization: losses, product and singular values."""
    arrays = golden_files.read_arrays("mf_depth3")
    tree = htf.ModeTree.from_nested(((0,), 1))
    w0, w1, w2 = (jnp.asarray(arrays[f"init/{i}"]) for i in range(3))
    start = htf.Factors(tree=tree, weights=(w0, w2.T, w1, None))
    found, losses = descend_to(
        start,
        entries_loss(tree, arrays),
        flat_optimizer(arrays),
        golden_files.steps(arrays),
    )
    assert_close(losses, arrays["losses"])
    for step, factors in found.items():
        assert_close(htf.end_tensor(factors), arrays[f"step{step}/matrix"])
        values = htf.singular_values(factors, (0,))
        assert_close(values, arrays[f"step{step}/singular_values"])
    assert arrays.unread == []


@pytest.mark.slow
def test_cp_trajectory() -> None:
    """CP factorization with a root of ones: losses, factors and component norms."""
    arrays = golden_files.read_arrays("cp_order3")
    tree = htf.flat(3)
    weights = [jnp.asarray(arrays[f"init/{i}"]) for i in range(3)]
    start = htf.Factors(tree=tree, weights=(*weights, None))
    found, losses = descend_to(
        start,
        entries_loss(tree, arrays),
        flat_optimizer(arrays),
        golden_files.steps(arrays),
    )
    assert_close(losses, arrays["losses"])
    for step, factors in found.items():
        for mode in range(3):
            assert_close(factors.weights[mode], arrays[f"step{step}/factor{mode}"])
        norms = htf.local_component_norms(factors)[tree.root]
        wanted = arrays[f"step{step}/component_norms"]
        assert_close(np.sort(norms), np.sort(wanted))
    assert arrays.unread == []


def predicted(golden: golden_files.Golden) -> jax.Array:
    """The measurements of the stored target."""
    target = golden_files.factors(golden, "target")
    if golden.meta["task"] == "sensing":
        return htf.sense(target, vectors(golden))
    return htf.entries(target, golden.arrays["indices"])


def stored_loss(golden: golden_files.Golden) -> Any:
    """The loss that a hierarchical file was made with."""
    targets = golden.arrays["targets"]
    if golden.meta["task"] == "sensing":
        return htf.sensing_loss(vectors(golden), targets)
    dims = golden.meta["dims"]
    return htf.completion_loss(golden.tree, dims, golden.arrays["indices"], targets)


def vectors(golden: golden_files.Golden) -> list[jax.Array]:
    """The measurement vectors of every mode."""
    return list(jnp.moveaxis(jnp.asarray(golden.arrays["inputs"]), 1, 0))


def entries_loss(tree: htf.ModeTree, arrays: golden_files.Arrays) -> Any:
    """Completion of a dense target from flat row-major indices."""
    target = arrays["target"]
    indices = np.stack(np.unravel_index(arrays["observed"], target.shape), axis=1)
    values = target.ravel()[arrays["observed"]]
    return htf.completion_loss(tree, target.shape, indices, values)


def stored_optimizer(meta: dict[str, Any]) -> Any:
    """The optimizer that a hierarchical file was made with."""
    return rms(meta) if meta["opt"] == "rms" else optax.sgd(meta["lr"])


def flat_optimizer(arrays: golden_files.Arrays) -> Any:
    """The optimizer that a flat model's file was made with."""
    return rms(golden_files.read_literal(arrays, "meta"))


def rms(meta: dict[str, Any]) -> Any:
    """GroupRMSprop with stored settings."""
    return htf.group_rmsprop(meta["lr"], meta["alpha"], meta["eps"])


def assert_weights(found: htf.Factors, wanted: htf.Factors) -> None:
    """Every matrix agrees."""
    for a, b in zip(found.weights, wanted.weights, strict=True):
        assert_close(a, b)


def instruments(factors: htf.Factors, golden: golden_files.Golden) -> dict[str, Any]:
    """Norms, spectra and effective ranks, the largest first, by the file's names.

    The file's matricizations name axes in the order in which the tree pools the modes.
    """
    pooled, tree, read = golden.levels[-1][0], golden.tree, {}
    norms = htf.local_component_norms(factors)
    columns = htf.weight_vector_norms(factors)
    for name in golden.arrays:
        metric = name.split("/metric/")[-1]
        if match := re.fullmatch(r"l_(\d+)_f_(\d+).*_top_\d+_local_comp_norm", metric):
            parent = tree.parent[golden.nodes[f"layer{match[1]}_{match[2]}"]]
            assert parent is not None
            read[stem(metric)] = jnp.sort(norms[parent], descending=True)
        elif match := re.fullmatch(r"l_(\d+)_f_(\d+)_top_\d+_wv_norm", metric):
            node = golden.nodes[f"layer{match[1]}_{match[2]}"]
            read[stem(metric)] = jnp.sort(columns[node], descending=True)
        elif match := re.fullmatch(r"mat_([\d_]+)_eff_rank", metric):
            modes = [pooled[int(axis)] for axis in match[1].split("_")]
            values = htf.singular_values(factors, modes)
            read[f"mat_{match[1]}_sing_val"] = values
            read[metric] = htf.effective_rank(values, 0.0)[None]
    return read


def stem(metric: str) -> str:
    """A metric's name without its place in the descending order."""
    return re.sub(r"_top_\d+|(?<=sing_val)_\d+", "", metric)


def assert_metrics(read: dict[str, Any], golden: golden_files.Golden, prefix: str) -> None:
    """Every stored number of a step agrees, relative to the largest of its kind."""
    for name in golden.arrays:
        if not name.startswith(prefix):
            continue
        metric = name.removeprefix(prefix)
        values = np.asarray(read[stem(metric)])
        place = re.search(r"(?:_top|sing_val)_(\d+)", metric)
        found = values[int(place[1]) if place else 0]
        atol = RELATIVE * float(np.max(values))
        np.testing.assert_allclose(
            found, golden.arrays[name], rtol=0, atol=atol, err_msg=name
        )
