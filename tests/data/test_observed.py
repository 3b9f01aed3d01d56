"""Observed cells of arrays and pairs: scaling, holdout, labels, errors in units."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests.helpers import assert_close

KEY = jax.random.key(0)
TREE = htf.ModeTree.from_nested(((0, 1), 2))
DIMS = (4, 5, 6)


def holed(share: float = 0.7, seed: int = 0) -> np.ndarray:
    """An array in whose slices some values are missing, all of them around 100."""
    rng = np.random.default_rng(seed)
    values = 100 + 5 * rng.standard_normal(DIMS)
    return np.where(rng.random(DIMS) < share, values, np.nan)


def cells(data: htf.Observed) -> dict[tuple[int, ...], float]:
    """Every cell of both parts with its value in the user's units."""
    indices = np.concatenate([data.indices, data.test_indices])
    values = data.in_units(np.concatenate([data.targets, data.test_targets]))
    assert len(np.unique(indices, axis=0)) == len(indices)
    return {tuple(map(int, i)): float(v) for i, v in zip(indices, values, strict=True)}


def start() -> htf.Factors:
    return htf.gaussian_factors(jax.random.key(1), TREE, DIMS, 3, 0.5)


# Cells


def test_the_two_parts_are_the_cells_that_are_there():
    values = holed()
    data = htf.observed(values, holdout=0.25, key=KEY)
    found = cells(data)
    there = {tuple(map(int, i)) for i in np.argwhere(~np.isnan(values))}
    assert found.keys() == there
    assert all(abs(found[at] - values[at]) < 1e-12 * 100 for at in there)
    assert len(data.test_targets) == round(0.25 * len(there))
    assert data.mode_dims == DIMS
    assert data.mode_names == ("mode_0", "mode_1", "mode_2")


def forms():
    values = holed()
    there = np.argwhere(~np.isnan(values))
    mixed = np.random.default_rng(1).permutation(len(there))
    return {
        "jax": jnp.asarray(values),
        "list": values.tolist(),
        "masked": np.ma.masked_invalid(values),
        "masked number": np.ma.array(
            np.nan_to_num(values, nan=-999), mask=np.isnan(values)
        ),
        "objects": [[[None if x != x else x for x in y] for y in z] for z in values],
        "pair": (there[mixed], values[tuple(there[mixed].T)]),
        "pair with missing": (np.argwhere(np.ones(DIMS)), values.ravel()),
    }


@pytest.mark.parametrize("form", list(forms()))
def test_equal_data_in_another_form_give_the_same_record(form):
    wanted = htf.observed(holed(), key=KEY)
    found = htf.observed(forms()[form], key=KEY)
    for field in dataclasses.fields(htf.Observed):
        a, b = getattr(found, field.name), getattr(wanted, field.name)
        assert all(map(np.array_equal, a, b)) if field.name == "levels" else np.all(a == b)


def test_a_missing_value_of_a_pair_is_no_cell():
    pair = ([[0, 0], [0, 1], [1, 0], [1, 1]], [1.0, np.nan, 2.0, 3.0])
    with pytest.warns(
        UserWarning, match=r"one observed cell only of 2 levels \(mode_0=0, "
    ):
        data = htf.observed(pair, holdout=0, scaling="none")
    assert data.indices.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert data.targets.tolist() == [1.0, 2.0, 3.0]


def test_records_cannot_be_changed():
    data = htf.observed(holed(), key=KEY)
    with pytest.raises(ValueError, match="read-only"):
        data.targets[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.scale = 2.0  # pyright: ignore[reportAttributeAccessIssue]


def test_the_representation_is_short():
    data = htf.observed(holed(), modes=["a", "b", "c"], key=KEY)
    assert repr(data).startswith("Observed(value of a 4, b 5, c 6: ")
    assert len(repr(data)) < 120


# Scaling


def test_targets_have_mean_zero_and_variance_one_over_the_cells_to_train_on():
    data = htf.observed(holed(), holdout=0.3, key=KEY)
    assert abs(data.targets.mean()) < 1e-13
    assert abs(data.targets.std() - 1) < 1e-13
    assert abs(data.test_targets.mean()) > 1e-3  # of which the scaling knows nothing
    values = holed()[tuple(data.indices.T)]
    assert_close(data.shift, values.mean(), rtol=1e-13)
    assert_close(data.scale, values.std(), rtol=1e-13)


def test_without_scaling_targets_are_the_values():
    data = htf.observed(holed(), scaling="none", key=KEY)
    assert (data.shift, data.scale) == (0.0, 1.0)
    assert np.array_equal(data.targets, holed()[tuple(data.indices.T)])


def test_integers_that_float64_holds_are_read_however_large():
    """What stands below a mask does not matter."""
    values = np.array([[2**53, -(2**60)], [2**62 + 2**10, -(2**63)]])
    below = np.ma.array(values + 1, mask=[[True, False], [False, False]])
    below[0, 1] += -1
    below[1] -= 1
    data = htf.observed(values, holdout=0, scaling="none")
    assert data.targets.tolist() == [2.0**53, -(2.0**60), 2.0**62 + 2.0**10, -(2.0**63)]
    with pytest.warns(UserWarning, match="one observed cell only"):
        masked = htf.observed(below, holdout=0, scaling="none")
    assert masked.targets.tolist() == data.targets[1:].tolist()


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e300])
def test_values_that_are_all_the_same_have_scale_one(constant):
    data = htf.observed(np.full((2, 3), constant), holdout=0)
    assert data.scale == 1.0
    assert_close(data.in_units(np.zeros(1)), np.full(1, constant), rtol=1e-15)


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_scales_whose_squares_leave_the_range_are_right(size):
    plain = np.random.default_rng(0).standard_normal((3, 4))
    data = htf.observed(size * plain, holdout=0)
    assert_close(data.targets, htf.observed(plain, holdout=0).targets, rtol=1e-12)


