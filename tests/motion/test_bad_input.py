"""Wrong descents, flows, optimizers and trajectories: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import optax

import htfjax as htf
from tests import mistakes
from tests.mistakes import masked, square

SGD = optax.sgd(0.1)

OPTIMIZER = htf.group_rmsprop(1e-2)


def descend(num_steps=4, record_every=2, loss=square, params=None, **options):
    params = jnp.ones(2) if params is None else params
    return htf.descend(
        params, loss, OPTIMIZER, num_steps=num_steps, record_every=record_every, **options
    )


def proceed(state=None, optimizer=SGD, loss=square, **options):
    state = htf.start_descent(jnp.ones(2), SGD) if state is None else state
    options = {"num_steps": 4, "record_every": 2} | options
    return htf.continue_descent(state, loss, optimizer, **options)


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


def trajectory() -> htf.Trajectory:
    return proceed()[1]


MISTAKES = [
    # Descent
    ("steps_zero", lambda: descend(0, 1), ValueError, "`num_steps=0` at least 1"),
    ("steps_float", lambda: descend(4.0), TypeError, "`num_steps` 4.0"),
    ("record_zero", lambda: descend(4, 0), ValueError, "`record_every=0` at least 1"),
    ("record_uneven", lambda: descend(10, 4),
     ValueError, "`record_every=4` `num_steps=10`; use 8 or 12 steps, `record_every=2`."),
    ("record_long", lambda: descend(4, 8),
     ValueError, "`record_every=8` `num_steps=4`; use 8 steps, or `record_every=4`."),
    ("record_too_long", lambda: descend(4, 2**32), ValueError,
     "`num_steps=4`; use `record_every=4`."),
    ("loss_none", lambda: descend(loss=None), TypeError, "`loss` callable NoneType"),
    ("descent_key", lambda: proceed(key=0), TypeError, "`key` jax.random.key"),
    ("chunk_one", lambda: in_chunks(chunk_steps=1),
     ValueError, "`chunk_steps=1` at least 2"),
    ("chunk_uneven", lambda: in_chunks(record_every=2, chunk_steps=3),
     ValueError, "`record_every=2` `chunk_steps=3`"),
    ("chunk_steps_uneven", lambda: in_chunks(num_steps=5, record_every=2),
     ValueError, "`record_every=2` `until_step=5`"),
    ("chunk_steps_float", lambda: in_chunks(num_steps=4.0),
     TypeError, "`until_step` integer 4.0"),
    ("chunk_steps_negative", lambda: in_chunks(num_steps=-4),
     ValueError, "`until_step=-4`"),
    ("decay_one", lambda: htf.group_rmsprop(0.1, decay=1.0),
     ValueError, "`decay=1.0` below 1"),
    ("decay_negative", lambda: htf.scale_by_group_rms(decay=-0.1),
     ValueError, "`decay=-0.1` zero"),
    ("eps_negative", lambda: htf.scale_by_group_rms(eps=-1.0),
     ValueError, "`eps=-1.0` zero"),
    ("rate_negative", lambda: htf.group_rmsprop(-0.1),
     ValueError, "`learning_rate=-0.1` zero"),
    ("rate_infinite", lambda: htf.group_rmsprop(np.inf),
     ValueError, "`learning_rate=inf` finite"),
    ("rate_text", lambda: htf.group_rmsprop("fast"),
     TypeError, "`learning_rate fast number"),
    ("join_nothing", lambda: htf.join([]), ValueError, "`pieces` empty"),
    ("join_gap", lambda: htf.join([descend()[1], descend()[1]]),
     ValueError, "`pieces` step 4 0"),
    ("rise_flat", lambda: htf.rise_times(np.arange(3), np.ones(3)),
     ValueError, "`steps` (3,) `values` (K, M) `values[:, None]` `steps` comes first"),
    ("rise_exchanged", lambda: htf.rise_times(np.ones((3, 2)), np.arange(3)),
     ValueError, "`steps` (3, 2) `values` (3,) ; `steps` comes first."),
    ("rise_turned", lambda: htf.rise_times(np.arange(3), np.ones((2, 3))),
     ValueError, "`values` (2, 3) `values.T`"),
    ("crossings_flat", lambda: htf.crossings(np.arange(3), np.ones(3), 1.0),
     ValueError, "`positions` (3,) `values[:, None]`"),
    ("rise_lengths", lambda: htf.rise_times(np.arange(2), np.ones((3, 2))),
     ValueError, "`steps` `values` 2 3"),
    ("start_words", lambda: htf.start_descent({"a": "b"}, SGD), TypeError, "`params['a']`"),
    ("start_ints", lambda: htf.start_descent(jnp.arange(2), SGD), TypeError, "`params int"),
    ("start_empty", lambda: htf.start_descent([], SGD), TypeError, "`params` no arrays"),
    ("start_optimizer", lambda: htf.start_descent(jnp.ones(2), 0.1),
     TypeError, "`optimizer` optax 0.1"),
    ("state_params", lambda: proceed(jnp.ones(2)), TypeError, "`state` DescentState start"),
    ("state_step",
     lambda: proceed(htf.DescentState(jnp.ones(2), SGD.init(jnp.ones(2)), None)),
     TypeError, "`state.step` int32 None"),
    ("state_of_another_optimizer",
     lambda: proceed(htf.start_descent(jnp.ones(2), optax.adam(0.1))),
     TypeError, "`optimizer` began `state`"),
    ("observe_number", lambda: proceed(observe=1), TypeError, "`observe` callable 1"),
    ("descent_loss_pair", lambda: proceed(loss=lambda x: (x @ x, 1)),
     TypeError, "`loss` floating scalar"),
    ("descent_old_key", lambda: proceed(key=jax.random.PRNGKey(0)),
     TypeError, "`key` typed"),
    (
        "flow_observe",
        lambda: htf.gradient_flow(
            jnp.ones(2), square, times=[1.0], rtol=1e-3, atol=0.0, observe=1
        ),
        TypeError,
        "`observe` callable",
    ),
    ("flow_params",
     lambda: htf.gradient_flow({"a": "b"}, square, times=[1.0], rtol=1e-3, atol=0.0),
     TypeError, "`params['a']` floating"),
    ("optimizer_params", lambda: htf.group_rmsprop(0.1).init(jnp.arange(2)),
     TypeError, "`params floating int"),
    # Masked arrays
    ("masked_losses", lambda: htf.find_stop(masked([1.0, 0.5]), 0.1, 1),
     TypeError, "`losses` masked"),
    ("masked_values", lambda: htf.rise_times([0, 1], masked(np.ones((2, 1)))),
     TypeError, "`values` masked"),
    ("masked_params", lambda: htf.start_descent(masked(np.ones(2)), SGD),
     TypeError, "`params` floating masked"),
    # Trajectories
    ("patience_negative", lambda: htf.find_stop([1.0, 0.5], 0.1, -1),
     ValueError, "`patience=-1` at least 0"),
    ("patience_nan", lambda: htf.find_stop([1.0, 0.5], 0.1, np.nan),
     TypeError, "`patience` integer nan"),
    ("tolerance_nan", lambda: htf.find_stop([1.0, 0.5], np.nan, 1),
     ValueError, "`tolerance=nan` finite"),
    ("divergence_zero", lambda: htf.find_stop([1.0, 0.5], 0.1, 1, divergence=0),
     ValueError, "`divergence=0` above zero"),
    ("losses_column", lambda: htf.find_stop([[1.0], [0.5]], 0.1, 1),
     ValueError, "`losses` (2, 1) (K,)"),
    ("losses_empty", lambda: htf.find_stop([], 0.1, 1), ValueError, "`losses` empty"),
    ("steps_decrease", lambda: htf.rise_times([2, 1], np.ones((2, 1))),
     ValueError, "`steps` increase"),
    ("steps_words", lambda: htf.rise_times(["0", "1"], np.ones((2, 1))),
     TypeError, "`steps` real numbers <U1"),
    ("values_complex", lambda: htf.rise_times([0, 1], np.ones((2, 1)) * 1j),
     TypeError, "`values` real complex128"),
    ("active_negative", lambda: htf.rise_times([0, 1], np.ones((2, 1)), active=-1),
     ValueError, "`active=-1` from 0 to 1"),
    ("join_one", lambda: htf.join(trajectory()), TypeError, "`pieces` list"),
    ("join_numbers", lambda: htf.join([1, 2]), TypeError, "`pieces[0]` Trajectory"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)
