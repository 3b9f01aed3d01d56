"""The doors of the core: what would lose or bend a user's data is refused by name.

One row per mistake: a call, the exception, and words that its message must hold. Words
are plain text, not patterns. `test_equivalent_calls` has what is accepted.
"""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import htfjax as htf

TREE = htf.perfect(4)
DIMS = (3, 3, 3, 3)
INDICES = np.array([[0, 1, 2, 0], [2, 2, 2, 2]])
TARGETS = np.array([1.0, -1.0])
VECTORS = [np.ones((2, 3))] * 4
RATES = htf.Rates(1e11, 1e10, 2e9, 1e-6)
SGD = optax.sgd(0.1)
ENABLE = "jax_enable_x64"


def key() -> jax.Array:
    return jax.random.key(0)


def factors(tree: htf.ModeTree = TREE, **options) -> htf.Factors:
    return htf.gaussian_factors(key(), tree, 3, 2, 1.0, **options)


def grouped() -> htf.GroupedFactors:
    return htf.group(factors())


def with_weight(k: int, weight) -> htf.Factors:
    weights = list(factors().weights)
    weights[k] = weight
    return dataclasses.replace(factors(), weights=tuple(weights))


def completion(indices=INDICES, targets=TARGETS, **options):
    return htf.completion_loss(TREE, DIMS, indices, targets, **options)


def plan(**options) -> htf.Plan:
    given = {"tree": TREE, "mode_dims": 3, "widths": (2, 2, 2), "batch": 2, "rates": RATES}
    return htf.contraction_plan(**(given | options))


def masked(values) -> np.ma.MaskedArray:
    """The values with the first one masked."""
    mask = np.zeros(np.shape(values), bool)
    mask.flat[0] = True
    return np.ma.array(values, mask=mask)


def square(x):
    return jnp.sum(jnp.square(x))


def proceed(state=None, optimizer=SGD, loss=square, **options):
    state = htf.start_descent(jnp.ones(2), SGD) if state is None else state
    options = {"num_steps": 4, "record_every": 2} | options
    return htf.continue_descent(state, loss, optimizer, **options)


def trajectory() -> htf.Trajectory:
    return proceed()[1]


