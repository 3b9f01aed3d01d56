"""What instruments return for stacks: a mapping that is one array per group."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import htfjax as htf

TREE = htf.perfect(4)
FACTORS = htf.gaussian_factors(jax.random.key(0), TREE, 3, 4, 0.5)
GROUPED = htf.group(FACTORS)


def test_reads_like_a_dict() -> None:
    """Nodes ascending; equal to what single matrices give."""
    found, wanted = map(htf.local_component_norms, (GROUPED, FACTORS))
    assert isinstance(found, htf.NodeValues)
    assert list(found) == sorted(wanted)
    assert len(found) == len(wanted) == 3
    assert 6 in found
    assert 0 not in found
    with pytest.raises(KeyError, match="99"):
        found[99]
    for v, norms in found.items():
        np.testing.assert_allclose(norms, wanted[v], rtol=1e-12)


@pytest.mark.slow
def test_one_array_per_group() -> None:
    """Two levels of components; spectra have values and accuracy at two levels."""
    norms = jax.jit(htf.local_component_norms)(GROUPED)
    assert [x.shape for x in jax.tree.leaves(norms)] == [(2, 4), (1, 4)]
    spectra = htf.spectra(GROUPED, method="gram")
    assert len(jax.tree.leaves(spectra)) == 2 * 2
    assert {s.route for s in spectra.values()} == {"gram"}


@pytest.mark.slow
def test_lanes_stay_in_front() -> None:
    """vmap puts an axis before the nodes; reading a node keeps it."""
    starts = jax.vmap(lambda key: htf.group(htf.gaussian_factors(key, TREE, 3, 4, 0.5)))(
        jax.random.split(jax.random.key(1), 5)
    )
    single = jax.jit(lambda f: htf.spectra(f, method="gram"))
    found = jax.jit(jax.vmap(single))(starts)
    for lane in range(5):
        start = jax.tree.map(lambda x, lane=lane: x[lane], starts)
        wanted = single(start)
        for v in wanted:
            np.testing.assert_allclose(found[v].values[lane], wanted[v].values, rtol=1e-6)
            assert found[v].accuracy.shape == (5,)


@pytest.mark.slow
def test_recorded_along_a_descent() -> None:
    """Times come first: records of stacks equal those of single matrices."""
    indices = np.random.default_rng(0).integers(0, 3, (20, 4))
    loss = htf.completion_loss(TREE, 3, indices, jnp.ones(20))
    recorded = []
    for start in (GROUPED, FACTORS):
        _, trajectory = htf.descend(
            start, loss, optax.sgd(0.1), num_steps=6, record_every=2,
            observe=htf.local_component_norms,
        )  # fmt: skip
        recorded.append(trajectory.observed)
    for v, norms in recorded[0].items():
        assert norms.shape == (4, 4)
        np.testing.assert_allclose(norms, recorded[1][v], rtol=1e-10)