def test_units_come_back_from_any_array():
    data = htf.observed(holed(), key=KEY)
    wanted = data.shift + data.scale * np.array([0.0, 1.0])
    assert_close(data.in_units([0, 1]), wanted, rtol=1e-15)
    found = jax.jit(data.in_units)(jnp.array([0.0, 1.0], jnp.float32))
    assert found.dtype == jnp.float32
    assert_close(found, wanted, rtol=1e-6)


def test_predictions_in_single_precision_keep_what_a_large_shift_leaves():
    """As numbers of float32, 1e9 to 1e9 + 11 would be one number."""
    values = 1e9 + np.arange(12.0).reshape(3, 4)
    data = htf.observed(values, key=KEY)
    exact = (values - data.shift) / data.scale
    found = data.in_units(jnp.asarray(exact, jnp.float32))
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    assert_close(found - 1e9, values - 1e9, rtol=1e-6)
    assert np.array_equal(found, data.decode(jnp.asarray(exact, jnp.float32)).values)


# Losses and errors


@pytest.mark.slow
def test_losses_and_the_error_are_means_over_their_part():
    data = htf.observed(holed(), holdout=0.3, key=KEY)
    tensor = np.asarray(htf.end_tensor(start()))
    train = tensor[tuple(data.indices.T)] - data.targets
    test = tensor[tuple(data.test_indices.T)] - data.test_targets
    assert_close(data.loss(TREE)(start()), np.mean(train**2), rtol=1e-12)
    assert_close(data.test_loss("((0, 1), 2)")(start()), np.mean(test**2), rtol=1e-12)
    assert_close(data.loss(TREE, penalty="l1")(start()), np.abs(train).mean(), rtol=1e-12)
    units = data.shift + data.scale * tensor - holed()
    wanted = np.sqrt(np.mean(units[tuple(data.test_indices.T)] ** 2))
    for factors in (start(), htf.group(start())):
        assert_close(data.test_error(factors), wanted, rtol=1e-11)


def test_the_error_can_be_read_while_tracing():
    """As `observe` of a descent reads it, for factors of single precision."""
    data = htf.observed(holed(), key=KEY)
    single = jax.tree.map(lambda w: w.astype(jnp.float32), start())
    found = jax.jit(data.test_error)(single)
    assert found.dtype == jnp.float32
    assert_close(found, data.test_error(start()), rtol=1e-5)


@pytest.mark.slow
def test_the_error_of_perfect_factors_has_a_derivative():
    ones = htf.identity_factors(htf.flat(2), 2, 2, 1.0)
    exact = np.asarray(htf.end_tensor(ones))
    data = htf.observed(exact, holdout=0.25, key=KEY, scaling="none")
    value, slopes = jax.value_and_grad(data.test_error)(ones)
    assert value == 0
    assert all((w == 0).all() for w in slopes.weights)


# Holdout


def test_a_key_decides_what_is_held_out():
    one, same, other = (
        htf.observed(holed(), key=jax.random.key(n)).test_indices.tolist()
        for n in (0, 0, 1)
    )
    assert one == same != other


def test_every_cell_may_be_held_out():
    """Over many keys each cell is held out about as often as another."""
    full = np.arange(12.0).reshape(3, 4)
    counts = np.zeros((3, 4))
    for n in range(300):
        data = htf.observed(full, holdout=0.25, key=jax.random.key(n))
        counts[tuple(data.test_indices.T)] += 1
    assert counts.sum() == 3 * 300
    # Mean 75, standard deviation 7.5 of a binomial one.
    assert abs(counts - 75).max() < 4 * 7.5