MISTAKES = [
    # Masked arrays
    (
        "masked_targets",
        lambda: htf.completion_loss(
            htf.flat(2),
            3,
            [[0, 0], [1, 1], [2, 2]],
            np.ma.masked_equal([1.0, -999.0, 2.0], -999.0),
        ),
        TypeError,
        "`targets` masked drop values.compressed() indices[~values.mask]",
    ),
    (
        "masked_targets_in_a_list",
        lambda: completion(targets=[1.0, np.ma.masked]),
        TypeError,
        "`targets` masked drop",
    ),
    (
        "unmasked_masked_array",
        lambda: completion(targets=np.ma.array(TARGETS)),
        TypeError,
        "`targets` masked",
    ),
    (
        "masked_loss_indices",
        lambda: completion(masked(INDICES)),
        TypeError,
        "`indices` masked",
    ),
    (
        "masked_indices",
        lambda: htf.entries(factors(), masked(INDICES)),
        TypeError,
        "`indices` masked",
    ),
    (
        "masked_unobserved",
        lambda: htf.unobserved_indices(masked(INDICES), 3),
        TypeError,
        "`indices` masked",
    ),
    (
        "masked_vectors",
        lambda: htf.sensing_loss([*VECTORS[:3], masked(VECTORS[3])], TARGETS),
        TypeError,
        "`vectors[3]` masked",
    ),
    (
        "masked_vectors_array",
        lambda: htf.sensing_loss(masked(np.ones((4, 2, 3))), TARGETS),
        TypeError,
        "`vectors` masked",
    ),
    (
        "masked_sense",
        lambda: htf.sense(factors(), [masked(VECTORS[0]), *VECTORS[1:]]),
        TypeError,
        "`vectors[0]` masked",
    ),
    (
        "masked_matrices",
        lambda: htf.matrix_sensing_loss(masked(np.ones((2, 3, 3))), TARGETS),
        TypeError,
        "`matrices` masked",
    ),
    (
        "masked_singular_values",
        lambda: htf.effective_rank(masked([2.0, 1.0])),
        TypeError,
        "`s` masked",
    ),
    (
        "masked_tensor",
        lambda: htf.matricize(masked(np.ones((2, 3))), (0,)),
        TypeError,
        "`tensor` masked",
    ),
    (
        "masked_residuals",
        lambda: htf.penalize(masked([1.0, 2.0])),
        TypeError,
        "`x` masked",
    ),
    (
        "masked_weight",
        lambda: htf.end_tensor(with_weight(1, masked(np.ones((3, 2))))),
        TypeError,
        "`weights[1]` masked filled",
    ),
    (
        "masked_losses",
        lambda: htf.find_stop(masked([1.0, 0.5]), 0.1, 1),
        TypeError,
        "`losses` masked",
    ),
    (
        "masked_values",
        lambda: htf.rise_times([0, 1], masked(np.ones((2, 1)))),
        TypeError,
        "`values` masked",
    ),
    (
        "masked_times",
        lambda: htf.theory.rank_one_scale(masked([0.1, 0.2]), 1.0, 1.0, 3),
        TypeError,
        "`time` masked",
    ),
    (
        "masked_params",
        lambda: htf.start_descent(masked(np.ones(2)), SGD),
        TypeError,
        "`params` floating masked",
    ),
    (
        "masked_dims",
        lambda: htf.random_indices(key(), masked([3, 4]), 3),
        TypeError,
        "`mode_dims` integer",
    ),
    (
        "masked_number",
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, np.ma.masked),
        TypeError,
        "`std` number",
    ),
    (
        "missing_targets",
        lambda: completion(targets=[1.0, None]),
        TypeError,
        "`targets` missing NoneType drop",
    ),
    (
        "missing_in_a_series",
        lambda: completion(targets=pd.Series([1.0, None], dtype="Float64")),
        (TypeError, ValueError),  # pandas 3 makes NaN of what is missing
        "`targets",
    ),
    # What is no real number
    (
        "words",
        lambda: completion(targets=np.array(["1.0", "2.0"])),
        TypeError,
        "`targets` real numbers <U3",
    ),
    (
        "dates",
        lambda: completion(targets=np.zeros(2, "datetime64[s]")),
        TypeError,
        "`targets` real numbers datetime64",
    ),
    (
        "keys_as_targets",
        lambda: completion(targets=jax.random.split(key(), 2)),
        TypeError,
        "`targets` array",
    ),
    (
        "complex_ranks",
        lambda: htf.effective_rank(jnp.array([2.0, 1.0 + 1j])),
        TypeError,
        "`s` real complex128",
    ),
    (
        "complex_entropy",
        lambda: htf.entanglement_entropy(np.array([2.0, 1j])),
        TypeError,
        "`s` real complex128",
    ),
    (
        "complex_sense",
        lambda: htf.sense(factors(), [x + 0j for x in VECTORS]),
        TypeError,
        "`vectors[0]` real complex128",
    ),
    (
        "complex_norm",
        lambda: htf.theory.rank_one_scale(0.1, 1.0, 1j, 3),
        TypeError,
        "`norm` real complex",
    ),
    (
        "complex_scales",
        lambda: htf.theory.rescale_component(factors(), 6, 0, (1j, -1j, 1.0)),
        TypeError,
        "`scales[0]` real number 1j",
    ),
    (
        "long_double",
        lambda: completion(targets=np.array([1.0, 1 + np.finfo(np.longdouble).eps])),
        ValueError,
        "`targets` float64 round astype(float)",
    ),
    # What a dtype does not hold
    (
        "std_overflow",
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1e300, dtype=jnp.float32),
        ValueError,
        "`std=1e+300` inf float32",
    ),
    (
        "std_underflow",
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1e-50, dtype=jnp.float32),
        ValueError,
        "`std=1e-50` 0.0 float32",
    ),
    (
        "mean_nan",
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, mean=np.nan),
        ValueError,
        "`mean=nan` finite",
    ),
    (
        "mean_word",
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, mean="0"),
        TypeError,
        "`mean` number '0'",
    ),
    (
        "targets_beyond_float32",
        lambda: completion(targets=[1.0, 1e300])(factors(dtype=jnp.float32)),
        ValueError,
        "`targets[1]` 1e+300 float32",
    ),
    (
        "target_factors_beyond_float32",
        lambda: htf.population_loss(with_weight(0, jnp.full((3, 2), 1e300)))(
            factors(dtype=jnp.float32)
        ),
        ValueError,
        "`target_factors[0, 0]` 1e+300 float32",
    ),
    (
        "spectra_in_bfloat16",
        lambda: htf.spectra(factors(dtype=jnp.bfloat16)),
        TypeError,
        "`factors` bfloat16 float32",
    ),
    (
        "vectors_beyond_float32",
        lambda: htf.sense(factors(dtype=jnp.float32), [1e300 * x for x in VECTORS]),
        ValueError,
        "`vectors[0][0, 0]` 1e+300 float32",
    ),
    (
        "huber_underflow",
        lambda: completion(penalty="huber", threshold=1e-300)(factors(dtype=jnp.float32)),
        ValueError,
        "`threshold=1e-300` 0.0 float32",
    ),
    # Dtypes
    (
        "dtype_word",
        lambda: htf.gaussian_factors(key(), TREE, 3, 2, 1.0, dtype="x"),
        TypeError,
        "`dtype='x'` floating",
    ),
    (
        "dtype_of_vectors",
        lambda: htf.random_vectors(key(), (3, 3), 2, dtype=int),
        TypeError,
        "`dtype= floating",
    ),
    (
        "dtype_of_eight_bits",
        lambda: htf.random_matrices(key(), 3, 2, dtype=jnp.float8_e4m3fn),
        TypeError,
        "`dtype= 16, 32 or 64 bits",
    ),
    # Factors
    (
        "other_factors",
        lambda: htf.distance(factors(), factors().weights),
        TypeError,
        "`other` htfjax.Factors tuple",
    ),
    (
        "other_weight",
        lambda: htf.inner_product(factors(), with_weight(1, jnp.ones(3))),
        ValueError,
        "`other.weights[1]` matrix (3,)",
    ),
    (
        "other_tree",
        lambda: htf.distance(factors(), factors(htf.interleaved(4))),
        ValueError,
        "`one` `other` one tree",
    ),
    (
        "target_factors",
        lambda: htf.population_loss(None),
        TypeError,
        "`target_factors` htfjax.Factors NoneType",
    ),
    (
        "population_dims",
        lambda: htf.population_loss(factors())(
            htf.gaussian_factors(key(), TREE, 4, 2, 1.0)
        ),
        ValueError,
        "`factors` `target_factors` (4, 4, 4, 4)",
    ),
    (
        "drift_after",
        lambda: htf.theory.drift(factors(), None),
        TypeError,
        "`after` htfjax.Factors",
    ),
    (
        "widths_of_none",
        lambda: htf.widths(None),
        TypeError,
        "`factors` htfjax.Factors NoneType",
    ),
    (
        "dims_of_a_tree",
        lambda: htf.mode_dims(TREE),
        TypeError,
        "`factors` htfjax.Factors ModeTree",
    ),
    (
        "widths_malformed",
        lambda: htf.widths(with_weight(1, jnp.ones((3, 5)))),
        ValueError,
        "`weights[1]` (3, 5)",
    ),
    (
        "weights_none",
        lambda: htf.end_tensor(dataclasses.replace(factors(), weights=None)),
        TypeError,
        "`weights` tuple NoneType",
    ),
    (
        "weight_big_endian",
        lambda: htf.end_tensor(with_weight(1, np.ones((3, 2), ">f8"))),
        TypeError,
        "`weights[1]` byte order astype",
    ),
    (
        "ungroup_few",
        lambda: htf.ungroup(dataclasses.replace(grouped(), stacks=())),
        ValueError,
        "`stacks` 0 3 groups",
    ),
    (
        "grouped_twice",
        lambda: htf.end_tensor(
            dataclasses.replace(grouped(), groups=((0, 1, 2, 3), (4, 5), (5,)))
        ),
        ValueError,
        "`groups` every node 0..6 once",
    ),
    (
        "fixed_part_of_a_group",
        lambda: htf.end_tensor(dataclasses.replace(grouped(), fixed=(0,))),
        ValueError,
        "`fixed` splits (0, 1, 2, 3)",
    ),
    # Trees
    ("children_none", lambda: htf.ModeTree(None), TypeError, "`children` tuples None"),
    (
        "children_words",
        lambda: htf.ModeTree(("", "", "01")),
        TypeError,
        "`children` tuples",
    ),
    ("pattern_list", lambda: htf.pooled(4, 2, []), TypeError, "`pattern=[]` adjacent"),
    ("window_bytes", lambda: htf.pooled(4, b"ab"), TypeError, "`window` integer"),
    ("arity_half", lambda: htf.perfect(4, 1.5), TypeError, "`arity` integer 1.5"),
    # Plans
    (
        "plan_widths",
        lambda: plan(widths=(3,) * 6),
        ValueError,
        "`widths=(3, 3, 3, 3, 3, 3)` 6 interior node (3)",
    ),
    ("plan_batch", lambda: plan(batch=-1), ValueError, "`batch=-1` at least 0"),
    ("plan_tree", lambda: plan(tree=4), TypeError, "`tree` ModeTree"),
    ("plan_distinct", lambda: plan(distinct=(1, 2)), ValueError, "`distinct` 2 counts 7"),
    ("plan_masked", lambda: plan(masked=1), TypeError, "`masked` True or False"),
    ("plan_rates", lambda: plan(rates=1e9), TypeError, "`rates` Rates platform_rates"),
    (
        "plan_platform",
        lambda: plan(rates=None, platform="rocm"),
        ValueError,
        "`platform='rocm'` 'cpu' 'cuda' 'tpu' rates",
    ),
    (
        "loss_platform",
        lambda: completion(platform="metal"),
        ValueError,
        "`platform='metal'` 'cpu' 'cuda' 'tpu' rates",
    ),
    (
        "rates_platform",
        lambda: htf.platform_rates(None),
        TypeError,
        "`platform=None` 'cpu' 'cuda' 'tpu' rates",
    ),
    ("plan_force", lambda: plan(force="fast"), ValueError, "`force='fast'` table"),
    ("rates_negative", lambda: htf.Rates(-1, 1, 1, 1), ValueError, "`flops=-1` above zero"),
    (
        "rates_nan",
        lambda: htf.Rates(1e9, np.nan, 1, 1),
        ValueError,
        "`stream_bytes=nan` finite",
    ),
    ("rates_word", lambda: htf.Rates(1, 1, "x", 1), TypeError, "`gather_bytes` number 'x'"),
    (
        "plan_of_other_data",
        lambda: htf.entries(factors(), INDICES, plan=plan(batch=9)),
        ValueError,
        "`plan` 9 indices 2",
    ),
    (
        "plan_word",
        lambda: htf.entries(factors(), INDICES, plan="auto"),
        TypeError,
        "`plan` Plan contraction_plan 'auto'",
    ),
    (
        "plan_changed",
        lambda: dataclasses.replace(plan(), routes=("x",) * 6),
        ValueError,
        "`routes='x'` table",
    ),
    ("plan_node", lambda: plan().width(99), ValueError, "`node=99` 0..6"),
    ("plan_explain", lambda: plan().explain(3), ValueError, "`measured` seconds 7 nodes"),
    # Words
    ("penalty_word", lambda: completion(penalty="l3"), ValueError, "`penalty='l3'` huber"),
    ("penalty_none", lambda: completion(penalty=None), TypeError, "`penalty=None` 'l2'"),
    (
        "precision_word",
        lambda: htf.end_tensor(factors(), precision="exact"),
        ValueError,
        "`precision='exact'` 'highest'",
    ),
    (
        "precision_number",
        lambda: htf.squared_norm(factors(), precision=3),
        TypeError,
        "`precision=3` 'highest'",
    ),
    (
        "loss_plan_word",
        lambda: completion(plan="fast"),
        ValueError,
        "`plan='fast'` 'auto' 'exact'",
    ),
    # Observations
    (
        "order_beside_dims",
        lambda: htf.random_indices(key(), (3, 4), 2, order=3),
        ValueError,
        "`order=3` 2 `mode_dims`",
    ),
    (
        "order_of_vectors",
        lambda: htf.random_vectors(key(), 3, 2, order=0),
        ValueError,
        "`order=0` at least 1",
    ),
    (
        "count_half",
        lambda: htf.random_indices(key(), 3, 1.5, order=2),
        TypeError,
        "`count` 1.5",
    ),
    (
        "unobserved_nothing_known",
        lambda: htf.unobserved_indices([], 2),
        ValueError,
        "`order` `mode_dims`",
    ),
    (
        "unobserved_large",
        lambda: htf.unobserved_indices([[0, 0]], 10**6),
        ValueError,
        "`mode_dims=(1000000, 1000000)` entries",
    ),
    # Losses that were given
    (
        "old_style_key",
        lambda: htf.minibatch_loss(completion(), 1)(factors(), jax.random.PRNGKey(0)),
        TypeError,
        "`key` typed jax.random.key",
    ),
    (
        "plan_of_a_function",
        lambda: htf.loss_plan(square, factors()),
        TypeError,
        "`loss` entries completion_loss",
    ),
    (
        "loss_of_a_vector",
        lambda: htf.growth_rates(factors(), lambda f: f.weights[0][0]),
        TypeError,
        "`loss` floating scalar (2,)",
    ),
    (
        "loss_of_nothing",
        lambda: htf.theory.component_forces(factors(), lambda f: None),
        TypeError,
        "`loss` floating scalar None",
    ),
    (
        "no_residuals",
        lambda: htf.penalize([]),
        ValueError,
        "`x` empty at least one",
    ),
    # Ranks
    (
        "error_nan",
        lambda: htf.rank_within([2.0, 1.0], np.nan),
        ValueError,
        "`error=nan` finite",
    ),
    (
        "error_negative",
        lambda: htf.rank_within([2.0, 1.0], -1),
        ValueError,
        "`error=-1` zero or more",
    ),
    (
        "error_of_an_array",
        lambda: htf.rank_within([2.0, 1.0], np.array([0.1, -0.1])),
        ValueError,
        "`error[1]` -0.1 zero or more",
    ),
    (
        "ascending",
        lambda: htf.rank_within([1.0, 2.0], 0.1),
        ValueError,
        "`s` descending",
    ),
    (
        "negative_values",
        lambda: htf.numerical_rank([1.0, -2.0]),
        ValueError,
        "`s` negative",
    ),
    ("no_values", lambda: htf.effective_rank([]), ValueError, "`s` (0,) (..., K)"),
    ("one_value", lambda: htf.effective_rank(1.0), ValueError, "`s` () (..., K)"),
    (
        "rtol_nan",
        lambda: htf.numerical_rank([2.0, 1.0], np.nan),
        ValueError,
        "`rtol=nan` finite",
    ),
    (
        "floor_negative",
        lambda: htf.effective_rank([2.0, 1.0], -1e-3),
        ValueError,
        "`floor=-0.001` zero or more",
    ),
    (
        "floor_true",
        lambda: htf.entanglement_entropy([2.0, 1.0], True),
        TypeError,
        "`floor` number True",
    ),
    (
        "hierarchical_rtol",
        lambda: htf.hierarchical_rank(factors(), rtol=np.nan, method="dense"),
        ValueError,
        "`rtol=nan` finite",
    ),
    (
        "bounds_rtol",
        lambda: htf.theory.node_rank_bounds(factors(), rtol=-1.0),
        ValueError,
        "`rtol=-1.0` zero or more",
    ),
    (
        "accuracy_nan",
        lambda: htf.spectrum(factors(), 4, accuracy=np.nan),
        ValueError,
        "`accuracy=nan` finite",
    ),
    (
        "node_word",
        lambda: htf.singular_values(factors(), "root"),
        TypeError,
        "`node_or_modes` integer 'root'",
    ),
    # Closed forms
    (
        "norm_negative",
        lambda: htf.theory.rank_one_blow_up_time(0.5, -1.0, 3),
        ValueError,
        "`norm` -1.0 zero or more",
    ),
    (
        "start_array",
        lambda: htf.theory.blow_up_time([1.0, 0.0], 1.0, 3),
        ValueError,
        "`start[1]` 0.0 above zero",
    ),
    (
        "time_negative",
        lambda: htf.theory.constant_force_norm([0.0, -0.5], 1.0, 1.0, 3),
        ValueError,
        "`time[1]` -0.5 zero or more",
    ),
    (
        "force_nan",
        lambda: htf.theory.blow_up_time(1.0, np.nan, 3),
        ValueError,
        "`force` nan finite",
    ),
    (
        "do_not_broadcast",
        lambda: htf.theory.rank_one_scale([0.1, 0.2], [1.0, 1.0, 1.0], 1.0, 3),
        ValueError,
        "`time` `start` `norm` broadcast",
    ),
    (
        "scales_word",
        lambda: htf.theory.rescale_component(factors(), 6, 0, "111"),
        TypeError,
        "`scales` list '111'",
    ),
    (
        "ranks_leaf",
        lambda: htf.theory.truncate(factors(), {0: 1}),
        ValueError,
        "`ranks=0` interior 4..6",
    ),
    (
        "shared_chain",
        lambda: htf.theory.to_factors(TREE, [np.ones((3, 2)), np.ones((4, 2)), None]),
        ValueError,
        "`matrices[0]` (3, 2) 4",
    ),
    (
        "shared_masked",
        lambda: htf.theory.to_factors(
            TREE, [masked(np.ones((3, 2))), np.ones((2, 2)), None]
        ),
        TypeError,
        "`matrices[0]` masked",
    ),
    (
        "growth_eps",
        lambda: htf.theory.growth_bounds(factors(), square, eps=np.nan),
        ValueError,
        "`eps=nan` finite",
    ),
    # Trajectories
    (
        "patience_negative",
        lambda: htf.find_stop([1.0, 0.5], 0.1, -1),
        ValueError,
        "`patience=-1` at least 0",
    ),
    (
        "patience_nan",
        lambda: htf.find_stop([1.0, 0.5], 0.1, np.nan),
        TypeError,
        "`patience` integer nan",
    ),
    (
        "tolerance_nan",
        lambda: htf.find_stop([1.0, 0.5], np.nan, 1),
        ValueError,
        "`tolerance=nan` finite",
    ),
    (
        "divergence_zero",
        lambda: htf.find_stop([1.0, 0.5], 0.1, 1, divergence=0),
        ValueError,
        "`divergence=0` above zero",
    ),
    (
        "losses_column",
        lambda: htf.find_stop([[1.0], [0.5]], 0.1, 1),
        ValueError,
        "`losses` (2, 1) (K,)",
    ),
    ("losses_empty", lambda: htf.find_stop([], 0.1, 1), ValueError, "`losses` empty"),
    (
        "steps_decrease",
        lambda: htf.rise_times([2, 1], np.ones((2, 1))),
        ValueError,
        "`steps` increase",
    ),
    (
        "steps_words",
        lambda: htf.rise_times(["0", "1"], np.ones((2, 1))),
        TypeError,
        "`steps` real numbers <U1",
    ),
    (
        "values_complex",
        lambda: htf.rise_times([0, 1], np.ones((2, 1)) * 1j),
        TypeError,
        "`values` real complex128",
    ),
    (
        "active_negative",
        lambda: htf.rise_times([0, 1], np.ones((2, 1)), active=-1),
        ValueError,
        "`active=-1` from 0 to 1",
    ),
    ("join_one", lambda: htf.join(trajectory()), TypeError, "`pieces` list"),
    ("join_numbers", lambda: htf.join([1, 2]), TypeError, "`pieces[0]` Trajectory"),
    # Descent
    ("start_words", lambda: htf.start_descent({"a": "b"}, SGD), TypeError, "`params['a']`"),
    ("start_ints", lambda: htf.start_descent(jnp.arange(2), SGD), TypeError, "`params int"),
    ("start_empty", lambda: htf.start_descent([], SGD), TypeError, "`params` no arrays"),
    (
        "start_optimizer",
        lambda: htf.start_descent(jnp.ones(2), 0.1),
        TypeError,
        "`optimizer` optax 0.1",
    ),
    ("state_params", lambda: proceed(jnp.ones(2)), TypeError, "`state` DescentState start"),
    (
        "state_step",
        lambda: proceed(htf.DescentState(jnp.ones(2), SGD.init(jnp.ones(2)), None)),
        TypeError,
        "`state.step` int32 None",
    ),
    (
        "state_of_another_optimizer",
        lambda: proceed(htf.start_descent(jnp.ones(2), optax.adam(0.1))),
        TypeError,
        "`optimizer` began `state`",
    ),
    ("observe_number", lambda: proceed(observe=1), TypeError, "`observe` callable 1"),
    (
        "descent_loss_pair",
        lambda: proceed(loss=lambda x: (x @ x, 1)),
        TypeError,
        "`loss` floating scalar",
    ),
    (
        "descent_old_key",
        lambda: proceed(key=jax.random.PRNGKey(0)),
        TypeError,
        "`key` typed",
    ),
    (
        "flow_observe",
        lambda: htf.gradient_flow(
            jnp.ones(2), square, times=[1.0], rtol=1e-3, atol=0.0, observe=1
        ),
        TypeError,
        "`observe` callable",
    ),
    (
        "flow_params",
        lambda: htf.gradient_flow({"a": "b"}, square, times=[1.0], rtol=1e-3, atol=0.0),
        TypeError,
        "`params['a']` floating",
    ),
    (
        "optimizer_params",
        lambda: htf.group_rmsprop(0.1).init(jnp.arange(2)),
        TypeError,
        "`params floating int",
    ),
    # Drawing
    ("draw_nothing", lambda: htf.draw_tree(None), TypeError, "`drawn` ModeTree Factors"),
    ("draw_axes", lambda: htf.draw_tree(TREE, ax=3), TypeError, "`ax` Axes 3"),
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


