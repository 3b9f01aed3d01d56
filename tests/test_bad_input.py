"""What wrong input is answered with: the argument, what was given, what to do.

One row per mistake: a call, the exception, and words that its message must hold. Words
are plain text, not patterns.
"""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf

TREE = htf.perfect(4)
DIMS = (3, 3, 3, 3)
INDICES = np.array([[0, 1, 2, 0], [2, 2, 2, 2]])
TARGETS = np.array([1.0, -1.0])
VECTORS = [np.ones((2, 3))] * 4
OPTIMIZER = htf.group_rmsprop(1e-2)


def key():
    return jax.random.key(0)


def factors(tree: htf.ModeTree = TREE, **options) -> htf.Factors:
    return htf.gaussian_factors(key(), tree, 3, 2, 1.0, **options)


def with_weight(k: int, weight) -> htf.Factors:
    weights = list(factors().weights)
    weights[k] = weight
    return dataclasses.replace(factors(), weights=tuple(weights))


def with_fixed(*nodes) -> htf.Factors:
    return dataclasses.replace(factors(), fixed=nodes)


def start(*args, **options):
    return htf.gaussian_factors(*args, **options)


def completion(indices=INDICES, targets=TARGETS, tree=TREE, dims=DIMS, **options):
    return htf.completion_loss(tree, dims, indices, targets, **options)


def indices_with(value) -> np.ndarray:
    changed = INDICES.copy()
    changed[1, 2] = value
    return changed


def square(x):
    return jnp.sum(jnp.square(x))


def descend(num_steps=4, record_every=2, loss=square, params=None, **options):
    params = jnp.ones(2) if params is None else params
    return htf.descend(
        params, loss, OPTIMIZER, num_steps=num_steps, record_every=record_every, **options
    )


def proceed(loss=square, **options):
    state = htf.start_descent(jnp.ones(2), OPTIMIZER)
    return htf.continue_descent(
        state, loss, OPTIMIZER, num_steps=4, record_every=2, **options
    )


def in_chunks(num_steps=4, record_every=1, chunk_steps=2):
    state = htf.start_descent(jnp.ones(2), OPTIMIZER)
    return list(
        htf.descend_in_chunks(
            state,
            square,
            OPTIMIZER,
            until_step=num_steps,
            record_every=record_every,
            chunk_steps=chunk_steps,
        )
    )


