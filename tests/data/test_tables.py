"""Tables of pandas and xarray: levels in order, the same cells, labels both ways."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import htfjax as htf
from tests.helpers import assert_close

ROOT = Path(__file__).parent.parent.parent
KEY = jax.random.key(0)
SIZES = pd.CategoricalDtype(["small", "medium", "large", "huge"], ordered=True)


def table(dtype: Any = None) -> pd.DataFrame:
    """All 3 x 3 x 2 cells, shuffled, with a sum of the labels' places as value."""
    users, sizes, years = ["ann", "bob", "eve"], ["small", "medium", "large"], [-44, 1999]
    rows = [
        {"user": u, "size": s, "year": y, "rating": 100.0 * i + 10 * j + k}
        for i, u in enumerate(users)
        for j, s in enumerate(sizes)
        for k, y in enumerate(years)
    ]
    frame = pd.DataFrame(rows).sample(frac=1, random_state=0)
    return frame.astype({"size": SIZES} | (dtype or {}))


def dense() -> np.ndarray:
    return np.add.outer(np.add.outer([0.0, 100, 200], [0.0, 10, 20]), [0.0, 1])


def assert_whole(data: htf.Observed, tensor: np.ndarray | None = None) -> None:
    """The record has all cells of the tensor, none held out."""
    wanted = dense() if tensor is None else tensor
    assert data.mode_dims == wanted.shape
    assert len(data.indices) == wanted.size
    assert_close(data.in_units(data.targets), wanted[tuple(data.indices.T)])


def test_columns_are_modes_and_the_last_one_is_the_values():
    data = htf.observed(table(), holdout=0)
    assert data.mode_names == ("user", "size", "year")
    assert data.value_name == "rating"
    assert [list(x) for x in data.levels] == [
        ["ann", "bob", "eve"], ["small", "medium", "large"], [-44, 1999]
    ]  # fmt: skip
    assert_whole(data)


def test_modes_and_values_can_be_named():
    frame = table()[["rating", "size", "year", "user"]]
    assert_whole(
        htf.observed(frame, holdout=0, values="rating", modes=["user", "size", "year"])
    )
    assert htf.observed(frame, holdout=0, values="rating").mode_names == (
        "size", "year", "user"
    )  # fmt: skip
    with pytest.warns(UserWarning, match="9 cells with values that differ, by up to 1 "):
        averaged = htf.observed(table(), holdout=0, modes=["user", "size"])
    assert_whole(averaged, dense().mean(axis=2))


def test_series_and_data_arrays_are_the_same_cells():
    series = table().set_index(["user", "size", "year"])["rating"]
    assert_whole(htf.observed(series, holdout=0))
    turned = htf.observed(series, holdout=0, modes=["year", "user", "size"])
    assert_whole(turned, np.moveaxis(dense(), 2, 0))
    array = xr.DataArray(
        dense(), dims=("user", "size", "year"), name="rating",
        coords={"user": ["eve", "ann", "bob"], "year": [1999, -44]},
    )  # fmt: skip
    data = htf.observed(array, holdout=0)
    assert_whole(data)
    # A coordinate keeps its order; a dimension without one is numbered.
    assert [list(x) for x in data.levels] == [
        ["eve", "ann", "bob"], [0, 1, 2], [1999, -44]
    ]  # fmt: skip
    assert_whole(
        htf.observed(array, holdout=0, modes=["size", "user", "year"]),
        np.moveaxis(dense(), 1, 0),
    )


def test_missing_values_are_no_cells_and_their_levels_stay():
    frame = table()
    for missing in (np.nan, None, pd.NA):
        column = frame["rating"].astype(object).mask(frame["user"] == "bob", missing)
        with pytest.warns(UserWarning, match=r"no observed cell of 1 level \(user=bob\)"):
            data = htf.observed(frame.assign(rating=column), holdout=0)
        assert data.mode_dims == (3, 3, 2)
        assert set(data.indices[:, 0]) == {0, 2}
    array = xr.DataArray(dense()).where(lambda x: x != 110)
    assert len(htf.observed(array, holdout=0).targets) == 17


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "uint8"])
def test_values_of_other_dtypes(dtype):
    assert_whole(htf.observed(table({"rating": dtype}), holdout=0))