def test_node_values_are_a_mapping():
    norms = htf.NodeValues(stacks=(jnp.ones((2, 3)),), axes=((1,),), groups=((4, 5),))
    for node in (0, -1, 99, "4", 4.5, None):
        assert node not in norms
        with pytest.raises(KeyError, match="`node"):
            norms[node]
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


def test_targets_beyond_float32_are_refused_without_x64():
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=rf"`targets\[1\]` is 1e\+300.*{ENABLE}"):
            completion(targets=[1.0, 1e300])
        with pytest.raises(ValueError, match=r"`threshold=1e-300` becomes 0.0 in float32"):
            completion(penalty="huber", threshold=1e-300)


def test_weights_in_float64_are_float32_without_x64():
    held = jax.tree.map(np.asarray, factors())
    with jax.enable_x64(False):
        assert htf.end_tensor(held).dtype == jnp.float32
        assert htf.local_component_norms(held)[6].dtype == jnp.float32


# Half precision

PIXELS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])


def half(values) -> np.ndarray:
    return np.asarray(values, np.float16)


def matrix(dtype=jnp.float32) -> htf.Factors:
    return htf.identity_factors(htf.flat(2), 2, 2, 1.0, root="ones", dtype=dtype)


@pytest.mark.parametrize("to_half", [half, lambda x: jnp.asarray(x, jnp.float16)])
def test_half_precision_targets_are_those_of_float32(to_half):
    """A thousand readings near 300: their squares and sums are beyond float16."""
    indices = np.tile(PIXELS, (250, 1))
    readings = half(np.random.default_rng(0).normal(300, 1, 1000))

    def value_and_grad(targets):
        loss = htf.completion_loss(htf.flat(2), 2, indices, targets)
        return jax.value_and_grad(loss)(matrix())

    found = value_and_grad(to_half(readings))
    wanted = value_and_grad(readings.astype(np.float32))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_array_equal(a, b)
    value, gradient = found
    residuals = np.eye(2).ravel()[np.tile(np.arange(4), 250)] - readings.astype(float)
    np.testing.assert_allclose(value, np.mean(np.square(residuals)), rtol=1e-6)
    assert np.isfinite(gradient.weights[0]).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_twenty_thousand_readings_of_an_entry_are_counted(dtype):
    indices = np.concatenate([np.tile([[0, 0]], (20_000, 1)), PIXELS[1:]])
    targets = half([2.0] * 20_000 + [0.0, 0.0, 1.0])
    loss = htf.completion_loss(htf.flat(2), 2, indices, targets)
    assert loss.dense is not None
    np.testing.assert_array_equal(loss.dense.counts, [20_000, 1, 1, 1])
    # (1 - 2)^2 at all readings of the first entry, nothing elsewhere.
    np.testing.assert_allclose(loss(matrix(dtype)), 20_000 / 20_003, rtol=1e-6)


