"""Wrong calls of instruments: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import mistakes
from tests.mistakes import completion, factors, masked, with_weight

MISTAKES = [
    # Instruments
    ("unbalanced_kind", lambda: htf.unbalancedness(factors(), kind="chains"),
     ValueError, "`kind='chains'` 'components' 'matrix'"),
    ("unbalanced_no_chain", lambda: htf.unbalancedness(factors(), kind="matrix"),
     ValueError, "`kind='matrix'` one-child kind='components'"),
    ("values_method", lambda: htf.singular_values(factors(), 4, method="fast"),
     ValueError, "`method='fast'` 'auto'"),
    ("values_node", lambda: htf.singular_values(factors(), 7),
     ValueError, "`node_or_modes=7` 0..6"),
    ("values_negative_node", lambda: htf.singular_values(factors(), -1),
     ValueError, "`node_or_modes=-1`"),
    ("values_float_node", lambda: htf.singular_values(factors(), 4.0),
     TypeError, "`node_or_modes` 4.0"),
    ("values_mode", lambda: htf.singular_values(factors(), (0, 4)),
     ValueError, "`node_or_modes=(0, 4)` order 4 0 and 3"),
    ("values_mode_twice", lambda: htf.singular_values(factors(), (1, 1)),
     ValueError, "`node_or_modes=(1, 1)` distinct"),
    ("matricize_mode", lambda: htf.matricize(jnp.ones((2, 3)), (2,)),
     ValueError, "`row_modes=(2,)` order 2"),
    ("matricize_int", lambda: htf.matricize(jnp.ones((2, 3)), 1), TypeError, "`row_modes"),
    # Masked arrays
    ("masked_singular_values", lambda: htf.effective_rank(masked([2.0, 1.0])),
     TypeError, "`s` masked"),
    ("masked_tensor", lambda: htf.matricize(masked(np.ones((2, 3))), (0,)),
     TypeError, "`tensor` masked"),
    # What is no real number
    ("complex_ranks", lambda: htf.effective_rank(jnp.array([2.0, 1.0 + 1j])),
     TypeError, "`s` real complex128"),
    ("complex_entropy", lambda: htf.entanglement_entropy(np.array([2.0, 1j])),
     TypeError, "`s` real complex128"),
    # What a dtype does not hold
    ("spectra_in_bfloat16", lambda: htf.spectra(factors(dtype=jnp.bfloat16)),
     TypeError, "`factors` bfloat16 float32"),
    # Factors
    ("other_factors", lambda: htf.distance(factors(), factors().weights),
     TypeError, "`other` htfjax.Factors tuple"),
    ("other_weight", lambda: htf.inner_product(factors(), with_weight(1, jnp.ones(3))),
     ValueError, "`other.weights[1]` matrix (3,)"),
    ("other_tree", lambda: htf.distance(factors(), factors(htf.interleaved(4))),
     ValueError, "`one` `other` one tree"),
    # Words
    ("precision_number", lambda: htf.squared_norm(factors(), precision=3),
     TypeError, "`precision=3` 'highest'"),
    # Losses that were given
    ("loss_of_a_vector", lambda: htf.growth_rates(factors(), lambda f: f.weights[0][0]),
     TypeError, "`loss` floating scalar (2,)"),
    # Ranks
    ("error_nan", lambda: htf.rank_within([2.0, 1.0], np.nan),
     ValueError, "`error=nan` finite"),
    ("error_negative", lambda: htf.rank_within([2.0, 1.0], -1),
     ValueError, "`error=-1` zero or more"),
    ("error_of_an_array", lambda: htf.rank_within([2.0, 1.0], np.array([0.1, -0.1])),
     ValueError, "`error[1]` -0.1 zero or more"),
    ("ascending", lambda: htf.rank_within([1.0, 2.0], 0.1), ValueError, "`s` descending"),
    ("negative_values", lambda: htf.numerical_rank([1.0, -2.0]),
     ValueError, "`s` negative"),
    ("no_values", lambda: htf.effective_rank([]), ValueError, "`s` (0,) (..., K)"),
    ("one_value", lambda: htf.effective_rank(1.0), ValueError, "`s` () (..., K)"),
    ("rtol_nan", lambda: htf.numerical_rank([2.0, 1.0], np.nan),
     ValueError, "`rtol=nan` finite"),
    ("floor_negative", lambda: htf.effective_rank([2.0, 1.0], -1e-3),
     ValueError, "`floor=-0.001` zero or more"),
    ("floor_true", lambda: htf.entanglement_entropy([2.0, 1.0], True),
     TypeError, "`floor` number True"),
    ("hierarchical_rtol",
     lambda: htf.hierarchical_rank(factors(), rtol=np.nan, method="dense"),
     ValueError, "`rtol=nan` finite"),
    ("accuracy_nan", lambda: htf.spectrum(factors(), 4, accuracy=np.nan),
     ValueError, "`accuracy=nan` finite"),
    ("node_word", lambda: htf.singular_values(factors(), "root"),
     TypeError, "`node_or_modes` integer 'root'"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


def test_shapes_and_dtypes_are_checked_under_jit():
    with pytest.raises(TypeError, match="`s` must be real numbers, got complex64"):
        jax.eval_shape(htf.effective_rank, jax.ShapeDtypeStruct((3,), jnp.complex64))
    with pytest.raises(ValueError, match=r"`s` has shape \(\)"):
        jax.eval_shape(htf.effective_rank, jax.ShapeDtypeStruct((), jnp.float32))
    with pytest.raises(TypeError, match="`vectors` must be real"):
        jax.eval_shape(htf.sense, factors(), jax.ShapeDtypeStruct((4, 2, 3), jnp.complex64))
    with pytest.raises(TypeError, match="`key` must be a typed key"):
        jax.eval_shape(htf.minibatch_loss(completion(), 1), factors(), jnp.zeros(2))