def wide() -> pd.DataFrame:
    """A table whose columns are levels, as text."""
    numbers = np.random.default_rng(0).normal(size=(5, 3))
    return pd.DataFrame(numbers, columns=["mon", "tue", "wed"])


def test_columns_of_fractions_that_became_modes_are_named():
    """In the order user, film, rating, time the last column is not that of the values."""
    frame = table().assign(rating=lambda x: x["rating"] % 10 + 0.5, time=np.arange(18))
    words = r"column of floating numbers with fractions, \['rating'\].*those of 'time'"
    for kind in (float, object, "Float64"):
        with pytest.warns(UserWarning, match=words) as caught:
            htf.observed(frame.astype({"rating": kind}), holdout=0)
        assert caught[0].filename == __file__
    with pytest.raises(
        ValueError, match=r"holdout=0\. .* \['mon', 'tue'\].*data\.stack\(\)"
    ):
        htf.observed(wide(), key=KEY)
    assert_whole(htf.observed(wide().stack(), holdout=0), wide().to_numpy())


@pytest.mark.parametrize("how", ["modes", "text", "category", "whole"])
def test_columns_that_are_meant_as_levels_are_silent(how):
    """A warning would be an error."""
    frame = table().assign(size=table()["size"].cat.codes.astype(float) / 2)
    frame = frame if how != "whole" else frame.assign(size=2 * frame["size"])
    kinds = {"text": {"size": str}, "category": {"size": "category"}}
    options: dict[str, Any] = {"modes": ["user", "size", "year"]} if how == "modes" else {}
    assert_whole(htf.observed(frame.astype(kinds.get(how, {})), holdout=0, **options))


LEVELS = {
    "text": ["a", "b", "c"],
    "text of numbers": ["1", "10", "9"],
    "numbers": [-5, 3, 1000],
    "floats": [0.25, 0.5, 2.0],
    "booleans": [False, True],
    "dates": pd.DatetimeIndex([f"2020-01-0{n} 12:30" for n in (1, 2, 3)]),
    "dates with a zone": pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("CET"),
    "durations": pd.to_timedelta(["1h", "1D", "30D"]),
    "months": pd.period_range("2020-01", periods=3, freq="M"),
    "bins": pd.IntervalIndex.from_breaks([0.0, 1.0, 5.0]),
    "categories": pd.CategoricalIndex(
        ["medium", "large", "huge"], dtype=pd.CategoricalDtype(["medium", "large", "huge"])
    ),
    "nullable numbers": pd.array([1, 2, 7], dtype="Int64"),
    "texts of pandas": pd.array(["a", "b", "c"], dtype="string"),
}


@pytest.mark.parametrize("kind", list(LEVELS))
def test_codes_and_labels_go_both_ways(kind):
    """Codes follow the order of the levels, whatever the order of the rows."""
    levels = pd.Series(LEVELS[kind])
    rows = [(i, j) for i in range(len(levels)) for j in range(2)][::-1]
    frame = pd.DataFrame(
        {
            "x": levels.iloc[[i for i, _ in rows]].reset_index(drop=True),
            "y": [j for _, j in rows],
            "z": np.arange(float(len(rows))),
        }
    )
    data = htf.observed(frame, holdout=0, modes=["x", "y"])
    assert data.levels[0].tolist() == np.asarray(levels).tolist()
    labels = data.labels(data.indices)
    assert np.array_equal(data.codes(labels), data.indices)
    assert data.codes(frame).tolist() == [list(row) for row in rows]
    lists = {"x": list(levels), "y": [0] * len(levels)}
    assert data.codes(lists)[:, 0].tolist() == list(range(len(levels)))
    decoded = data.decode(np.zeros(data.mode_dims))
    assert decoded.sizes == {"x": len(levels), "y": 2}