@pytest.mark.parametrize("penalty", ["l2", "l1", "huber"])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_losses_of_half_precision_factors_are_in_float32(dtype, penalty):
    """A target of 7e4 is beyond float16, its square too: the loss is right all the same."""
    data = {"targets": [7e4], "penalty": penalty, "threshold": 1.0}
    ones = [np.array([[1.0, 0.0]])] * 2
    losses = [
        htf.completion_loss(htf.flat(2), 2, [[0, 0]], **data),
        htf.sensing_loss(ones, **data),
        htf.matrix_sensing_loss([np.diag([1.0, 0.0])], **data),
    ]
    gap = 7e4 - 1
    wanted = {"l2": gap**2, "l1": gap, "huber": gap - 0.5}[penalty]
    for loss in losses:
        value = loss(matrix(dtype))
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
        assert htf.residuals(loss, matrix(dtype)).dtype == jnp.float32


def test_half_precision_data_of_all_losses_become_float32():
    vectors = htf.sensing_loss([half(np.ones((2, 2)))] * 2, half([1, 2]))
    assert {x.dtype for x in vectors.measurement.vectors} == {np.dtype(np.float32)}
    assert htf.matrix_sensing_loss(
        half(np.ones((2, 2, 2))), half([1, 2])
    ).measurement.matrices.dtype == (np.float32)
    assert htf.effective_rank(half([2.0, 1.0])).dtype == np.float32
    assert htf.penalize(half([300.0])) == 90_000


