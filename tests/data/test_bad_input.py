"""Wrong data and wrong calls of observed cells: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false, reportCallIssue=false

from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import htfjax as htf
from tests import mistakes
from tests.mistakes import key

SQUARE = [[0, 0], [0, 1], [1, 0], [1, 1]]
DIAGONAL = np.diag([1.0, 2.0, 3.0]) + np.where(np.eye(3) == 1, 0, np.nan)


def read(data: Any, **options: Any) -> htf.Observed:
    return htf.observed(data, **{"holdout": 0, **options})


def full() -> np.ndarray:
    return np.arange(6.0).reshape(2, 3)


def pair(indices: Any = SQUARE, values: Any = (1.0, 2.0, 3.0, 4.0), **options: Any) -> Any:
    return read((indices, values), **options)


def table(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(SQUARE, columns=["user", "film"], index=[10, 20, 30, 40])
    return frame.assign(**{"rating": [1.0, 2.0, 3.0, 4.0], **columns})


def with_entry(at: tuple[int, ...], value: Any) -> np.ndarray:
    changed = full().astype(np.result_type(full(), value))
    changed[at] = value
    return changed


def square() -> htf.Observed:
    return htf.observed(full(), holdout=0.2, key=key(), modes=["user", "film"])


def labels(**columns: Any) -> dict[str, Any]:
    return {"user": [0, 1], "film": [2, 0], **columns}


MISTAKES = [
    # Arrays
    ("infinite", lambda: read(with_entry((1, 2), -np.inf)), ValueError,
     "`data[1, 2]` -inf finite NaN"),
    ("beyond_floats", lambda: read([[1.0, None], [-(10**400), 3.0]]), ValueError,
     "`data[1, 0]` -inf float64 finite"),
    ("rounded", lambda: read([[1, 2], [2**53 + 1, 4]]), ValueError,
     f"`data[1, 0]` {2**53 + 1} float64 2^53 offset `.astype(float)`"),
    ("rounded_unsigned", lambda: read(np.full((2, 2), 2**64 - 1, np.uint64)), ValueError,
     f"`data[0, 0]` {2**64 - 1}"),
    ("rounded_object", lambda: read([[1, None], [3, -(2**53) - 1]]), ValueError,
     f"`data[1, 1]` {-(2**53) - 1}"),
    ("rounded_in_a_pair", lambda: pair(values=[1, 2, 3, 2**60 + 1]), ValueError,
     f"`data[1][3]` {2**60 + 1}"),
    ("rounded_column", lambda: read(table(rating=[1, 2, 2**53 + 1, 4])), ValueError,
     f"`data['rating']` row 30 {2**53 + 1}"),
    ("rounded_nullable", lambda: read(table(
        rating=pd.array([None, 2, 2**53 + 1, 4], dtype="Int64"))), ValueError,
     f"`data['rating']` row 30 {2**53 + 1}"),
    ("complex", lambda: read(full() + 1j), TypeError, "`data` real complex128"),
    ("complex_jax", lambda: read(jax.numpy.asarray(full() + 1j)), TypeError,
     "`data` real complex"),
    ("booleans", lambda: read(full() > 2), TypeError, "`data` booleans astype(float)"),
    ("text", lambda: read(full().astype(str)), TypeError, "`data` real numbers <U"),
    ("text_in_lists", lambda: read([[1.0, None], ["2", 3.0]]), TypeError,
     "`data` real numbers '2' [1, 0]"),
    ("truth_in_lists", lambda: read([[1.0, None], [True, 3.0]]), TypeError,
     "`data` real numbers True [1, 0]"),
    ("dates", lambda: read(np.zeros((2, 2), "datetime64[s]")), TypeError,
     "`data` real numbers datetime64"),
    ("all_missing", lambda: read(full() * np.nan), ValueError,
     "`data` no observed cell missing"),
    ("all_masked", lambda: read(np.ma.masked_all((2, 3))), ValueError,
     "`data` no observed cell missing"),
    ("no_entries", lambda: read(np.zeros((3, 0))), ValueError, "`data` empty (3, 0)"),
    ("one_mode", lambda: read(np.ones(3)), ValueError, "`data` 1 mode at least two"),
    ("one_mode_of_lists", lambda: read([1.0, 2.0]), ValueError, "`data` 1 mode"),
    ("no_mode", lambda: read(np.array(1.0)), ValueError, "`data` 0 modes"),
    ("ragged", lambda: read([[1.0], [1.0, 2.0]]), ValueError,
     "`data` rectangular tuple (indices, values)"),
    ("pair_as_a_list", lambda: read([SQUARE, [1.0, 2.0, 3.0, 4.0]]), ValueError,
     "`data` rectangular tuple (indices, values)"),
    ("number", lambda: read(3.0), TypeError, "`data` array pair DataFrame 3.0"),
    ("traced", lambda: jax.jit(read)(full()), TypeError, "`data` concrete tracing"),
    # Pairs
    ("negative_index", lambda: pair([[0, 0], [0, -1], [1, 0], [1, 1]]), ValueError,
     "`data[0][1, 1]` -1 from 0 table"),
    ("large_index", lambda: pair(np.array(SQUARE) * 2**40), ValueError,
     "`data[0][1, 1]` 1099511627776 2147483646"),
    ("identifiers", lambda: pair([[0, 0], [0, 2**30], [1, 0], [1, 1]]), ValueError,
     "`data[0]` 1073741824 mode 1 `mode_dims` table"),
    ("float_indices", lambda: pair(np.array(SQUARE) * 1.0), TypeError,
     "`data[0]` integers float64"),
    ("index_beyond_dims", lambda: pair(mode_dims=(2, 1)), ValueError,
     "`data[0][1, 1]` is 1 `mode_dims` mode 1 dimension 1"),
    ("dims_of_other_order", lambda: pair(mode_dims=(2, 2, 2)), ValueError,
     "`mode_dims=(2, 2, 2)` 3 entries expected 2"),
    ("pair_of_other_lengths", lambda: pair(values=[1.0, 2.0]), ValueError,
     "`data[1]` (2,) (4,)"),
    ("pair_infinite", lambda: pair(values=[1.0, np.inf, 3.0, 4.0]), ValueError,
     "`data[1][1]` inf finite"),
    ("pair_of_text", lambda: pair(values=["a", "b", "c", "d"]), TypeError,
     "`data[1]` real numbers <U1"),
    ("pair_of_booleans", lambda: pair(values=[True] * 4), TypeError,
     "`data[1]` booleans"),
    ("pair_all_missing", lambda: pair(values=[np.nan] * 4), ValueError,
     "`data` no observed cell"),
    ("pair_empty", lambda: pair(np.zeros((0, 2), int), []), ValueError,
     "`data` empty no rows"),
    ("pair_of_one_mode", lambda: pair([[0], [1], [2], [3]]), ValueError,
     "`data[0]` 1 mode at least two"),
    ("array_as_tuple", lambda: read(((1, 2), (3, 4))), ValueError,
     "`data[0]` (2,) (B, N) tuple"),
    # Tables
    ("table_empty", lambda: read(table()[:0]), ValueError, "`data` empty no rows"),
    ("series_empty", lambda: read(table().set_index(["user", "film"])["rating"][:0]),
     ValueError, "`data` empty no rows"),
    ("table_all_missing", lambda: read(table(rating=None)), ValueError,
     "`data` no observed cell"),
    ("table_of_text", lambda: read(table(rating=list("abcd"))), TypeError,
     "`data['rating']` real numbers"),
    ("table_of_text_and_numbers",
     lambda: read(table(rating=pd.Series([1, "x", 2, 3], table().index, object))),
     TypeError, "`data['rating']` real numbers 'x'"),
    ("table_of_booleans", lambda: read(table(rating=True)), TypeError,
     "`data['rating']` booleans `values="),
    ("table_of_complex", lambda: read(table(rating=1j)), TypeError,
     "`data['rating']` real numbers complex128"),
    ("table_of_categories",
     lambda: read(table().astype({"rating": "category"})), TypeError,
     "`data['rating']` real numbers category"),
    ("table_infinite", lambda: read(table(rating=[1.0, 2.0, np.inf, 4.0])), ValueError,
     "`data['rating']` row 30 inf finite"),
    ("no_level", lambda: read(table(film=[np.nan, "b", None, "b"])), ValueError,
     "`data['film']` no level in 2 rows row 10 dropna(subset=['film'])"),
    ("no_date", lambda: read(table(film=[pd.NaT, *[pd.Timestamp(0)] * 3])), ValueError,
     "`data['film']` no level in 1 rows row 10"),
    ("mixed_levels", lambda: read(table(film=["a", 1, "a", 1])), TypeError,
     "`data['film']` mixes ['int', 'str'] data['film'].astype(str)"),
    ("lists_as_levels", lambda: read(table(film=[[1], [2], [1], [2]])), TypeError,
     "`data['film']` levels unhashable"),
    ("near_column", lambda: read(table(), values="ratng"), ValueError,
     "`values` 'ratng' ['user', 'film', 'rating'] 'rating'?"),
    ("far_column", lambda: read(table(), values="x"), ValueError, "`values` 'x' one of"),
    ("near_mode", lambda: read(table(), modes=["user", "flim"]), ValueError,
     "`modes` 'flim' mean 'film'?"),
    ("no_column_left", lambda: read(table(), modes=["user", "film", "rating"]),
     ValueError, "`modes` all none left values"),
    ("values_as_mode", lambda: read(table(), modes=["user", "film"], values="film"),
     ValueError, "`modes=['user', 'film']` different `values`"),
    ("mode_twice", lambda: read(table(), modes=["user", "user"]), ValueError,
     "`modes=['user', 'user']` different"),
    ("table_of_one_mode", lambda: read(table()[["user", "rating"]]), ValueError,
     "`data` 1 mode at least two"),
    ("one_mode_named", lambda: read(table(), modes=["user"]), ValueError,
     "`modes` 1 mode at least two"),
    ("columns_twice", lambda: read(table().set_axis(["a", "a", "b"], axis=1)),
     ValueError, "`data` columns one name"),
    ("levels_in_the_index", lambda: read(table().set_index(["user", "film"])),
     ValueError, "`data` index ['user', 'film'] reset_index Series"),
    ("series_of_one_mode", lambda: read(table()["rating"]), ValueError,
     "`data` 1 mode at least two"),
    ("values_called_like_a_mode",
     lambda: read(table().set_index(["user", "film"])["rating"].rename("film")),
     ValueError, "'film' different names rename"),
    # Labelled arrays
    ("dataset", lambda: read(xr.Dataset({"a": ("x", [1.0])})), TypeError,
     "`data` DataArray data[name]"),
    ("labelled_vector", lambda: read(xr.DataArray(np.ones(3))), ValueError,
     "`data` 1 mode"),
    ("labelled_infinite",
     lambda: read(xr.DataArray(with_entry((0, 1), np.inf), dims=("u", "f"),
                               coords={"f": list("abc")})),
     ValueError, "`data` u=0 f=b inf finite"),
    ("labels_twice", lambda: read(xr.DataArray(full(), coords={"u": [0, 0]},
                                               dims=("u", "f"))),
     ValueError, "`data` label 0 twice 'u'"),
    ("labels_missing", lambda: read(xr.DataArray(full(), coords={"u": [0, np.nan]},
                                                 dims=("u", "f"))),
     ValueError, "`data` missing label 'u'"),
    ("dimensions_left_out", lambda: read(xr.DataArray(full()), modes=["dim_0"]),
     ValueError, "`modes=['dim_0']` each ['dim_0', 'dim_1']"),
    # Options
    ("values_of_an_array", lambda: read(full(), values="a"), ValueError,
     "`values='a'` DataFrame"),
    ("dims_of_an_array", lambda: read(full(), mode_dims=3), ValueError,
     "`mode_dims=3` pair shape"),
    ("few_names", lambda: read(full(), modes=["a"]), ValueError, "`modes=['a']` 1 2 modes"),
    ("numbers_as_names", lambda: read(full(), modes=[0, 1]), TypeError, "`modes` names 0"),
    ("one_name_twice", lambda: read(full(), modes=["a", "a"]), ValueError,
     "`modes=['a', 'a']` different"),
    ("scaling", lambda: read(full(), scaling="max"), ValueError,
     "`scaling='max'` 'standardize' 'none'"),
    # Holdout
    ("no_key", lambda: htf.observed(full()), TypeError,
     "`key` missing `holdout=0.1` jax.random.key(0) `holdout=0`"),
    ("old_key", lambda: htf.observed(full(), key=jax.random.PRNGKey(0)), TypeError,
     "`key` typed"),
    ("bad_key_not_needed", lambda: read(full(), key=0), TypeError, "`key` typed"),
    ("traced_key", lambda: jax.jit(lambda k: htf.observed(full(), key=k).shift)(key()),
     TypeError, "`key` concrete"),
    ("holdout_one", lambda: htf.observed(full(), holdout=1, key=key()), ValueError,
     "`holdout=1` below 1 a tenth"),
    ("holdout_negative", lambda: htf.observed(full(), holdout=-0.1, key=key()), ValueError,
     "`holdout=-0.1` zero or more"),
    ("holdout_true", lambda: htf.observed(full(), holdout=True, key=key()), TypeError,
     "`holdout` real number True"),
    ("holdout_all", lambda: htf.observed(full(), holdout=0.95, key=key()), ValueError,
     "`holdout=0.95` 6 none to train on"),
    ("holdout_impossible", lambda: htf.observed(DIAGONAL, key=key()), ValueError,
     "`holdout=0.1` no cell each of the 3 only cell of some level holdout=0"),
    # Methods
    ("tree_of_other_order", lambda: square().loss(htf.flat(3)), ValueError,
     "`tree` 3 modes 2: user, film"),
    ("penalty", lambda: square().loss(htf.flat(2), penalty="l3"), ValueError,
     "`penalty='l3'` 'huber'"),
    ("nothing_held_out", lambda: read(full()).test_loss(htf.flat(2)), ValueError,
     "`holdout=0` no cells holdout=0.1"),
    ("no_error_without_holdout",
     lambda: read(full()).test_error(htf.identity_factors(htf.flat(2), (2, 3), 2, 1.0)),
     ValueError, "`holdout=0` no cells"),
    ("other_dims",
     lambda: square().test_error(htf.identity_factors(htf.flat(2), 3, 2, 1.0)),
     ValueError, "`factors` (2, 3) (3, 3)"),
    ("error_of_another_order", lambda: square().test_error(mistakes.factors(htf.flat(3))),
     ValueError, "`factors` has 3 modes, the data have 2: user, film."),
    ("units_of_text", lambda: square().in_units(["a"]), TypeError, "`values` real"),
    ("index_out_of_range", lambda: square().labels([[0, 3]]), ValueError,
     "`indices[0, 1]` 3 dimension 3"),
    ("traced_indices", lambda: jax.jit(square().labels)(np.array([[0, 0]])), TypeError,
     "`indices` concrete"),
    ("tensor_of_other_shape", lambda: square().decode(np.ones((3, 2))), ValueError,
     "`values` (3, 2) (D_0, ..., D_{N-1}) (2, 3)"),
    ("factors_for_a_tensor",
     lambda: square().decode(htf.identity_factors(htf.flat(2), (2, 3), 2, 1.0)),
     TypeError, "`values` Factors"),
    ("values_beside_other_indices", lambda: square().decode([1.0], SQUARE), ValueError,
     "`values` (1,) (B,) (4,)"),
    ("unknown_label", lambda: square().codes(labels(user=[0, 7])), ValueError,
     "`labels['user'][1]` 7 not a level"),
    ("near_label",
     lambda: read(table(film=["Alien", "Brazil"] * 2)).codes(labels(film=["Alein"] * 2)),
     ValueError, "`labels['film'][0]` 'Alein' mean 'Alien'?"),
    ("no_labels_of_a_mode", lambda: square().codes({"user": [0], "films": [0]}), ValueError,
     "`labels` no mode 'film' mean 'films'?"),
    ("labels_in_a_list", lambda: square().codes([[0, 0]]), TypeError, "`labels` dict"),
    ("one_label", lambda: square().codes(labels(user=0)), TypeError,
     "`labels['user']` list"),
    ("labels_of_other_lengths", lambda: square().codes(labels(user=[0])), ValueError,
     "`labels` one length 'user': 1 'film': 2"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)


def test_tables_of_other_libraries_are_sent_through_pandas():
    class Frame:
        def to_pandas(self) -> pd.DataFrame:
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"`data` must be .* Give `data\.to_pandas\(\)`\."):
        htf.observed(Frame(), holdout=0)


def test_dates_are_wanted_where_levels_are_dates():
    frame = table(film=pd.to_datetime(["2020-01-01", "2021-01-01"] * 2))
    with pytest.raises(TypeError, match=r"`labels\['film'\]` must be dates"):
        read(frame).codes(labels(film=["soon", "later"]))


def test_a_stacked_dimension_is_to_be_unstacked():
    array = xr.DataArray(np.ones((2, 3, 2)), dims=("a", "b", "c")).stack(x=("a", "b"))
    with pytest.raises(ValueError, match=r"`data\.unstack\('x'\)`"):
        read(array)