def test_dates_are_found_by_any_spelling():
    dates = pd.date_range("2020-01-01", periods=3)
    frame = pd.DataFrame({"day": [*dates, *dates], "i": [0] * 3 + [1] * 3, "v": range(6)})
    data = htf.observed(frame, holdout=0)
    spelled = ["2020-01-02", np.datetime64("2020-01-02T00", "h"), dates[1].to_pydatetime()]
    assert data.codes({"day": spelled, "i": [0, 0, 1]}).tolist() == [[1, 0], [1, 0], [1, 1]]


def test_text_of_a_level_that_is_a_number():
    table = pd.DataFrame({"a": [*"xxyy"], "b": [1, 2] * 2, "value": np.arange(4.0)})
    data = htf.observed(table, holdout=0)
    with pytest.raises(ValueError, match=r"did you mean (np.int64\()?2\)?\?"):
        data.codes({"a": ["x"], "b": ["2"]})


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_dates_between_levels_are_none(unit):
    dates = np.array(["2020-01-01", "2200-01-01"], f"datetime64[{unit}]")
    frame = pd.DataFrame({"t": [*dates] * 2, "i": [0, 0, 1, 1], "v": range(4)})
    data = htf.observed(frame.astype({"t": f"datetime64[{unit}]"}), holdout=0)
    late = np.datetime64("2020-01-01T00:00:00.25", "ms")
    for label in (late, late.item(), str(late)):
        with pytest.raises(ValueError, match=r"`labels\['t'\]\[1\]` is .* not a level"):
            data.codes({"t": [dates[0], label], "i": [0, 0]})


def test_far_dates_are_levels():
    dates = np.array(["0033-04-03", "2999-12-31"], "datetime64[s]")
    frame = pd.DataFrame({"t": dates.repeat(2), "i": [0, 1] * 2, "v": range(4)})
    data = htf.observed(frame, holdout=0)
    assert np.array_equal(data.codes(data.labels(data.indices)), data.indices)


def test_decoded_tensors_select_by_label():
    data = htf.observed(table(), holdout=0)
    tensor = (dense() - data.shift) / data.scale
    decoded = data.decode(tensor)
    assert decoded.name == "rating"
    assert_close(decoded.sel(user="bob", size="large", year=-44), np.array(120.0))
    back = htf.observed(decoded, holdout=0)
    assert_whole(back)
    for ours, theirs in zip(back.levels, data.levels, strict=True):
        assert ours.tolist() == theirs.tolist()


def test_decoded_predictions_are_a_table():
    data = htf.observed(table(), holdout=0.2, key=KEY)
    frame = pd.DataFrame(data.decode(data.test_targets, data.test_indices))
    both = frame.merge(table().astype({"size": object}), on=["user", "size", "year"])
    assert len(both) == len(data.test_targets) == 4
    assert_close(both["rating_x"], both["rating_y"])


def test_new_rows_are_predicted_by_their_labels():
    data = htf.observed(table(), holdout=0)
    new = pd.DataFrame({"size": ["small"], "note": ["?"], "year": [1999], "user": ["eve"]})
    assert data.codes(new).tolist() == [[2, 0, 1]]


def test_the_table_of_the_user_is_left_alone():
    frame = table()
    index = pd.Index([3, 1, 2], name="user")
    array = xr.DataArray(dense(), coords={"user": index}, dims=("user", "b", "c"))
    htf.observed(frame, key=KEY)
    levels = htf.observed(array, key=KEY).levels[0]
    assert not np.shares_memory(levels, array.get_index("user").to_numpy())
    pd.testing.assert_frame_equal(frame, table())
    array[0, 0, 0] = 7.0  # still writeable
    frame.loc[0, "rating"] = 7.0


def test_without_xarray_labels_come_as_columns(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    data = htf.observed(dense(), holdout=0)
    with pytest.raises(ImportError, match=r"`decode` .* 'htfjax\[studies\]'.* `indices`"):
        data.decode(dense())
    assert data.decode([0.0], [[1, 1, 1]])["mode_0"].tolist() == [1]


def test_neither_pandas_nor_xarray_is_imported():
    code = (
        "import sys, numpy as np, htfjax as htf\n"
        "data = htf.observed(np.ones((2, 3)), holdout=0)\n"
        "data.labels([[0, 1]]), data.decode([1.0], [[0, 1]])\n"
        "print(sorted({'pandas', 'xarray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["[]"]