# Static mistakes are found while tracing, and nothing is looked at that cannot be seen


def test_shapes_and_dtypes_are_checked_under_jit():
    with pytest.raises(TypeError, match="`s` must be real numbers, got complex64"):
        jax.eval_shape(htf.effective_rank, jax.ShapeDtypeStruct((3,), jnp.complex64))
    with pytest.raises(ValueError, match=r"`s` has shape \(\)"):
        jax.eval_shape(htf.effective_rank, jax.ShapeDtypeStruct((), jnp.float32))
    with pytest.raises(TypeError, match="`vectors` must be real"):
        jax.eval_shape(htf.sense, factors(), jax.ShapeDtypeStruct((4, 2, 3), jnp.complex64))
    with pytest.raises(TypeError, match="`key` must be a typed key"):
        jax.eval_shape(htf.minibatch_loss(completion(), 1), factors(), jnp.zeros(2))


def test_traced_numbers_pass():
    def traced(rtol, error, std, norm):
        start = htf.gaussian_factors(key(), htf.flat(1), 3, 2, std, mean=std)
        return (
            htf.numerical_rank(jnp.array([2.0, 1.0]), rtol),
            htf.rank_within(jnp.array([2.0, 1.0]), error),
            htf.theory.normalize(start, norm).weights[0],
            htf.theory.rank_one_scale(norm, norm, norm, 3),
            htf.hierarchical_rank(start, rtol=rtol, method="dense")[0],
            htf.theory.node_rank_bounds(start, rtol=rtol)[0],
        )

    shapes = jax.eval_shape(traced, 0.75, 0.5, 1.0, 0.5)
    assert [x.shape for x in shapes] == [(), (), (3, 2), (), (), ()]


def test_sound_factors_are_checked_once():
    held = factors()
    htf.end_tensor(held)
    assert dataclasses.replace(held, weights=None).__dict__.get("layout") is None
    with pytest.raises(TypeError, match="`weights`"):
        htf.end_tensor(dataclasses.replace(held, weights=None))
    assert jax.tree.structure(held) == jax.tree.structure(factors())