@pytest.mark.parametrize("holdout", [0.1, 0.5, 0.65])
@pytest.mark.parametrize("seed", range(5))
def test_every_level_keeps_a_cell_to_train_on(holdout, seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((6, 7, 8)) < 0.15, 1.0 + rng.random((6, 7, 8)), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = htf.observed(values, holdout=holdout, key=jax.random.key(seed))
    for mode in range(3):
        seen = np.unique(np.argwhere(~np.isnan(values))[:, mode])
        assert np.array_equal(np.unique(data.indices[:, mode]), seen)
    assert len(data.test_targets) == round(holdout * np.sum(~np.isnan(values)))


def test_a_level_with_one_cell_is_named_and_not_held_out():
    values = np.ones((3, 4))
    values[1, :3] = np.nan
    for n in range(10):
        with pytest.warns(UserWarning, match=r"only of 1 level \(mode_0=1\)\. Such cells"):
            data = htf.observed(values, holdout=0.4, key=jax.random.key(n))
        assert [1, 3] in data.indices.tolist()
        assert len(data.test_targets) == 4


def test_few_of_many_levels_are_named():
    indices = [[n, 0] for n in range(9)] + [[9, 0], [9, 1], [8, 1]]
    with pytest.warns(UserWarning, match="one observed cell only") as caught:
        htf.observed((indices, np.arange(12.0)), holdout=0)
    (text,) = (str(w.message) for w in caught)
    assert "8 levels (mode_0=0, mode_0=1, mode_0=2, mode_0=3, mode_0=4, ...)" in text
    assert caught[0].filename == __file__


def test_a_level_without_cells_is_named():
    values = np.ones((3, 4))
    values[:, 2] = np.nan
    with pytest.warns(UserWarning, match=r"no observed cell of 1 level \(mode_1=2\)"):
        data = htf.observed(values, holdout=0)
    assert data.mode_dims == (3, 4)


def test_fewer_are_held_out_than_asked_where_levels_would_be_left_empty():
    with pytest.warns(
        UserWarning, match=r"`holdout=0.8` asks for 7 of 9 cells, and [456] "
    ):
        data = htf.observed(np.arange(9.0).reshape(3, 3), holdout=0.8, key=KEY)
    assert set(data.indices[:, 0]) == set(data.indices[:, 1]) == {0, 1, 2}


def test_cells_that_are_given_twice_are_averaged():
    indices = [[0, 0], [0, 1], [1, 0], [1, 1], [0, 0], [1, 1], [1, 1]]
    values = [1.0, 2.0, 3.0, 0.1, 4.0, 0.1, 0.1]
    with pytest.warns(UserWarning, match=r"1 cell with values that differ, by up to 3 \("):
        data = htf.observed((indices, values), holdout=0, scaling="none")
    assert data.indices.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert data.targets.tolist() == [2.5, 2.0, 3.0, 0.1]


def test_equal_values_of_a_cell_are_silent_and_stay():
    pair = ([[0, 0], [1, 1], [0, 1], [1, 0]] * 10, [0.1, 0.3, 0.7, 1 / 3] * 10)
    data = htf.observed(pair, holdout=0, scaling="none")  # a warning would be an error
    assert data.targets.tolist() == [0.1, 0.7, 1 / 3, 0.3]  # ten tenths of 0.1 are less


# Labels


def test_indices_and_labels_go_both_ways():
    data = htf.observed(holed(), modes=["a", "b", "c"], key=KEY)
    labels = data.labels(data.indices)
    assert list(labels) == ["a", "b", "c"]
    assert np.array_equal(data.codes(labels), data.indices)
    assert data.codes(labels).dtype == np.int32


def test_predictions_become_columns_in_units():
    data = htf.observed(holed(), modes=["a", "b", "c"], key=KEY)
    columns = data.decode(data.test_targets, data.test_indices)
    assert list(columns) == ["a", "b", "c", "value"]
    assert_close(columns["value"], holed()[tuple(data.test_indices.T)], rtol=1e-14)


def test_an_end_tensor_is_labelled_and_in_units():
    data = htf.observed(holed(), modes=["a", "b", "c"], key=KEY)
    tensor = htf.end_tensor(start())
    decoded = data.decode(tensor)
    assert decoded.dims == ("a", "b", "c")
    assert_close(decoded.sel(a=1, c=5).values, data.in_units(tensor)[1, :, 5], rtol=1e-14)


def test_indices_of_a_pair_may_leave_out_levels_of_mode_dims():
    pair = ([[0, 0], [1, 1], [0, 1], [1, 0]], np.arange(4.0))
    assert htf.observed(pair, holdout=0).mode_dims == (2, 2)
    with pytest.warns(UserWarning, match=r"no observed cell of 1 level \(mode_1=2\)"):
        assert htf.observed(pair, holdout=0, mode_dims=(2, 3)).mode_dims == (2, 3)
