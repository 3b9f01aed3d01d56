"""Wrong starts and malformed factors: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests import mistakes
from tests.mistakes import TREE, factors, key, masked, with_weight

ENABLE = "jax_enable_x64"


def with_fixed(*nodes) -> htf.Factors:
    return dataclasses.replace(factors(), fixed=nodes)


def start(*args, **options):
    return htf.gaussian_factors(*args, **options)


def grouped() -> htf.GroupedFactors:
    return htf.group(factors())


MISTAKES = [
    # Starts
    ("key_int", lambda: start(0, TREE, 3, 2, 1.0), TypeError, "`key` jax.random.key 0"),
    ("key_none", lambda: start(None, TREE, 3, 2, 1.0), TypeError, "`key` None"),
    ("key_legacy", lambda: start(jax.random.PRNGKey(0), TREE, 3, 2, 1.0),
     TypeError, "`key` jax.random.key"),
    ("key_batch", lambda: start(jax.random.split(key(), 2), TREE, 3, 2, 1.0),
     (TypeError, ValueError), "`key` (2,) vmap"),
    ("start_tree", lambda: start(key(), ((0, 1), (2, 2)), 3, 2, 1.0),
     ValueError, "`tree=((0, 1), (2, 2))` [2]"),
    ("start_text", lambda: start(key(), "(0, 1), (2", 3, 2, 1.0),
     ValueError, "`tree='(0, 1), (2'` ((0, 1), (2, 3))"),
    ("dim_zero", lambda: start(key(), TREE, (3, 0, 3, 3), 2, 1.0),
     ValueError, "`mode_dims=0`"),
    ("dim_float", lambda: start(key(), TREE, 3.0, 2, 1.0), TypeError, "`mode_dims` 3.0"),
    ("dims_short", lambda: start(key(), TREE, (3, 3), 2, 1.0),
     ValueError, "`mode_dims=(3, 3)` 2 4 modes"),
    ("width_zero", lambda: start(key(), TREE, 3, 0, 1.0),
     ValueError, "`widths=0` at least 1"),
    ("width_float", lambda: start(key(), TREE, 3, 2.0, 1.0), TypeError, "`widths` 2.0"),
    ("widths_many", lambda: start(key(), TREE, 3, (2,) * 7, 1.0),
     ValueError, "`widths=(2, 2, 2, 2, 2, 2, 2)` 7 interior node (3) height (2)"),
    ("std_negative", lambda: start(key(), TREE, 3, 2, -1.0), ValueError, "`std=-1.0` zero"),
    ("std_nan", lambda: start(key(), TREE, 3, 2, np.nan), ValueError, "`std=nan` finite"),
    ("std_none", lambda: start(key(), TREE, 3, 2, None), TypeError, "`std None number"),
    ("std_text", lambda: start(key(), TREE, 3, 2, "1.0"), TypeError, "`std 1.0 number"),
    ("std_array", lambda: start(key(), TREE, 3, 2, np.ones(2)),
     (TypeError, ValueError), "`std"),
    ("root_word", lambda: start(key(), TREE, 3, 2, 1.0, root="one"),
     ValueError, "`root='one'` 'trained' 'ones'"),
    ("dtype_int", lambda: start(key(), TREE, 3, 2, 1.0, dtype=int),
     TypeError, "`dtype floating"),
    ("scale_negative", lambda: htf.balanced_factors(key(), TREE, 3, 2, -1.0),
     ValueError, "`scale=-1.0`"),
    ("identity_scale", lambda: htf.identity_factors(TREE, 3, 2, -1.0),
     ValueError, "`scale=-1.0`"),
    # Malformed factors
    ("factors_tuple", lambda: htf.end_tensor(factors().weights),
     TypeError, "`factors` htfjax.Factors tuple"),
    ("factors_tree",
     lambda: htf.end_tensor(dataclasses.replace(factors(), tree=((0, 1), (2, 3)))),
     TypeError, "`tree` ModeTree"),
    ("weights_short",
     lambda: htf.end_tensor(dataclasses.replace(factors(), weights=factors().weights[1:])),
     ValueError, "`weights` 6 matrices 7 nodes"),
    ("weight_missing", lambda: htf.end_tensor(with_weight(1, None)),
     ValueError, "`weights[1]` None root"),
    ("weight_vector", lambda: htf.end_tensor(with_weight(1, jnp.ones(3))),
     ValueError, "`weights[1]` matrix (3,)"),
    ("weight_columns", lambda: htf.end_tensor(with_weight(1, jnp.ones((3, 5)))),
     ValueError, "`weights[1]` (3, 5) (3, 2) node 4"),
    ("weight_rows_inside", lambda: htf.end_tensor(with_weight(4, jnp.ones((5, 2)))),
     ValueError, "`weights[0]` (3, 2) (3, 5) node 4"),
    ("weight_root", lambda: htf.end_tensor(with_weight(6, jnp.ones((2, 2)))),
     ValueError, "`weights[6]` (2, 2) root one column"),
    ("weight_empty", lambda: htf.end_tensor(with_weight(1, jnp.ones((0, 2)))),
     ValueError, "`weights[1]` empty (0, 2)"),
    ("weights_mixed", lambda: htf.end_tensor(with_weight(1, jnp.ones((3, 2), jnp.float32))),
     TypeError, "`weights` float32 float64 one"),
    ("weights_int",
     lambda: htf.end_tensor(jax.tree.map(lambda w: w.astype(int), factors())),
     TypeError, "`weights` floating int64"),
    ("fixed_unknown", lambda: htf.end_tensor(with_fixed(0, 7)),
     ValueError, "`fixed` [7] 0..6"),
    ("fixed_negative", lambda: htf.end_tensor(with_fixed(-1)),
     ValueError, "`fixed` [-1] 0..6"),
    ("fixed_bare_int", lambda: htf.end_tensor(dataclasses.replace(factors(), fixed=0)),
     TypeError, "`fixed"),
    # Chains
    (
        "collapse_part",
        lambda: htf.collapse_chains(
            dataclasses.replace(
                factors(htf.ModeTree.from_nested((((0, 1),), 2))), fixed=(3,)
            )
        ),
        ValueError,
        "`fixed` [[3, 4]]",
    ),
    # Masked arrays
    ("masked_weight", lambda: htf.end_tensor(with_weight(1, masked(np.ones((3, 2))))),
     TypeError, "`weights[1]` masked filled"),
    ("masked_number", lambda: htf.gaussian_factors(key(), TREE, 3, 2, np.ma.masked),
     TypeError, "`std` number"),
    # What a dtype does not hold
    ("std_overflow",
     lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1e300, dtype=jnp.float32),
     ValueError, "`std=1e+300` inf float32"),
    ("std_underflow",
     lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1e-50, dtype=jnp.float32),
     ValueError, "`std=1e-50` 0.0 float32"),
    ("mean_nan", lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, mean=np.nan),
     ValueError, "`mean=nan` finite"),
    ("mean_word", lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, mean="0"),
     TypeError, "`mean` number '0'"),
    # Dtypes
    ("dtype_word", lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, dtype="x"),
     TypeError, "`dtype='x'` floating"),
    # Factors
    ("widths_of_none", lambda: htf.widths(None),
     TypeError, "`factors` htfjax.Factors NoneType"),
    ("dims_of_a_tree", lambda: htf.mode_dims(TREE),
     TypeError, "`factors` htfjax.Factors ModeTree"),
    ("widths_malformed", lambda: htf.widths(with_weight(1, jnp.ones((3, 5)))),
     ValueError, "`weights[1]` (3, 5)"),
    ("weights_none", lambda: htf.end_tensor(dataclasses.replace(factors(), weights=None)),
     TypeError, "`weights` tuple NoneType"),
    ("weight_big_endian", lambda: htf.end_tensor(with_weight(1, np.ones((3, 2), ">f8"))),
     TypeError, "`weights[1]` byte order astype"),
    ("ungroup_few", lambda: htf.ungroup(dataclasses.replace(grouped(), stacks=())),
     ValueError, "`stacks` 0 3 groups"),
    (
        "grouped_twice",
        lambda: htf.end_tensor(
            dataclasses.replace(grouped(), groups=((0, 1, 2, 3), (4, 5), (5,)))
        ),
        ValueError,
        "`groups` every node 0..6 once",
    ),
    ("fixed_part_of_a_group",
     lambda: htf.end_tensor(dataclasses.replace(grouped(), fixed=(0,))),
     ValueError, "`fixed` splits (0, 1, 2, 3)"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


def test_node_values_are_a_mapping():
    norms = htf.NodeValues(stacks=(jnp.ones((2, 3)),), axes=((1,),), groups=((4, 5),))
    for node in (0, -1, 99, "4", 4.5, None):
        assert node not in norms
        with pytest.raises(KeyError, match="`node"):
            norms[node]
    with pytest.raises(KeyError, match=r"`tree\.modes\.index\(\(0, 1\)\)` is the node"):
        norms[(0, 1)]
    with pytest.raises(KeyError, match=r"`node=3` has no value here; nodes are 4 to 5\."):
        norms[3]
    assert np.int64(4) in norms


@pytest.mark.parametrize(
    "start",
    [
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, dtype=jnp.float64),
        lambda: htf.balanced_factors(key(), TREE, 3, 2, 1.0, dtype="float64"),
        lambda: htf.identity_factors(TREE, 3, 2, 1.0, dtype=np.dtype(np.float64)),
        lambda: htf.random_vectors(key(), (3, 3), 2, dtype=jnp.float64),
        lambda: htf.random_matrices(key(), 3, 2, dtype=np.float64),
    ],
)
def test_float64_says_how_to_enable_it(start):
    with jax.enable_x64(False), pytest.raises(ValueError, match=f"`dtype=.*{ENABLE}"):
        start()


def test_weights_in_float64_are_float32_without_x64():
    held = jax.tree.map(np.asarray, factors())
    with jax.enable_x64(False):
        assert htf.end_tensor(held).dtype == jnp.float32
        assert htf.local_component_norms(held)[6].dtype == jnp.float32


def test_sound_factors_are_checked_once():
    held = factors()
    htf.end_tensor(held)
    assert dataclasses.replace(held, weights=None).__dict__.get("layout") is None
    with pytest.raises(TypeError, match="`weights`"):
        htf.end_tensor(dataclasses.replace(held, weights=None))
    assert jax.tree.structure(held) == jax.tree.structure(factors())
