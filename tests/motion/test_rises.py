"""Rises: crossings between records, what is refused, and that recording does not matter."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf

# Wrong calls on purpose, which a type checker would stop.
RISE: Any = htf.rise_times
CROSS: Any = htf.crossings
INDEX: Any = htf.incrementality
STEPS = np.arange(0, 2001, 5)
CENTRES = np.array([300.0, 700.0, 1200.0])


def logistic(steps: np.ndarray, width: float = 50.0) -> np.ndarray:
    return 1 / (1 + np.exp(-(np.asarray(steps, float)[:, None] - CENTRES) / width))


def test_crossings_lie_between_records_in_the_logarithm():
    """An exponential is a straight line there: exact, however coarse the records."""
    for every in (1, 7, 50):
        steps = np.arange(0, 401, every)
        values = np.exp(0.02 * steps)[:, None] * [1.0, 2.0]
        found = htf.crossings(steps, values, [50.0, 50.0])
        np.testing.assert_allclose(found, np.log([50.0, 25.0]) / 0.02, rtol=1e-12)


def test_the_last_crossing_counts():
    values = np.array([[0.1], [5.0], [0.2], [0.4], [3.0], [4.0]])
    assert 3 < htf.crossings(range(6), values, 1.0)[0] < 4
    falls = np.array([[0.1], [5.0], [0.2]])
    assert np.isnan(htf.crossings(range(3), falls, 1.0)[0])
    throughout = np.array([[2.0], [5.0]])
    assert np.isnan(htf.crossings(range(2), throughout, 1.0)[0])
    padded = np.array([[0.1], [5.0], [np.nan]])
    assert np.isfinite(htf.crossings(range(3), padded, 1.0)[0])


def test_runs_padded_with_nan_have_rises():
    """As `load_results` pads runs that stopped; a quantity of NaN alone has none."""
    steps, rise = np.arange(0.0, 60, 10), np.array([1e-3, 1e-2, 0.1, 1.0, 10.0, 10.0])
    values = np.stack([rise, rise / 2, np.full(6, np.nan)], axis=1)
    padded = np.concatenate([values, np.full((3, 3), np.nan)])
    wanted = htf.rise_times(steps, values)
    found = htf.rise_times(np.arange(0.0, 90, 10), padded)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert found.active.tolist() == [True, True, False]


def test_values_of_zero_cross_at_the_later_record():
    assert htf.crossings([0, 10], [[0.0], [8.0]], 1.0)[0] == 10


def test_positions_may_fall():
    """Log losses are positions of take-offs too."""
    found = htf.crossings([0.0, -2.0], [[1.0], [4.0]], 2.0)
    np.testing.assert_allclose(found, [-1.0])


def test_a_curve_that_passes_its_final_value_did_not_rise_to_it():
    rise = htf.rise_times(range(5), np.array([[0.0], [0.0], [100.0], [10.0], [1.0]]))
    assert np.isnan([rise.take_off[0], rise.half_rise[0], rise.width[0]]).all()
    steps = np.linspace(0, 1, 201)
    bump = np.where(steps < 0.5, 100 * steps**2, 25 * np.exp(-40 * (steps - 0.5)) + 1)
    assert np.isnan(htf.rise_times(steps, bump[:, None]).width[0])


def test_a_rise_of_fewer_than_four_records_has_no_width():
    ten_to_ninety = 50 * 2 * np.log(9)
    for every, known in ((5, True), (50, True), (75, False), (100, False)):
        steps = np.arange(0, 2001, every)
        rise = htf.rise_times(steps, logistic(steps))
        assert np.isfinite(rise.width).all() == known, every
        assert np.isfinite(rise.half_rise).all()
        if known:
            np.testing.assert_allclose(rise.width, ten_to_ninety, rtol=0.03)


def test_known_final_values_serve_runs_that_have_not_converged():
    """Half of the way up, the value of the last record would be taken for the end."""
    steps = np.arange(0, 1201, 5)
    rise = htf.rise_times(steps, logistic(steps), final=[1.0, 1.0, 1.0])
    whole = htf.rise_times(STEPS, logistic(STEPS))
    np.testing.assert_allclose(rise.take_off, whole.take_off, rtol=1e-3)
    np.testing.assert_allclose(rise.half_rise[:2], [300, 700], rtol=1e-3)
    assert np.isnan(rise.width[2])  # censored, not guessed
    alone = htf.rise_times(steps, logistic(steps))
    assert alone.half_rise[2] < 1170
    np.testing.assert_array_equal(rise.active, [True] * 3)


def test_small_quantities_do_not_count():
    values = np.concatenate([logistic(STEPS), 1e-3 * logistic(STEPS)[:, :1]], axis=1)
    assert htf.rise_times(STEPS, values).active.tolist() == [True] * 3 + [False]
    assert np.isfinite(htf.rise_times(STEPS, values, active=1e-4).take_off[3])


def test_the_index_hardly_depends_on_how_often_one_records():
    exact = np.median(np.diff(CENTRES) / (100 * np.log(9)))
    for every in (5, 15, 30, 50):
        steps = np.arange(0, 2001, every)
        index = htf.incrementality(htf.rise_times(steps, logistic(steps)))
        np.testing.assert_allclose(index, exact, rtol=0.03)
    steps = np.arange(0, 2001, 200)
    assert np.isnan(htf.incrementality(htf.rise_times(steps, logistic(steps))))


def test_one_rise_has_no_index():
    assert np.isnan(htf.incrementality(htf.rise_times(STEPS, logistic(STEPS)[:, :1])))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda: RISE([0, 2, 1], np.ones((3, 1))),
            ValueError,
            "`steps` must incr",
        ),
        (
            lambda: RISE([2, 1, 0], np.ones((3, 1))),
            ValueError,
            "`steps` must incr",
        ),
        (lambda: RISE(["a", "b"], np.ones((2, 1))), TypeError, "`steps`"),
        (lambda: RISE([0, np.nan], np.ones((2, 1))), ValueError, "`steps`"),
        (lambda: RISE([0, 1], np.ones((3, 1))), ValueError, "`values` "),
        (lambda: RISE([0, 1], ["a", "b"]), TypeError, "`values`"),
        (lambda: RISE([], np.ones((0, 1))), ValueError, "`steps`"),
        (lambda: RISE([0, 1], np.ones((2, 1)), active=-1), ValueError, "`active=-1`"),
        (lambda: RISE([0, 1], np.ones((2, 1)), active=np.nan), ValueError, "`active="),
        (
            lambda: RISE([0, 1], np.ones((2, 1)), final=[1.0, 2.0]),
            ValueError,
            "`final`",
        ),
        (lambda: CROSS([0, 1], -np.ones((2, 1)), 1.0), ValueError, "`values`"),
        (lambda: CROSS([0, 1], np.ones((2, 1)), "x"), TypeError, "`levels`"),
        (lambda: CROSS([0, 1], np.ones((2, 1)), [1, 2]), ValueError, "`levels`"),
        (lambda: INDEX(3), TypeError, "`rise`"),
    ],
)
def test_wrong_calls(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_traced_values_are_refused_by_name():
    traced = jnp.ones((4, 1))
    for call in (
        lambda x: RISE(range(4), x),
        lambda x: CROSS(range(4), x, 0.5),
        lambda x: CROSS(range(4), np.ones((4, 1)), x[:1, 0]),
        lambda x: RISE(range(4), np.ones((4, 1)), final=x[:1, 0]),
        lambda x: htf.find_stop(x[:, 0], 0.1, 1),
    ):
        with pytest.raises(TypeError, match=r"`(values|levels|final|losses)` .* concrete"):
            jax.jit(call)(traced)
