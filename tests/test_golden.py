"""Trajectories of an independent implementation, reproduced to 1e-9 relative."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf
from tests import golden_files

RELATIVE = 1e-9
HIERARCHICAL = [
    "ht_order4_dim6_sgd.npz",
    "ht_order4_dim8_completion.npz",
    "ht_order5_odd_tree_completion.npz",
    "ht_order8_half_pattern_completion.npz",
    "ht_order9_pool3_sensing.npz",
]


def located(name: str) -> Path:
    """The file, or a skip that names it."""
    path = golden_files.find(name)
    if path is None:
        pytest.skip(f"golden file {name} is not here")
    return path


def assert_close(found: Any, wanted: Any) -> None:
    """Equal to 1e-9 of the largest wanted entry."""
    scale = np.max(np.abs(wanted))
    np.testing.assert_allclose(found, wanted, rtol=RELATIVE, atol=RELATIVE * scale)


def descend_to(
    params: Any, loss: Any, optimizer: Any, steps: list[int]
) -> tuple[dict[int, Any], np.ndarray]:
    """Parameters after each of some numbers of steps, and the loss before every step."""
    state, found, pieces = htf.start_descent(params, optimizer), {}, []
    # From 1 to 10 and so on; the first chunk has two steps, as no chunk may have one.
    state, piece = htf.continue_descent(
        state, loss, optimizer, num_steps=2, record_every=1, observe=identity
    )
    found[1] = jax.tree.map(lambda x: x[1], piece.observed)
    pieces.append(piece)
    for step in steps[1:]:
        state, piece = htf.continue_descent(
            state, loss, optimizer, num_steps=step - int(state.step), record_every=1
        )
        found[step] = state.params
        pieces.append(piece)
    losses = [np.asarray(p.losses[:-1]) for p in pieces]
    return found, np.concatenate(losses)


def identity(params: Any) -> Any:
    """Records the parameters themselves."""
    return params


@pytest.mark.parametrize("name", HIERARCHICAL)
def test_hierarchical_trajectory(name: str) -> None:
    """Losses, first gradient, weights, end tensor, norms and spectra of one file."""
    golden = golden_files.read(located(name))
    loss = stored_loss(golden)
    start = golden_files.factors(golden, "init")
    steps = golden_files.steps(golden.arrays)

    assert_weights(jax.grad(loss)(start), golden_files.factors(golden, "grad0"))
    found, losses = descend_to(start, loss, stored_optimizer(golden.meta), steps)
    assert_close(losses, golden.arrays["losses"])
    for step, factors in found.items():
        assert_weights(factors, golden_files.factors(golden, f"step{step}"))
        assert_metrics(factors, golden, f"step{step}/metric/")
    if golden.meta["pattern"] == "checkerboard":
        assert_close(htf.end_tensor(found[steps[-1]]), golden.arrays["final_tensor"])
    else:  # stored with the modes in the order in which the tree pools them
        tensor = htf.end_tensor(found[steps[-1]])
        assert_close(tensor.transpose(golden.levels[-1][0]), golden.arrays["final_tensor"])


def test_matrix_trajectory() -> None:
    """Depth-3 matrix factorization: losses, product and singular values."""
    arrays, meta = golden_files.read_arrays(located("mf_depth3.npz"))
    tree = htf.ModeTree.from_nested(((0,), 1))
    w0, w1, w2 = (jnp.asarray(arrays[f"init/{i}"]) for i in range(3))
    start = htf.Factors(tree=tree, weights=(w0, w2.T, w1, None))
    found, losses = descend_to(
        start, entries_loss(tree, arrays), rms(meta), golden_files.steps(arrays)
    )
    assert_close(losses, arrays["losses"])
    for step, factors in found.items():
        assert_close(htf.end_tensor(factors), arrays[f"step{step}/matrix"])
        values = htf.singular_values(factors, (0,))
        assert_close(values, arrays[f"step{step}/singular_values"])


def test_cp_trajectory() -> None:
    """CP factorization with a root of ones: losses, factors and component norms."""
    arrays, meta = golden_files.read_arrays(located("cp_order3.npz"))
    tree = htf.flat(3)
    weights = [jnp.asarray(arrays[f"init/{i}"]) for i in range(3)]
    start = htf.Factors(tree=tree, weights=(*weights, None))
    found, losses = descend_to(
        start, entries_loss(tree, arrays), rms(meta), golden_files.steps(arrays)
    )
    assert_close(losses, arrays["losses"])
    for step, factors in found.items():
        for mode in range(3):
            assert_close(factors.weights[mode], arrays[f"step{step}/factor{mode}"])
        norms = htf.local_component_norms(factors)[tree.root]
        wanted = arrays[f"step{step}/component_norms"]
        assert_close(np.sort(norms), np.sort(wanted))


def stored_loss(golden: golden_files.Golden) -> Any:
    """The loss that a hierarchical file was made with."""
    targets = golden.arrays["targets"]
    if golden.meta["task"] == "sensing":
        return htf.sensing_loss(list(np.moveaxis(golden.arrays["inputs"], 1, 0)), targets)
    dims = golden.meta["dims"]
    return htf.completion_loss(golden.tree, dims, golden.arrays["indices"], targets)


def entries_loss(tree: htf.ModeTree, arrays: dict[str, np.ndarray]) -> Any:
    """Completion of a dense target from flat row-major indices."""
    target = arrays["target"]
    indices = np.stack(np.unravel_index(arrays["observed"], target.shape), axis=1)
    values = target.ravel()[arrays["observed"]]
    return htf.completion_loss(tree, target.shape, indices, values)


def stored_optimizer(meta: dict[str, Any]) -> Any:
    """The optimizer that a hierarchical file was made with."""
    return rms(meta) if meta["opt"] == "rms" else optax.sgd(meta["lr"])


def rms(meta: dict[str, Any]) -> Any:
    """GroupRMSprop with stored settings."""
    return htf.group_rmsprop(meta["lr"], meta["alpha"], meta["eps"])


def assert_weights(found: htf.Factors, wanted: htf.Factors) -> None:
    """Every matrix agrees."""
    for a, b in zip(found.weights, wanted.weights, strict=True):
        assert_close(a, b)


def assert_metrics(factors: htf.Factors, golden: golden_files.Golden, prefix: str) -> None:
    """Every stored norm, and the spectra where their modes are those of the tensor."""
    norms = htf.local_component_norms(factors)
    columns = htf.weight_vector_norms(factors)
    spectra: dict[tuple[int, ...], Any] = {}
    seen = 0
    for name, value in golden.arrays.items():
        if not name.startswith(prefix):
            continue
        metric = name.removeprefix(prefix)
        if match := re.fullmatch(r"l_(\d+)_f_([\d_]+)_top_(\d+)_local_comp_norm", metric):
            child = golden.nodes[f"layer{match[1]}_{match[2].split('_')[0]}"]
            found = np.sort(norms[golden.tree.parent[child]])[::-1][int(match[3])]
        elif match := re.fullmatch(r"l_(\d+)_f_(\d+)_top_(\d+)_wv_norm", metric):
            node = golden.nodes[f"layer{match[1]}_{match[2]}"]
            found = np.sort(columns[node])[::-1][int(match[3])]
        elif golden.meta["pattern"] != "checkerboard":
            continue
        elif match := re.fullmatch(r"mat_([\d_]+)_(sing_val_(\d+)|eff_rank)", metric):
            modes = tuple(map(int, match[1].split("_")))
            if modes not in spectra:
                spectra[modes] = htf.singular_values(factors, modes)
            s = spectra[modes]
            found = htf.effective_rank(s, 0.0) if match[3] is None else s[int(match[3])]
        else:
            raise AssertionError(f"unknown metric {metric}")
        np.testing.assert_allclose(found, value, rtol=RELATIVE, atol=1e-12)
        seen += 1
    assert seen > 20