MISTAKES = [
    # Trees
    ("tree_int", lambda: htf.ModeTree.from_nested(0), TypeError, "`nested` tuple `(0,)`"),
    ("tree_str", lambda: htf.ModeTree.from_nested("01"), TypeError, "`nested` '01'"),
    ("tree_float", lambda: htf.ModeTree.from_nested((0, 1.0)), TypeError, "`nested` 1.0"),
    ("tree_bool", lambda: htf.ModeTree.from_nested((False, True)), TypeError, "`nested`"),
    ("tree_none", lambda: htf.ModeTree.from_nested((0, None)), TypeError, "`nested` None"),
    ("tree_empty", lambda: htf.ModeTree.from_nested(()), ValueError, "`nested` empty"),
    ("tree_hole", lambda: htf.ModeTree.from_nested((0, ())), ValueError, "`nested` empty"),
    (
        "tree_repeat",
        lambda: htf.ModeTree.from_nested(((0, 1), (1, 2))),
        ValueError,
        "`nested` repeats [1] once",
    ),
    (
        "tree_missing",
        lambda: htf.ModeTree.from_nested(((0, 1), 3)),
        ValueError,
        "`nested` misses [2] 0..3",
    ),
    (
        "tree_negative",
        lambda: htf.ModeTree.from_nested((0, -1)),
        ValueError,
        "`nested -1 at least 0",
    ),
    (
        "children",
        lambda: htf.ModeTree(((), (), (0, 3))),
        ValueError,
        "`children` from_nested",
    ),
    (
        "children_words",
        lambda: htf.ModeTree(((), (), ("0", "1"))),
        (TypeError, ValueError),
        "`children`",
    ),
    ("flat_zero", lambda: htf.flat(0), ValueError, "`order=0` at least 1"),
    ("flat_float", lambda: htf.flat(2.0), TypeError, "`order` integer 2.0"),
    ("perfect_six", lambda: htf.perfect(6), ValueError, "`order=6` `arity=2` pooled"),
    ("pooled_pattern", lambda: htf.pooled(4, 2, "odd"), ValueError, "`pattern='odd'` half"),
    ("pooled_window", lambda: htf.pooled(4, 1), ValueError, "`window=1` at least 2"),
    ("pooled_levels", lambda: htf.pooled(4, (2,)), ValueError, "`window=(2,)` 2 nodes"),
    (
        "pooled_square",
        lambda: htf.pooled(5, 4, "square"),
        ValueError,
        "`pattern='square'` 5 nodes square_patches",
    ),
    ("patch_one", lambda: htf.square_patches(4, 1), ValueError, "`patch=1` at least 2"),
    # Starts
    ("key_int", lambda: start(0, TREE, 3, 2, 1.0), TypeError, "`key` jax.random.key 0"),
    ("key_none", lambda: start(None, TREE, 3, 2, 1.0), TypeError, "`key` None"),
    (
        "key_legacy",
        lambda: start(jax.random.PRNGKey(0), TREE, 3, 2, 1.0),
        TypeError,
        "`key` jax.random.key",
    ),
    (
        "key_batch",
        lambda: start(jax.random.split(key(), 2), TREE, 3, 2, 1.0),
        (TypeError, ValueError),
        "`key` (2,) vmap",
    ),
    (
        "start_tree",
        lambda: start(key(), ((0, 1), (2, 2)), 3, 2, 1.0),
        ValueError,
        "`tree=((0, 1), (2, 2))` [2]",
    ),
    (
        "start_text",
        lambda: start(key(), "(0, 1), (2", 3, 2, 1.0),
        ValueError,
        "`tree='(0, 1), (2'` ((0, 1), (2, 3))",
    ),
    (
        "dim_zero",
        lambda: start(key(), TREE, (3, 0, 3, 3), 2, 1.0),
        ValueError,
        "`mode_dims=0`",
    ),
    ("dim_float", lambda: start(key(), TREE, 3.0, 2, 1.0), TypeError, "`mode_dims` 3.0"),
    (
        "dims_short",
        lambda: start(key(), TREE, (3, 3), 2, 1.0),
        ValueError,
        "`mode_dims=(3, 3)` 2 4 modes",
    ),
    (
        "width_zero",
        lambda: start(key(), TREE, 3, 0, 1.0),
        ValueError,
        "`widths=0` at least 1",
    ),
    ("width_float", lambda: start(key(), TREE, 3, 2.0, 1.0), TypeError, "`widths` 2.0"),
    (
        "widths_many",
        lambda: start(key(), TREE, 3, (2,) * 7, 1.0),
        ValueError,
        "`widths=(2, 2, 2, 2, 2, 2, 2)` 7 interior node (3) height (2)",
    ),
    ("std_negative", lambda: start(key(), TREE, 3, 2, -1.0), ValueError, "`std=-1.0` zero"),
    ("std_nan", lambda: start(key(), TREE, 3, 2, np.nan), ValueError, "`std=nan` finite"),
    ("std_none", lambda: start(key(), TREE, 3, 2, None), TypeError, "`std None number"),
    ("std_text", lambda: start(key(), TREE, 3, 2, "1.0"), TypeError, "`std 1.0 number"),
    (
        "std_array",
        lambda: start(key(), TREE, 3, 2, np.ones(2)),
        (TypeError, ValueError),
        "`std",
    ),
    (
        "root_word",
        lambda: start(key(), TREE, 3, 2, 1.0, root="one"),
        ValueError,
        "`root='one'` 'trained' 'ones'",
    ),
    (
        "dtype_int",
        lambda: start(key(), TREE, 3, 2, 1.0, dtype=int),
        TypeError,
        "`dtype floating",
    ),
    (
        "scale_negative",
        lambda: htf.balanced_factors(key(), TREE, 3, 2, -1.0),
        ValueError,
        "`scale=-1.0`",
    ),
    (
        "identity_scale",
        lambda: htf.identity_factors(TREE, 3, 2, -1.0),
        ValueError,
        "`scale=-1.0`",
    ),
    # Malformed factors
    (
        "factors_tuple",
        lambda: htf.end_tensor(factors().weights),
        TypeError,
        "`factors` htfjax.Factors tuple",
    ),
    (
        "factors_tree",
        lambda: htf.end_tensor(dataclasses.replace(factors(), tree=((0, 1), (2, 3)))),
        TypeError,
        "`tree` ModeTree",
    ),
    (
        "weights_short",
        lambda: htf.end_tensor(
            dataclasses.replace(factors(), weights=factors().weights[1:])
        ),
        ValueError,
        "`weights` 6 matrices 7 nodes",
    ),
    (
        "weight_missing",
        lambda: htf.end_tensor(with_weight(1, None)),
        ValueError,
        "`weights[1]` None root",
    ),
    (
        "weight_vector",
        lambda: htf.end_tensor(with_weight(1, jnp.ones(3))),
        ValueError,
        "`weights[1]` matrix (3,)",
    ),
    (
        "weight_columns",
        lambda: htf.end_tensor(with_weight(1, jnp.ones((3, 5)))),
        ValueError,
        "`weights[1]` (3, 5) (3, 2) node 4",
    ),
    (
        "weight_rows_inside",
        lambda: htf.end_tensor(with_weight(4, jnp.ones((5, 2)))),
        ValueError,
        "`weights[0]` (3, 2) (3, 5) node 4",
    ),
    (
        "weight_root",
        lambda: htf.end_tensor(with_weight(6, jnp.ones((2, 2)))),
        ValueError,
        "`weights[6]` (2, 2) root one column",
    ),
    (
        "weight_empty",
        lambda: htf.end_tensor(with_weight(1, jnp.ones((0, 2)))),
        ValueError,
        "`weights[1]` empty (0, 2)",
    ),
    (
        "weights_mixed",
        lambda: htf.end_tensor(with_weight(1, jnp.ones((3, 2), jnp.float32))),
        TypeError,
        "`weights` float32 float64 one",
    ),
    (
        "weights_int",
        lambda: htf.end_tensor(jax.tree.map(lambda w: w.astype(int), factors())),
        TypeError,
        "`weights` floating int64",
    ),
    (
        "fixed_unknown",
        lambda: htf.end_tensor(with_fixed(0, 7)),
        ValueError,
        "`fixed` [7] 0..6",
    ),
    (
        "fixed_negative",
        lambda: htf.end_tensor(with_fixed(-1)),
        ValueError,
        "`fixed` [-1] 0..6",
    ),
    (
        "fixed_bare_int",
        lambda: htf.end_tensor(dataclasses.replace(factors(), fixed=0)),
        TypeError,
        "`fixed",
    ),
    # Entries and sensing
    (
        "index_high",
        lambda: htf.entries(factors(), indices_with(3)),
        ValueError,
        "`indices[1, 2]` is 3 mode 2 dimension 3 0 to 2",
    ),
    (
        "index_negative",
        lambda: htf.entries(factors(), indices_with(-1)),
        ValueError,
        "`indices[1, 2]` is -1 0 to 2",
    ),
    (
        "index_beyond_int32",
        lambda: htf.entries(factors(), indices_with(2**32)),
        ValueError,
        "`indices[1, 2]` is 4294967296",
    ),
    (
        "index_of_jax",
        lambda: htf.entries(factors(), jnp.asarray(indices_with(3))),
        ValueError,
        "`indices[1, 2]` is 3",
    ),
    (
        "index_float",
        lambda: htf.entries(factors(), INDICES.astype(float)),
        TypeError,
        "`indices` integers float64",
    ),
    (
        "index_bool",
        lambda: htf.entries(factors(), INDICES > 0),
        TypeError,
        "`indices` integers bool",
    ),
    (
        "index_modes",
        lambda: htf.entries(factors(), INDICES[:, :3]),
        ValueError,
        "`indices` (2, 3) (B, 4) 4 modes",
    ),
    (
        "index_vector",
        lambda: htf.entries(factors(), INDICES[0]),
        ValueError,
        "`indices` (4,) (B, 4)",
    ),
    (
        "index_ragged",
        lambda: htf.entries(factors(), [[0, 1, 2, 0], [1]]),
        ValueError,
        "`indices` rectangular",
    ),
    (
        "sense_batch_first",
        lambda: htf.sense(factors(), jnp.ones((2, 4, 3))),
        ValueError,
        "`vectors` (2, 4, 3) (N, B, D) (4, B, 3) moveaxis",
    ),
    (
        "sense_generator",
        lambda: htf.sense(factors(), (x for x in VECTORS)),
        TypeError,
        "`vectors` list per mode generator",
    ),
    (
        "sense_array_unequal_dims",
        lambda: htf.sense(
            htf.gaussian_factors(key(), htf.flat(2), (2, 3), 2, 1.0), np.ones((2, 5, 3))
        ),
        ValueError,
        "`vectors` (2, 5, 3) (2, 3) list",
    ),
    (
        "sense_few",
        lambda: htf.sense(factors(), VECTORS[:3]),
        ValueError,
        "`vectors` 3 arrays 4 modes",
    ),
    (
        "sense_shape",
        lambda: htf.sense(factors(), [*VECTORS[:3], np.ones((2, 4))]),
        ValueError,
        "`vectors[3]` (2, 4) (2, 3)",
    ),
    (
        "sense_batch",
        lambda: htf.sense(factors(), [*VECTORS[:3], np.ones((1, 3))]),
        ValueError,
        "`vectors[3]` (1, 3) (2, 3)",
    ),
    (
        "dense_too_large",
        lambda: htf.end_tensor(htf.gaussian_factors(key(), htf.flat(64), 4, 1, 1.0)),
        ValueError,
        "end tensor entries sense",
    ),
    # Observations
    (
        "observe_too_many",
        lambda: htf.random_indices(key(), (3, 4), 13),
        ValueError,
        "`count=13` 12 entries (3, 4)",
    ),
    ("observe_none", lambda: htf.random_indices(key(), (3, 4), 0), ValueError, "`count=0`"),
    (
        "observe_order",
        lambda: htf.random_indices(key(), 3, 2),
        ValueError,
        "`order` one int",
    ),
    ("observe_key", lambda: htf.random_indices(0, (3, 4), 2), TypeError, "`key`"),
    (
        "unobserved_high",
        lambda: htf.unobserved_indices([[0, 3]], (3, 3)),
        ValueError,
        "`indices[0, 1]` is 3",
    ),
    (
        "unobserved_negative",
        lambda: htf.unobserved_indices([[0, -1]], (3, 3)),
        ValueError,
        "`indices[0, 1]` is -1",
    ),
    (
        "unobserved_modes",
        lambda: htf.unobserved_indices([[0]], (3, 3)),
        ValueError,
        "`indices` (1, 1) (B, 2)",
    ),
    (
        "vectors_dims",
        lambda: htf.random_vectors(key(), 3, 5),
        ValueError,
        "`order` `mode_dims` one int",
    ),
    ("vectors_empty", lambda: htf.random_vectors(key(), (), 5), ValueError, "`mode_dims"),
    (
        "matrices_dims",
        lambda: htf.random_matrices(key(), (3, 3, 3), 5),
        ValueError,
        "`mode_dims=(3, 3, 3)` 3 2",
    ),
    # Losses
    (
        "loss_tree",
        lambda: completion(tree=4),
        TypeError,
        "`tree` ModeTree from_nested",
    ),
    ("loss_index", lambda: completion(indices_with(3)), ValueError, "`indices[1, 2]` is 3"),
    ("loss_float", lambda: completion(INDICES * 1.0), TypeError, "`indices` integers"),
    (
        "loss_dims",
        lambda: completion(dims=(3, 3, 3)),
        ValueError,
        "`mode_dims=(3, 3, 3)` 4",
    ),
    (
        "targets_long",
        lambda: completion(targets=np.ones(3)),
        ValueError,
        "`targets` (3,) (2,) one value each observation",
    ),
    (
        "targets_column",
        lambda: completion(targets=np.ones((2, 1))),
        ValueError,
        "`targets` (2, 1) (2,)",
    ),
    (
        "targets_nan",
        lambda: completion(targets=[1.0, np.nan]),
        ValueError,
        "`targets[1]` is nan finite",
    ),
    (
        "targets_infinite",
        lambda: completion(targets=jnp.array([-jnp.inf, 1.0])),
        ValueError,
        "`targets[0]` is -inf finite",
    ),
    (
        "targets_complex",
        lambda: completion(targets=[1j, 1.0]),
        TypeError,
        "`targets` complex real",
    ),
    (
        "targets_text",
        lambda: completion(targets=["a", "b"]),
        TypeError,
        "`targets`",
    ),
    (
        "no_observations",
        lambda: completion(np.zeros((0, 4), int), []),
        ValueError,
        "`targets` empty at least one",
    ),
    (
        "penalty",
        lambda: completion(penalty="L2"),
        ValueError,
        "`penalty='L2'` 'l2' 'l1' 'huber'",
    ),
    (
        "threshold_zero",
        lambda: completion(penalty="huber", threshold=0.0),
        ValueError,
        "`threshold=0.0` above zero",
    ),
    (
        "threshold_negative",
        lambda: completion(penalty="huber", threshold=-1),
        ValueError,
        "`threshold=-1` above zero",
    ),
    (
        "penalize_word",
        lambda: htf.penalize(jnp.ones(2), penalty="mse"),
        ValueError,
        "`penalty='mse'` 'l2'",
    ),
    (
        "penalize_threshold",
        lambda: htf.penalize(jnp.zeros(2), penalty="huber", threshold=0.0),
        ValueError,
        "`threshold=0.0` above zero",
    ),
    (
        "loss_of_another_tree",
        lambda: completion()(factors(htf.interleaved(4))),
        ValueError,
        "`factors` 4 {0,1} 4 {0,2}",
    ),
    (
        "loss_of_other_dims",
        lambda: completion()(htf.gaussian_factors(key(), TREE, 4, 2, 1.0)),
        ValueError,
        "`factors` (3, 3, 3, 3) (4, 4, 4, 4)",
    ),
    (
        "loss_of_tuple",
        lambda: completion()(factors().weights),
        TypeError,
        "`factors` tuple",
    ),
    (
        "sensing_matrix",
        lambda: htf.sensing_loss(np.ones((2, 3)), TARGETS),
        ValueError,
        "`vectors` (2, 3) (N, B, D)",
    ),
    (
        "sensing_batch_first",
        lambda: htf.sensing_loss(np.ones((2, 4, 3)), TARGETS),
        ValueError,
        "`vectors` (2, 4, 3) `targets` (N, B, D) moveaxis",
    ),
    (
        "sensing_no_modes",
        lambda: htf.sensing_loss(np.ones((0, 2, 3)), TARGETS),
        ValueError,
        "`vectors` (0, 2, 3) (N, B, D)",
    ),
    (
        "sensing_array_nan",
        lambda: htf.sensing_loss(np.full((4, 2, 3), np.nan), TARGETS),
        ValueError,
        "`vectors[0, 0, 0]` is nan",
    ),
    (
        "sensing_array_targets",
        lambda: htf.sensing_loss(np.ones((4, 2, 3)), np.ones(3)),
        ValueError,
        "`targets` (3,) (2,)",
    ),
    (
        "sensing_empty",
        lambda: htf.sensing_loss([], []),
        ValueError,
        "`vectors`",
    ),
    (
        "sensing_none",
        lambda: htf.sensing_loss([np.ones((0, 3))] * 4, []),
        ValueError,
        "`targets` empty",
    ),
    (
        "sensing_nan",
        lambda: htf.sensing_loss([*VECTORS[:3], np.full((2, 3), np.nan)], TARGETS),
        ValueError,
        "`vectors[3][0, 0]` is nan",
    ),
    (
        "sensing_targets",
        lambda: htf.sensing_loss(VECTORS, np.ones(3)),
        ValueError,
        "`targets` (3,) (2,)",
    ),
    (
        "sensing_other_dims",
        lambda: htf.sensing_loss([np.ones((2, 2))] * 4, TARGETS)(factors()),
        ValueError,
        "`vectors[0]` (2, 2) (2, 3)",
    ),
    (
        "matrices_shape",
        lambda: htf.matrix_sensing_loss(np.ones((2, 3)), TARGETS),
        ValueError,
        "`matrices` (2, 3) (B, D_0, D_1)",
    ),
    (
        "matrices_infinite",
        lambda: htf.matrix_sensing_loss(np.full((2, 3, 3), np.inf), TARGETS),
        ValueError,
        "`matrices[0, 0, 0]` is inf",
    ),
    (
        "matrices_for_a_tensor",
        lambda: htf.matrix_sensing_loss(np.ones((2, 3, 3)), TARGETS)(factors()),
        ValueError,
        "`matrices` (3, 3) (3, 3, 3, 3)",
    ),
    (
        "batch_zero",
        lambda: htf.minibatch_loss(completion(), 0),
        ValueError,
        "`batch_size=0`",
    ),
    (
        "batch_large",
        lambda: htf.minibatch_loss(completion(), 3),
        ValueError,
        "`batch_size=3` 2 observations",
    ),
    (
        "batch_function",
        lambda: htf.minibatch_loss(square, 1),
        TypeError,
        "`loss` function",
    ),
    (
        "residuals_function",
        lambda: htf.residuals(square, factors()),
        TypeError,
        "`loss` function",
    ),
    (
        "residuals_minibatch",
        lambda: htf.residuals(htf.minibatch_loss(completion(), 1), factors()),
        TypeError,
        "`loss` MinibatchLoss",
    ),
    # Instruments
    (
        "unbalanced_kind",
        lambda: htf.unbalancedness(factors(), kind="chains"),
        ValueError,
        "`kind='chains'` 'components' 'matrix'",
    ),
    (
        "unbalanced_no_chain",
        lambda: htf.unbalancedness(factors(), kind="matrix"),
        ValueError,
        "`kind='matrix'` one-child kind='components'",
    ),
    (
        "values_method",
        lambda: htf.singular_values(factors(), 4, method="fast"),
        ValueError,
        "`method='fast'` 'auto'",
    ),
    (
        "values_node",
        lambda: htf.singular_values(factors(), 7),
        ValueError,
        "`node_or_modes=7` 0..6",
    ),
    (
        "values_negative_node",
        lambda: htf.singular_values(factors(), -1),
        ValueError,
        "`node_or_modes=-1`",
    ),
    (
        "values_float_node",
        lambda: htf.singular_values(factors(), 4.0),
        TypeError,
        "`node_or_modes` 4.0",
    ),
    (
        "values_mode",
        lambda: htf.singular_values(factors(), (0, 4)),
        ValueError,
        "`node_or_modes=(0, 4)` order 4 0 and 3",
    ),
    (
        "values_mode_twice",
        lambda: htf.singular_values(factors(), (1, 1)),
        ValueError,
        "`node_or_modes=(1, 1)` distinct",
    ),
    (
        "matricize_mode",
        lambda: htf.matricize(jnp.ones((2, 3)), (2,)),
        ValueError,
        "`row_modes=(2,)` order 2",
    ),
    (
        "matricize_int",
        lambda: htf.matricize(jnp.ones((2, 3)), 1),
        TypeError,
        "`row_modes",
    ),
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
    # Descent
    ("steps_zero", lambda: descend(0, 1), ValueError, "`num_steps=0` at least 1"),
    ("steps_float", lambda: descend(4.0), TypeError, "`num_steps` 4.0"),
    ("record_zero", lambda: descend(4, 0), ValueError, "`record_every=0` at least 1"),
    (
        "record_uneven",
        lambda: descend(10, 4),
        ValueError,
        "`record_every=4` `num_steps=10` 8 12",
    ),
    (
        "record_long",
        lambda: descend(4, 8),
        ValueError,
        "`record_every=8` `num_steps=4` use 8 steps",
    ),
    ("loss_none", lambda: descend(loss=None), TypeError, "`loss` callable NoneType"),
    ("descent_key", lambda: proceed(key=0), TypeError, "`key` jax.random.key"),
    (
        "chunk_one",
        lambda: in_chunks(chunk_steps=1),
        ValueError,
        "`chunk_steps=1` at least 2",
    ),
    (
        "chunk_uneven",
        lambda: in_chunks(record_every=2, chunk_steps=3),
        ValueError,
        "`record_every=2` `chunk_steps=3`",
    ),
    (
        "chunk_steps_uneven",
        lambda: in_chunks(num_steps=5, record_every=2),
        ValueError,
        "`record_every=2` `until_step=5`",
    ),
    (
        "chunk_steps_float",
        lambda: in_chunks(num_steps=4.0),
        TypeError,
        "`until_step` integer 4.0",
    ),
    (
        "chunk_steps_negative",
        lambda: in_chunks(num_steps=-4),
        ValueError,
        "`until_step=-4`",
    ),
    (
        "decay_one",
        lambda: htf.group_rmsprop(0.1, decay=1.0),
        ValueError,
        "`decay=1.0` below 1",
    ),
    (
        "decay_negative",
        lambda: htf.scale_by_group_rms(decay=-0.1),
        ValueError,
        "`decay=-0.1` zero",
    ),
    (
        "eps_negative",
        lambda: htf.scale_by_group_rms(eps=-1.0),
        ValueError,
        "`eps=-1.0` zero",
    ),
    (
        "rate_negative",
        lambda: htf.group_rmsprop(-0.1),
        ValueError,
        "`learning_rate=-0.1` zero",
    ),
    (
        "rate_infinite",
        lambda: htf.group_rmsprop(np.inf),
        ValueError,
        "`learning_rate=inf` finite",
    ),
    (
        "rate_text",
        lambda: htf.group_rmsprop("fast"),
        TypeError,
        "`learning_rate fast number",
    ),
    ("join_nothing", lambda: htf.join([]), ValueError, "`pieces` empty"),
    (
        "join_gap",
        lambda: htf.join([descend()[1], descend()[1]]),
        ValueError,
        "`pieces` step 4 0",
    ),
    (
        "rise_lengths",
        lambda: htf.rise_times(np.arange(2), np.ones((3, 2))),
        ValueError,
        "`steps` `values` 2 3",
    ),
]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [row[1:] for row in MISTAKES],
    ids=[row[0] for row in MISTAKES],
)
def test_message(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words.split() if word not in message]
    assert not missing, f"{missing} not in: {message}"


def test_names_are_unique():
    names = [row[0] for row in MISTAKES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("indices", [jnp.array([[9, 0, 0, 0]]), jnp.array([[-1, 0, 0, 0]])])
def test_traced_indices_are_not_checked(indices):
    assert jax.jit(htf.entries)(factors(), indices).shape == (1,)


def test_static_mistakes_are_found_while_tracing():
    with pytest.raises(ValueError, match=r"`indices` has shape \(2, 3\)"):
        jax.eval_shape(htf.entries, factors(), jax.ShapeDtypeStruct((2, 3), jnp.int32))
    with pytest.raises(TypeError, match="`indices` must be integers"):
        jax.eval_shape(htf.entries, factors(), jax.ShapeDtypeStruct((2, 4), jnp.float32))


def test_a_bad_target_is_reported_in_its_own_place():
    targets = np.ones(2)
    for row in (0, 1):
        bad = targets.copy()
        bad[row] = np.nan
        with pytest.raises(ValueError, match=rf"`targets\[{row}\]`"):
            completion(targets=bad)
