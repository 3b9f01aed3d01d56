"""Wrong calls of the theory: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np

import htfjax as htf
from tests import mistakes
from tests.mistakes import TREE, factors, key, masked, square

MISTAKES = [
    # Masked arrays
    ("masked_times", lambda: htf.theory.rank_one_scale(masked([0.1, 0.2]), 1.0, 1.0, 3),
     TypeError, "`time` masked"),
    # What is no real number
    ("complex_norm", lambda: htf.theory.rank_one_scale(0.1, 1.0, 1j, 3),
     TypeError, "`norm` real complex"),
    ("complex_scales",
     lambda: htf.theory.rescale_component(factors(), 6, 0, (1j, -1j, 1.0)),
     TypeError, "`scales[0]` real number 1j"),
    # Factors
    ("drift_after", lambda: htf.theory.drift(factors(), None),
     TypeError, "`after` htfjax.Factors"),
    # Losses that were given
    ("loss_of_nothing", lambda: htf.theory.component_forces(factors(), lambda f: None),
     TypeError, "`loss` floating scalar None"),
    # Ranks
    ("bounds_rtol", lambda: htf.theory.node_rank_bounds(factors(), rtol=-1.0),
     ValueError, "`rtol=-1.0` zero or more"),
    # Closed forms
    ("norm_negative", lambda: htf.theory.rank_one_blow_up_time(0.5, -1.0, 3),
     ValueError, "`norm` -1.0 zero or more"),
    ("start_array", lambda: htf.theory.blow_up_time([1.0, 0.0], 1.0, 3),
     ValueError, "`start[1]` 0.0 above zero"),
    ("time_negative", lambda: htf.theory.constant_force_norm([0.0, -0.5], 1.0, 1.0, 3),
     ValueError, "`time[1]` -0.5 zero or more"),
    ("force_nan", lambda: htf.theory.blow_up_time(1.0, np.nan, 3),
     ValueError, "`force` nan finite"),
    ("do_not_broadcast",
     lambda: htf.theory.rank_one_scale([0.1, 0.2], [1.0, 1.0, 1.0], 1.0, 3),
     ValueError, "`time` `start` `norm` broadcast"),
    ("scales_word", lambda: htf.theory.rescale_component(factors(), 6, 0, "111"),
     TypeError, "`scales` list '111'"),
    ("ranks_leaf", lambda: htf.theory.truncate(factors(), {0: 1}),
     ValueError, "`ranks=0` interior 4..6"),
    ("shared_chain",
     lambda: htf.theory.to_factors(TREE, [np.ones((3, 2)), np.ones((4, 2)), None]),
     ValueError, "`matrices[0]` (3, 2) 4"),
    ("shared_masked",
     lambda: htf.theory.to_factors(TREE, [masked(np.ones((3, 2))), np.ones((2, 2)), None]),
     TypeError, "`matrices[0]` masked"),
    ("growth_eps", lambda: htf.theory.growth_bounds(factors(), square, eps=np.nan),
     ValueError, "`eps=nan` finite"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


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
