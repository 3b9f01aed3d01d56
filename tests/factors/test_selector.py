"""Selectors in place of the matrices of fixed nodes."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax import formats

TREE = htf.as_tree(((0, 1), 2))


def factors() -> htf.Factors:
    """A tensor in transfer tensors, random."""
    start = htf.gaussian_factors(jax.random.key(0), TREE, (3, 4, 2), 2, 1.0)
    return formats.from_transfer_tensors(formats.to_transfer_tensors(start))


def written_out(held: htf.Factors) -> htf.Factors:
    """The same with matrices of zeros and ones."""
    weights = tuple(
        w.matrix("float64") if isinstance(w, htf.Selector) else w for w in held.weights
    )
    return htf.Factors(weights, held.tree, held.fixed)


def test_a_selector_is_its_matrix() -> None:
    selector = htf.Selector(3, (2, 0, 2, 1))
    matrix = np.zeros((3, 4))
    matrix[[2, 0, 2, 1], range(4)] = 1
    assert np.array_equal(selector.matrix("float64"), matrix)
    assert selector.shape == (3, 4)
    assert selector == htf.Selector(3, [2, 0, 2, 1])  # pyright: ignore
    assert selector != htf.Selector(4, (2, 0, 2, 1))
    assert jax.tree.leaves(selector) == []
    assert repr(selector) == "selector[3,4]"


@pytest.mark.slow
def test_everything_is_as_with_matrices() -> None:
    """Values, instruments, gradients, descent: to rounding, most of it bit for bit."""
    held, dense = factors(), written_out(factors())
    indices = htf.random_indices(jax.random.key(1), (3, 4, 2), 10)
    loss = htf.completion_loss(held.tree, (3, 4, 2), indices, np.linspace(-1, 1, 10))

    def all_of(f: htf.Factors) -> Any:
        return (
            htf.end_tensor(f),
            htf.entries(f, indices),
            htf.squared_norm(f),
            htf.singular_values(f, (0, 1)),
            htf.local_component_norms(f)[f.tree.root],
            htf.collapse_chains(htf.Factors(f.weights, f.tree, tuple(range(8)))).weights[0],
            loss(f),
            jax.grad(loss)(f).weights[0],
            htf.end_tensor(htf.group(f)),
            htf.descend(f, loss, htf.group_rmsprop(1e-2), num_steps=4, record_every=2)[1],
        )

    pairs = zip(*map(jax.tree.leaves, (all_of(held), all_of(dense))), strict=True)
    for one, other in pairs:
        assert np.allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_descent_keeps_selectors_and_states() -> None:
    held = factors()
    loss = htf.population_loss(factors())
    final, _ = htf.descend(held, loss, htf.group_rmsprop(1e-2), num_steps=2, record_every=2)
    assert final.fixed == held.fixed
    for k in held.fixed:
        assert final.weights[k] == held.weights[k]


def test_files_hold_the_lists(tmp_path: Path) -> None:
    held = factors()
    htf.save_factors(tmp_path / "held.npz", held)
    back = htf.load_factors(tmp_path / "held.npz")
    assert back.fixed == held.fixed
    assert back.tree == held.tree
    for one, other in zip(back.weights, held.weights, strict=True):
        if isinstance(other, htf.Selector):
            assert one == other
        else:
            assert np.array_equal(one, other)


def test_what_is_refused() -> None:
    held = factors()
    with pytest.raises(ValueError, match=r"`fixed` lacks the nodes \[3, 4.*selectors"):
        htf.end_tensor(htf.Factors(held.weights, held.tree))
    only = (htf.Selector(2, (0,)), htf.Selector(2, (1,)), htf.Selector(1, (0,)))
    with pytest.raises(TypeError, match="`weights` are selectors only"):
        htf.end_tensor(htf.Factors(only, htf.flat(2), (0, 1, 2)))
    weights = list(held.weights)
    place = held.fixed[0]
    weights[place] = htf.Selector(5, (0,) * held.weights[place].shape[1])
    with pytest.raises(ValueError, match="has shape"):
        htf.end_tensor(htf.Factors(tuple(weights), held.tree, held.fixed))
    for picks in ((), (3,), (-1,), (0.5,), "01"):
        with pytest.raises((TypeError, ValueError), match="`picks"):
            htf.Selector(3, picks)  # pyright: ignore
    assert jnp.isfinite(htf.squared_norm(held))
