"""Wrong indices, vectors and plans: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import mistakes
from tests.mistakes import INDICES, TREE, VECTORS, factors, indices_with, key, masked

RATES = htf.Rates(1e11, 1e10, 2e9, 1e-6)


def plan(**options) -> htf.Plan:
    given = {"tree": TREE, "mode_dims": 3, "widths": (2, 2, 2), "batch": 2, "rates": RATES}
    return htf.contraction_plan(**(given | options))


MISTAKES = [
    # Entries and sensing
    ("index_high", lambda: htf.entries(factors(), indices_with(3)),
     ValueError, "`indices[1, 2]` is 3 mode 2 dimension 3 0 to 2"),
    ("index_negative", lambda: htf.entries(factors(), indices_with(-1)),
     ValueError, "`indices[1, 2]` is -1 0 to 2"),
    ("index_beyond_int32", lambda: htf.entries(factors(), indices_with(2**32)),
     ValueError, "`indices[1, 2]` is 4294967296"),
    ("index_of_jax", lambda: htf.entries(factors(), jnp.asarray(indices_with(3))),
     ValueError, "`indices[1, 2]` is 3"),
    ("index_float", lambda: htf.entries(factors(), INDICES.astype(float)),
     TypeError, "`indices` integers float64"),
    ("index_bool", lambda: htf.entries(factors(), INDICES > 0),
     TypeError, "`indices` integers bool"),
    ("index_modes", lambda: htf.entries(factors(), INDICES[:, :3]),
     ValueError, "`indices` (2, 3) (B, 4) 4 modes"),
    ("index_vector", lambda: htf.entries(factors(), INDICES[0]),
     ValueError, "`indices` (4,) (B, 4)"),
    ("index_ragged", lambda: htf.entries(factors(), [[0, 1, 2, 0], [1]]),
     ValueError, "`indices` rectangular"),
    ("sense_batch_first", lambda: htf.sense(factors(), jnp.ones((2, 4, 3))),
     ValueError, "`vectors` (2, 4, 3) (N, B, D) (4, B, 3) moveaxis"),
    ("sense_generator", lambda: htf.sense(factors(), (x for x in VECTORS)),
     TypeError, "`vectors` list per mode generator"),
    (
        "sense_array_unequal_dims",
        lambda: htf.sense(
            htf.gaussian_factors(key(), htf.flat(2), (2, 3), 2, 1.0), np.ones((2, 5, 3))
        ),
        ValueError,
        "`vectors` (2, 5, 3) (2, 3) list",
    ),
    ("sense_few", lambda: htf.sense(factors(), VECTORS[:3]),
     ValueError, "`vectors` 3 arrays 4 modes"),
    ("sense_shape", lambda: htf.sense(factors(), [*VECTORS[:3], np.ones((2, 4))]),
     ValueError, "`vectors[3]` (2, 4) (2, 3)"),
    ("sense_batch", lambda: htf.sense(factors(), [*VECTORS[:3], np.ones((1, 3))]),
     ValueError, "`vectors[3]` (1, 3) (2, 3)"),
    ("dense_too_large",
     lambda: htf.end_tensor(htf.gaussian_factors(key(), htf.flat(64), 4, 1, 1.0)),
     ValueError, "end tensor entries sense"),
    # Masked arrays
    ("masked_indices", lambda: htf.entries(factors(), masked(INDICES)),
     TypeError, "`indices` masked"),
    ("masked_sense", lambda: htf.sense(factors(), [masked(VECTORS[0]), *VECTORS[1:]]),
     TypeError, "`vectors[0]` masked"),
    # What is no real number
    ("complex_sense", lambda: htf.sense(factors(), [x + 0j for x in VECTORS]),
     TypeError, "`vectors[0]` real complex128"),
    # What a dtype does not hold
    ("vectors_beyond_float32",
     lambda: htf.sense(factors(dtype=jnp.float32), [1e300 * x for x in VECTORS]),
     ValueError, "`vectors[0][0, 0]` 1e+300 float32"),
    # Plans
    ("plan_widths", lambda: plan(widths=(3,) * 6),
     ValueError, "`widths=(3, 3, 3, 3, 3, 3)` 6 interior node (3)"),
    ("plan_batch", lambda: plan(batch=-1), ValueError, "`batch=-1` at least 0"),
    ("plan_tree", lambda: plan(tree=4), TypeError, "`tree` ModeTree"),
    ("plan_distinct", lambda: plan(distinct=(1, 2)), ValueError, "`distinct` 2 counts 7"),
    ("plan_masked", lambda: plan(masked=1), TypeError, "`masked` True or False"),
    ("plan_rates", lambda: plan(rates=1e9), TypeError, "`rates` Rates platform_rates"),
    ("plan_platform", lambda: plan(rates=None, platform="rocm"),
     ValueError, "`platform='rocm'` 'cpu' 'cuda' 'tpu' rates"),
    ("rates_platform", lambda: htf.platform_rates(None),
     TypeError, "`platform=None` 'cpu' 'cuda' 'tpu' rates"),
    ("plan_force", lambda: plan(force="fast"), ValueError, "`force='fast'` table"),
    ("rates_negative", lambda: htf.Rates(-1, 1, 1, 1), ValueError, "`flops=-1` above zero"),
    ("rates_nan", lambda: htf.Rates(1e9, np.nan, 1, 1),
     ValueError, "`stream_bytes=nan` finite"),
    ("rates_word", lambda: htf.Rates(1, 1, "x", 1), TypeError, "`gather_bytes` number 'x'"),
    ("plan_of_other_data", lambda: htf.entries(factors(), INDICES, plan=plan(batch=9)),
     ValueError, "`plan` 9 indices 2"),
    ("plan_word", lambda: htf.entries(factors(), INDICES, plan="auto"),
     TypeError, "`plan` Plan contraction_plan 'auto'"),
    ("plan_changed", lambda: dataclasses.replace(plan(), routes=("x",) * 6),
     ValueError, "`routes='x'` table"),
    ("plan_node", lambda: plan().width(99), ValueError, "`node=99` 0..6"),
    ("plan_explain", lambda: plan().explain(3), ValueError, "`measured` seconds 7 nodes"),
    # Words
    ("precision_word", lambda: htf.end_tensor(factors(), precision="exact"),
     ValueError, "`precision='exact'` 'highest'"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


@pytest.mark.parametrize("indices", [jnp.array([[9, 0, 0, 0]]), jnp.array([[-1, 0, 0, 0]])])
def test_traced_indices_are_not_checked(indices):
    assert jax.jit(htf.entries)(factors(), indices).shape == (1,)


def test_static_mistakes_are_found_while_tracing():
    with pytest.raises(ValueError, match=r"`indices` has shape \(2, 3\)"):
        jax.eval_shape(htf.entries, factors(), jax.ShapeDtypeStruct((2, 3), jnp.int32))
    with pytest.raises(TypeError, match="`indices` must be integers"):
        jax.eval_shape(htf.entries, factors(), jax.ShapeDtypeStruct((2, 4), jnp.float32))
