"""Wrong data and wrong calls of losses: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import htfjax as htf
from tests import mistakes
from tests.mistakes import (
    INDICES,
    TARGETS,
    TREE,
    completion,
    factors,
    indices_with,
    key,
    masked,
    square,
    with_weight,
)

ENABLE = "jax_enable_x64"


MISTAKES = [
    # Losses
    ("loss_tree", lambda: completion(tree=4), TypeError, "`tree` ModeTree from_nested"),
    ("loss_index", lambda: completion(indices_with(3)), ValueError, "`indices[1, 2]` is 3"),
    ("loss_float", lambda: completion(INDICES * 1.0), TypeError, "`indices` integers"),
    ("loss_dims", lambda: completion(dims=(3, 3, 3)),
     ValueError, "`mode_dims=(3, 3, 3)` 4"),
    ("targets_long", lambda: completion(targets=np.ones(3)),
     ValueError, "`targets` (3,) (2,) one value each observation"),
    ("targets_column", lambda: completion(targets=np.ones((2, 1))),
     ValueError, "`targets` (2, 1) (2,)"),
    ("targets_nan", lambda: completion(targets=[1.0, np.nan]),
     ValueError, "`targets[1]` is nan finite"),
    ("targets_infinite", lambda: completion(targets=jnp.array([-jnp.inf, 1.0])),
     ValueError, "`targets[0]` is -inf finite"),
    ("targets_complex", lambda: completion(targets=[1j, 1.0]),
     TypeError, "`targets` complex real"),
    ("targets_text", lambda: completion(targets=["a", "b"]), TypeError, "`targets`"),
    ("no_observations", lambda: completion(np.zeros((0, 4), int), []),
     ValueError, "`targets` empty at least one"),
    ("penalty", lambda: completion(penalty="L2"),
     ValueError, "`penalty='L2'` 'l2' 'l1' 'huber'"),
    ("threshold_zero", lambda: completion(penalty="huber", threshold=0.0),
     ValueError, "`threshold=0.0` above zero"),
    ("threshold_negative", lambda: completion(penalty="huber", threshold=-1),
     ValueError, "`threshold=-1` above zero"),
    ("penalize_word", lambda: htf.penalize(jnp.ones(2), penalty="mse"),
     ValueError, "`penalty='mse'` 'l2'"),
    ("penalize_threshold",
     lambda: htf.penalize(jnp.zeros(2), penalty="huber", threshold=0.0),
     ValueError, "`threshold=0.0` above zero"),
    ("loss_of_another_tree", lambda: completion()(factors(htf.interleaved(4))),
     ValueError, "`factors` 4 {0,1} 4 {0,2}"),
    ("loss_of_other_dims",
     lambda: completion()(htf.gaussian_factors(key(), TREE, 4, 2, 1.0)),
     ValueError, "`factors` (3, 3, 3, 3) (4, 4, 4, 4)"),
    ("loss_of_tuple", lambda: completion()(factors().weights),
     TypeError, "`factors` tuple"),
    ("batch_zero", lambda: htf.minibatch_loss(completion(), 0),
     ValueError, "`batch_size=0`"),
    ("batch_large", lambda: htf.minibatch_loss(completion(), 3),
     ValueError, "`batch_size=3` 2 observations"),
    ("batch_function", lambda: htf.minibatch_loss(square, 1), TypeError, "`loss` function"),
    ("residuals_function", lambda: htf.residuals(square, factors()),
     TypeError, "`loss` function"),
    ("residuals_minibatch",
     lambda: htf.residuals(htf.minibatch_loss(completion(), 1), factors()),
     TypeError, "`loss` MinibatchLoss"),
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
    ("masked_targets_in_a_list", lambda: completion(targets=[1.0, np.ma.masked]),
     TypeError, "`targets` masked drop"),
    ("unmasked_masked_array", lambda: completion(targets=np.ma.array(TARGETS)),
     TypeError, "`targets` masked"),
    ("masked_loss_indices", lambda: completion(masked(INDICES)),
     TypeError, "`indices` masked"),
    ("masked_residuals", lambda: htf.penalize(masked([1.0, 2.0])), TypeError, "`x` masked"),
    ("missing_targets", lambda: completion(targets=[1.0, None]),
     TypeError, "`targets` missing NoneType drop"),
    (
        "missing_in_a_series",
        lambda: completion(targets=pd.Series([1.0, None], dtype="Float64")),
        (TypeError, ValueError),  # pandas 3 makes NaN of what is missing
        "`targets",
    ),
    # What is no real number
    ("words", lambda: completion(targets=np.array(["1.0", "2.0"])),
     TypeError, "`targets` real numbers <U3"),
    ("dates", lambda: completion(targets=np.zeros(2, "datetime64[s]")),
     TypeError, "`targets` real numbers datetime64"),
    ("keys_as_targets", lambda: completion(targets=jax.random.split(key(), 2)),
     TypeError, "`targets` array"),
    ("long_double",
     lambda: completion(targets=np.array([1.0, 1 + np.finfo(np.longdouble).eps])),
     ValueError, "`targets` float64 round astype(float)"),
    # What a dtype does not hold
    ("targets_beyond_float32",
     lambda: completion(targets=[1.0, 1e300])(factors(dtype=jnp.float32)),
     ValueError, "`targets[1]` 1e+300 float32"),
    (
        "target_factors_beyond_float32",
        lambda: htf.population_loss(with_weight(0, jnp.full((3, 2), 1e300)))(
            factors(dtype=jnp.float32)
        ),
        ValueError,
        "`target_factors[0, 0]` 1e+300 float32",
    ),
    ("huber_underflow",
     lambda: completion(penalty="huber", threshold=1e-300)(factors(dtype=jnp.float32)),
     ValueError, "`threshold=1e-300` 0.0 float32"),
    # Factors
    ("target_factors", lambda: htf.population_loss(None),
     TypeError, "`target_factors` htfjax.Factors NoneType"),
    ("population_dims",
     lambda: htf.population_loss(factors())(htf.gaussian_factors(key(), TREE, 4, 2, 1.0)),
     ValueError, "`factors` `target_factors` (4, 4, 4, 4)"),
    # Plans
    ("loss_platform", lambda: completion(platform="metal"),
     ValueError, "`platform='metal'` 'cpu' 'cuda' 'tpu' rates"),
    # Words
    ("penalty_word", lambda: completion(penalty="l3"), ValueError, "`penalty='l3'` huber"),
    ("penalty_none", lambda: completion(penalty=None), TypeError, "`penalty=None` 'l2'"),
    ("loss_plan_word", lambda: completion(plan="fast"),
     ValueError, "`plan='fast'` 'auto' 'exact'"),
    # Losses that were given
    ("old_style_key",
     lambda: htf.minibatch_loss(completion(), 1)(factors(), jax.random.PRNGKey(0)),
     TypeError, "`key` typed jax.random.key"),
    ("plan_of_a_function", lambda: htf.loss_plan(square, factors()),
     TypeError, "`loss` entries completion_loss"),
    ("no_residuals", lambda: htf.penalize([]), ValueError, "`x` empty at least one"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


def test_a_bad_target_is_reported_in_its_own_place():
    targets = np.ones(2)
    for row in (0, 1):
        bad = targets.copy()
        bad[row] = np.nan
        with pytest.raises(ValueError, match=rf"`targets\[{row}\]`"):
            completion(targets=bad)


def test_targets_beyond_float32_are_refused_without_x64():
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=rf"`targets\[1\]` is 1e\+300.*{ENABLE}"):
            completion(targets=[1.0, 1e300])
        with pytest.raises(ValueError, match=r"`threshold=1e-300` becomes 0.0 in float32"):
            completion(penalty="huber", threshold=1e-300)
