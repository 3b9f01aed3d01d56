"""The command `complete`: files in, predictions by labels out, folders, and bad input.

The search is `htfjax.complete`, which has its own tests; here a stand-in that knows the
tensor takes its place, but for the slow tests at the end.
"""

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import htfjax as htf
from htfjax.completion.result import Interval, error_interval
from htfjax.completion.search import Trial
from sims import complete, plot, status
from sims.common.errors import FolderError, SettingError
from sims.figures import completions
from sims.tables import files, predictions, source
from tests.marks import slow_unless

NAMES = ("station", "day", "hour")
DIMS = (6, 5, 4)
TRUTH = np.einsum(
    "ir,jr,kr->ijk", *(np.random.default_rng(d).normal(size=(d, 2)) for d in DIMS)
)
THERE = np.random.default_rng(1).random(DIMS) < 0.75
OPEN = np.argwhere(~THERE)
LABELS = (list("abcdef"), pd.date_range("2024-01-01", periods=5), [0, 6, 12, 18])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


def known(observed: Any, *, tree: Any, progress: Any, **options: Any) -> htf.Completion:
    """The completion that finds the truth, of which `observed` shows a part."""
    assert observed.mode_dims == DIMS
    found = htf.as_tree("((0, 1), 2)" if tree == "auto" else tree)
    for step in (0, 1):
        progress(SimpleNamespace(step=step, until_step=12, loss=1e-3))
    factors, _ = htf.formats.hierarchical_svd(TRUTH, found, ranks=2)
    held = TRUTH[tuple(observed.test_indices.T)] + 0.01
    low, high = error_interval(held - observed.test_targets)
    return htf.Completion(
        factors=factors, tree=found, ranks=dict.fromkeys(range(found.root), 2),
        heldout_error=0.01, interval=Interval(low, high), relative_error=0.005,
        heldout_predictions=held, verdict="approximate", degrees_of_freedom=28,
        observations=len(observed.targets) + len(held),
        history=(Trial("random starts", (2,) * found.root, 28, 0.004, 0.005),),
        data=observed,
    )  # fmt: skip


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(htf, "complete", known)
    monkeypatch.setattr(complete, "figures", lambda _: {})  # they take seconds


def table(there: np.ndarray = THERE) -> Any:
    """A row for each cell that is there, in no order."""
    at = np.random.default_rng(2).permutation(np.argwhere(there))
    columns = {n: np.asarray(x)[i] for n, x, i in zip(NAMES, LABELS, at.T, strict=True)}
    return pd.DataFrame(columns | {"temperature": TRUTH[tuple(at.T)]})


def written(folder: Path, ending: str, frame: Any = None) -> Path:
    """The table, or the array, as a file."""
    path, frame = folder / f"mine{ending}", table() if frame is None else frame
    if ending == ".npz":
        np.savez(path, mine=np.where(THERE, TRUTH, np.nan))
    elif ending == ".parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if "tsv" in ending else ",")
    return path


def run(path: Path, out: Path, **options: Any) -> dict[str, Any]:
    return complete.run(complete.Config(file=path, out=out, **options))


def cells_of(frame: Any) -> np.ndarray:
    """Indices of the labels of a table."""
    days = pd.to_datetime(frame["day"])
    columns = (frame["station"], days, frame["hour"])
    return np.stack(
        [pd.Index(x).get_indexer(c) for x, c in zip(LABELS, columns, strict=True)], 1
    )


# Formats


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    "ending",
    slow_unless(
        [".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet"], (".csv", ".tsv.gz", ".parquet")
    ),
)
def test_open_cells_of_a_table_are_predicted_in_its_format(
    ending: str, tmp_path: Path
) -> None:
    """Once each, by their labels, with an error beside them."""
    summary = run(written(tmp_path, ending), tmp_path / "out")
    assert summary["predictions"]["file"] == f"predictions{ending}"
    found = files.read_frame(tmp_path / "out" / f"predictions{ending}", "it")
    assert list(found.columns) == [*NAMES, "temperature", "temperature_error"]
    cells = cells_of(found)
    np.testing.assert_array_equal(cells, OPEN)
    np.testing.assert_allclose(found["temperature"], TRUTH[tuple(cells.T)], rtol=1e-9)
    np.testing.assert_allclose(found["temperature_error"], summary["interval"][1])
    if ending == ".parquet":
        assert found["day"].dtype.kind == "M"


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    "form", slow_unless(["array", "pair", "pair with dims"], ("array", "pair with dims"))
)
def test_open_cells_of_arrays_are_predicted_by_indices(form: str, tmp_path: Path) -> None:
    """And the whole array is filled, with observed values where there are some."""
    path, at = tmp_path / "mine.npz", np.argwhere(THERE)
    pair: dict[str, Any] = {"indices": at, "values": TRUTH[THERE]}
    if form == "array":
        written(tmp_path, ".npz")
    else:
        pair |= {"dims": np.array(DIMS)} if "dims" in form else {}
        np.savez(path, **pair)
    summary = run(path, tmp_path / "out", modes=NAMES)
    assert summary["modes"] == dict(zip(NAMES, DIMS, strict=True))
    found = htf.runs.read_npz(tmp_path / "out" / "predictions.npz")
    np.testing.assert_array_equal(found["indices"], OPEN)
    np.testing.assert_allclose(found["values"], TRUTH[~THERE], rtol=1e-9)
    np.testing.assert_allclose(found["completed"], TRUTH, rtol=1e-9)
    np.testing.assert_array_equal(found["completed"][THERE], TRUTH[THERE])


@pytest.mark.usefixtures("stand_in")
def test_the_folder_goes_on_in_python(tmp_path: Path) -> None:
    """Factors, ranks, history and summary; results as a dataset."""
    path, out = written(tmp_path, ".csv"), tmp_path / "out"
    run(path, out)
    with jax.enable_x64(True):
        factors = htf.load_factors(out / "factors.npz")
        data = htf.observed(pd.read_csv(path), holdout=0)
        rows = data.codes({"station": ["b"], "day": ["2024-01-02"], "hour": [18]})
        np.testing.assert_allclose(htf.entries(factors, rows), TRUTH[1, 1, 3])
    ranks = pd.read_csv(out / "ranks.csv")
    assert ranks["modes"].tolist() == ["station", "day", "hour", "station, day"]
    assert ranks["rank"].tolist() == [2, 2, 2, 2]
    assert ranks["largest_rank"].tolist() == [6, 5, 4, 4]
    values = np.linalg.svd(TRUTH.reshape(6, 20), compute_uv=False)[:2]
    np.testing.assert_allclose(
        ranks.loc[0, ["singular_value_1", "singular_value_2"]], values
    )
    history = pd.read_csv(out / "history.csv")
    assert history.loc[0].tolist() == ["random starts", "2 2 2 2", 28, 0.004, 0.005]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["observed"] == THERE.sum()
    assert summary["cells"] == THERE.size
    assert summary["tree"] == "((station, day), hour)"
    record = htf.load_results(out / "parts" / "completion.nc")
    held = record.heldout_index.values
    np.testing.assert_allclose(record.heldout_value, TRUTH[tuple(held.T)])
    np.testing.assert_allclose(record.heldout_prediction, record.heldout_value + 0.01)


# Levels


@pytest.mark.usefixtures("stand_in")
def test_labels_that_look_like_something_else(tmp_path: Path) -> None:
    """Namibia's code is not a missing value, and semicolons part columns too."""
    codes = dict(zip("abcdef", ["NA", "NE", "NG", "NI", "NL", "null"], strict=True))
    frame = table().replace({"station": codes})
    path = tmp_path / "mine.csv"
    frame.to_csv(path, index=False, sep=";")
    run(path, tmp_path / "out")
    found = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    assert set(found["station"]) <= set(codes.values())
    np.testing.assert_allclose(found["temperature"], TRUTH[~THERE], rtol=1e-9)


@pytest.mark.usefixtures("stand_in")
def test_categories_keep_their_order(tmp_path: Path) -> None:
    """In Parquet, as `htfjax.observed` takes them."""
    kinds = pd.CategoricalDtype(list("abcdef"), ordered=True)
    frame = table().astype({"station": kinds})
    run(written(tmp_path, ".parquet", frame), tmp_path / "out")
    found = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    np.testing.assert_array_equal(cells_of(found), OPEN)


def read(path: Path, **options: Any) -> source.Source:
    return source.read_source(complete.Config(file=path, out=path / "out", **options))


def test_rows_without_a_value_are_cells_to_predict(tmp_path: Path) -> None:
    """Unless another row has one."""
    frame = table(np.ones(DIMS, bool))
    open_rows = ~THERE[tuple(cells_of(frame).T)]
    frame.loc[open_rows, "temperature"] = np.nan
    frame = pd.concat([frame, frame[open_rows].head(2), table().head(1)])
    frame.iloc[-1, -1] = np.nan
    found = read(written(tmp_path, ".csv", frame))
    assert {tuple(row) for row in found.asked.tolist()} == {tuple(x) for x in OPEN.tolist()}
    assert len(found.asked) == len(OPEN)
    assert (found.rows, len(found.observed)) == (THERE.sum(), THERE.sum())


@pytest.mark.usefixtures("stand_in")
def test_of_too_many_open_cells_those_that_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "MOST", 3)
    frame = table()
    path = written(tmp_path, ".csv", frame)
    summary = run(path, tmp_path / "none")
    assert summary["predictions"]["file"] is None
    assert not list((tmp_path / "none").glob("predictions*"))
    more = pd.DataFrame({"station": ["a"], "day": LABELS[1][:1], "hour": [18]})
    assert not THERE[0, 0, 3]
    path = written(tmp_path, ".tsv", pd.concat([frame, more]))
    assert run(path, tmp_path / "one")["predictions"]["cells"] == 1


def test_what_was_chosen_is_said(tmp_path: Path) -> None:
    """The column of values, rows that are numbered, numbers that are levels, doubles."""
    frame = table()
    frame["weight"] = 0.5
    frame = frame[[*NAMES, "weight", "temperature"]]
    path = tmp_path / "mine.csv"
    frame.to_csv(path)
    found = read(path)
    assert found.data.mode_names == (*NAMES, "weight")
    first, second, third = found.notes
    assert first == "column 'Unnamed: 0' numbers the rows; left out"
    assert second == "values are those of 'temperature', the last column of numbers"
    assert third.startswith("each number in 'weight' is a level")
    assert read(path, modes=NAMES).data.mode_names == NAMES
    named = read(path, modes=NAMES, value="weight")
    assert (named.data.value_name, named.notes) == ("weight", ())
    frame = table()
    frame.loc[len(frame)] = [*frame.loc[0, [*NAMES]], frame.loc[0, "temperature"] + 1]
    (_, note) = read(written(tmp_path, ".csv", frame)).notes
    assert note.startswith("`mine.csv` has 1 cell with values that differ, by up to 1 ")


# Cells that are asked for


@pytest.mark.usefixtures("stand_in")
def test_cells_of_a_file_and_the_values_that_it_has(tmp_path: Path) -> None:
    """Compared with what is predicted; text stays text, though it looks like numbers."""
    codes = dict(zip("abcdef", ["01", "02", "03", "04", "05", "x"], strict=True))
    path = written(tmp_path, ".csv", table().replace({"station": codes}))
    asked = table(~THERE).replace({"station": codes})
    asked = asked[asked["station"] != "x"]
    asked["temperature"] += 0.25
    asked.iloc[0, -1] = np.nan
    cells = tmp_path / "cells.tsv"
    asked[["temperature", "hour", "day", "station"]].to_csv(cells, sep="\t", index=False)
    told = run(path, tmp_path / "out", predict=cells)["predictions"]
    assert (told["file"], told["cells"]) == ("predictions.tsv", len(asked))
    assert told["given"] == len(asked) - 1
    assert told["error_of_given"] == pytest.approx(0.25)
    found = pd.read_csv(tmp_path / "out/predictions.tsv", sep="\t", dtype={"station": str})
    assert found["station"].tolist() == asked["station"].tolist()
    off = found["temperature_given"] - found["temperature"]
    np.testing.assert_allclose(off[1:], 0.25)


@pytest.mark.usefixtures("stand_in")
def test_cells_by_indices(tmp_path: Path) -> None:
    cells = tmp_path / "cells.npz"
    np.savez(cells, indices=OPEN[:4], values=TRUTH[~THERE][:4])
    told = run(written(tmp_path, ".npz"), tmp_path / "out", predict=cells)["predictions"]
    assert told["error_of_given"] < 1e-9
    found = htf.runs.read_npz(tmp_path / "out" / "predictions.npz")
    np.testing.assert_array_equal(found["indices"], OPEN[:4])
    assert "completed" not in found


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (
            pd.DataFrame({"station": ["a"], "day": ["2024-01-01"]}),
            r"has no column hour; it",
        ),
        (
            pd.DataFrame({"station": ["zed"], "day": ["2024-01-01"], "hour": [0]}),
            r"`column\['station'\]\[0\]` is 'zed', which is not a level of the mode",
        ),
        (
            pd.DataFrame(
                {"station": ["a"], "day": ["2024-01-01"], "hour": [0], "temperature": ["?"]}
            ),
            r"not real numbers: '\?' in row 1 after",
        ),
    ],
)
def test_cells_that_cannot_be_predicted(
    frame: pd.DataFrame, words: str, tmp_path: Path
) -> None:
    """Refused before anything is searched or written."""
    cells = tmp_path / "cells.csv"
    frame.to_csv(cells, index=False)
    with pytest.raises(SettingError, match=rf"cells.csv.* {words}"):
        run(written(tmp_path, ".csv"), tmp_path / "out", predict=cells)
    assert not (tmp_path / "out").exists()


def test_indices_for_a_table_and_out_of_range(tmp_path: Path) -> None:
    cells = tmp_path / "cells.npz"
    np.savez(cells, indices=[[0, 0, 9]])
    with pytest.raises(SettingError, match=r"holds indices, and mine.csv is a table; ask"):
        run(written(tmp_path, ".csv"), tmp_path / "out", predict=cells)
    with pytest.raises(SettingError, match=r"`--predict .*cells.npz`: .*9"):
        run(written(tmp_path, ".npz"), tmp_path / "out", predict=cells)
    np.savez(cells, other=[[0, 0, 9]])
    with pytest.raises(SettingError, match=r"has no array `indices`"):
        run(written(tmp_path, ".npz"), tmp_path / "out", predict=cells)


# Bad input


def _with(**columns: Any) -> Callable[[Path], Path]:
    """A table with other columns, as CSV."""
    return lambda folder: written(folder, ".csv", table().assign(**columns))


def _bytes(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def _npz(**arrays: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "mine.npz", **arrays)
        return folder / "mine.npz"

    return write


def _first(value: Any) -> list[Any]:
    return [value, *table()["temperature"][1:]]


BAD: list[tuple[str, Callable[[Path], Path], dict[str, Any], str]] = [
    ("missing", lambda f: f / "mine.csv", {}, r"mine.csv` does not exist\.$"),
    ("folder", lambda f: f, {}, r"` is a folder; give a file\.$"),
    ("ending", _bytes("mine.xlsx", b"PK"), {}, r"has none of the endings \.csv, "),
    ("empty", _bytes("mine.csv", b""), {}, r"mine.csv` is empty\.$"),
    ("header", _bytes("mine.csv", b"a,b,c\n"), {}, r"is a table without rows\.$"),
    ("parquet as CSV", _bytes("mine.csv", b"PAR1xxxx"), {}, r"it is a Parquet file\.$"),
    ("zip as CSV", _bytes("mine.csv", b"PK\3\4xxxx"), {}, r"it is a zip archive, as npz"),
    ("gzip as CSV", _bytes("mine.csv", b"\x1f\x8bxxx"), {}, r"it is compressed by gzip\.$"),
    (
        "CSV as gzip",
        _bytes("mine.csv.gz", b"a,b\n1,2"),
        {},
        r"should be compressed by gzip",
    ),
    (
        "CSV as parquet",
        _bytes("mine.parquet", b"a,b\n1,2"),
        {},
        r"should be a Parquet file",
    ),
    ("CSV as npz", _bytes("mine.npz", b"a,b\n1,2"), {}, r"it is something else\.$"),
    (
        "npy as npz",
        _bytes("mine.npz", b"\x93NUMPY\1\0"),
        {},
        r"`numpy.savez` writes an npz",
    ),
    (
        "half gzip",
        _bytes("mine.csv.gz", b"\x1f\x8b\x08\0"),
        {},
        r"cannot be read as a table: ",
    ),
    (
        "half npz",
        _bytes("mine.npz", b"PK\3\4xxxx"),
        {},
        r"not an npz file of plain arrays: ",
    ),
    ("bytes", _bytes("mine.csv", b"a,b,c\n\xff\xfe,1,2\n"), {}, r"as a table: .*utf-8"),
    ("long rows", _bytes("mine.csv", b"a,b,c\n1,2,3\n1,2,3,4\n"), {}, r"as a table: "),
    (
        "twice",
        _bytes("mine.csv", b"a,b,a\n1,2,3\n"),
        {},
        r"two columns with the name 'a'\.$",
    ),
    (
        "one mode",
        _bytes("mine.csv", b"a,v\n1,2\n"),
        {},
        r"has too few columns of modes \(a\)",
    ),
    ("no numbers", _bytes("mine.csv", b"a,b\nx,y\n"), {}, r"no column of numbers for the"),
    (
        "no column",
        _with(),
        {"value": "heat"},
        r"`--value heat`: mine.csv has the columns s",
    ),
    ("no mode", _with(), {"modes": ("station", "x")}, r"`--modes x`: mine.csv has the col"),
    (
        "the value",
        _with(),
        {"modes": ("day", "hour"), "value": "hour"},
        r"different columns",
    ),
    (
        "text",
        _with(),
        {"value": "station"},
        r"not real numbers: '.' in row 1 after the hea",
    ),
    (
        "a word",
        _with(temperature=_first("?")),
        {"value": "temperature"},
        r"column 'temperature' that are not real numbers: '\?' in row 1 after",
    ),
    ("booleans", _with(on=True), {"value": "on"}, r"not real numbers: bool\. `--value`"),
    ("no value", _with(x=None), {"value": "x"}, r"has no value in its column 'x'\.$"),
    (
        "infinite",
        _with(temperature=_first("inf")),
        {},
        r"`mine.csv\['temperature'\]` in row",
    ),
    (
        "no label",
        _with(hour=[None] * 9 + [1] * (THERE.sum() - 9)),
        {},
        r"no `hour` in 9 rows, the first",
    ),
    ("array", _with(), {"array": "x"}, r"`--array x` names an array of an npz file, and"),
    ("value", _npz(x=TRUTH), {"value": "x"}, r"`--value x` names a column of a table, and"),
    ("arrays", _npz(a=TRUTH, b=TRUTH), {}, r"has 2 arrays \(a 6x5x4, b 6x5x4\); `--array`"),
    ("no array", _npz(a=TRUTH), {"array": "b"}, r"`--array b`: mine.npz has a 6x5x4\.$"),
    ("objects", _npz(a=np.array([1, "x"], object)), {}, r"a.npy holds Python objects\.$"),
    ("letters", _npz(a=np.array([["x"]])), {}, r"`mine.npz` must (hold|be) "),
    ("vector", _npz(a=np.ones(9)), {}, r"`mine.npz` has 1 mode; a tensor"),
    ("all missing", _npz(a=np.full(DIMS, np.nan)), {}, r"`mine.npz` has no observed cell"),
    ("floats", _npz(indices=np.ones((2, 2)), values=np.ones(2)), {}, r"`mine.npz\[0\]`"),
    (
        "dims",
        _npz(indices=np.ones((2, 2), int), values=np.ones(2), dims=np.ones(2)),
        {},
        r"an array `dims` of shape \(2,\) and type float64; it must be",
    ),
    ("holdout", _with(), {"holdout": 1.5}, r"`--holdout 1.5`"),
    ("no holdout", _with(), {"holdout": 0.0}, r"`--holdout 0.0` must be above 0\.$"),
    (
        "few",
        _npz(a=np.where(np.eye(3) == 1, 1.0, np.nan)),
        {},
        r"each of the 3 is the only cell of some level; observe more\.$",
    ),
    ("noise", _with(), {"noise": -1.0}, r"`--noise -1.0` must be above 0\.$"),
    ("tree", _with(), {"tree": "((0, 1) 2)"}, r"at column 9 it has '2'"),
    (
        "a name",
        _with(),
        {"tree": "((station, day), our)"},
        r"'our' is no mode; modes are",
    ),
    ("a word for a tree", _with(), {"tree": "binry"}, r"Did you mean `--tree binary`\?"),
    (
        "other modes",
        _with(),
        {"tree": "(0, 1)"},
        r"`--tree` has 2 modes, the data have 3: st",
    ),
]


@pytest.mark.parametrize(
    ("make", "options", "words"), [x[1:] for x in BAD], ids=[x[0] for x in BAD]
)
def test_bad_input_is_named(
    make: Callable[[Path], Path], options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """In one line, and nothing is left behind."""
    out = tmp_path / "out"
    with pytest.raises((SettingError, ValueError), match=words) as refused:
        run(make(tmp_path), out, **options)
    assert "\n" not in str(refused.value)
    assert not out.exists() or [p.name for p in out.iterdir() if p.name[0] != "."] == []


def test_levels_of_which_nothing_is_known(tmp_path: Path) -> None:
    """And too few cells: the library counts and names them, the command the file."""
    frame = table()
    frame.loc[frame["station"] == "c", "temperature"] = np.nan
    path = written(tmp_path, ".csv", frame)
    words = r"`mine.csv` has no cell to train on with level 'c' of mode 'station'"
    with pytest.raises(SettingError, match=words):
        run(path, tmp_path / "out")
    few = table().drop_duplicates("station").head(5)
    few = pd.concat([few, table().drop_duplicates("day"), table().drop_duplicates("hour")])
    path = written(tmp_path, ".tsv", few.drop_duplicates([*NAMES]))
    with pytest.raises(SettingError, match=r"`mine.tsv` has \d+ cells to train on, and a"):
        run(path, tmp_path / "out")


def test_pyarrow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error that the dispatcher turns into one line with the extra."""
    path = _bytes("mine.parquet", b"PAR1xxxx")(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError) as refused:
        run(path, tmp_path / "out")
    assert refused.value.name == "pyarrow"


# Trees


@pytest.mark.parametrize(
    ("text", "nested"),
    [
        ("((station, hour), day)", ((0, 2), 1)),
        ("((0, 2), day)", ((0, 2), 1)),
        ("caterpillar", ((0, 1), 2)),
        ("flat", (0, 1, 2)),
    ],
)
def test_trees_by_names(text: str, nested: tuple, tmp_path: Path) -> None:
    config = complete.Config(file=tmp_path, out=tmp_path, tree=text)
    assert complete.tree_for(config, SimpleNamespace(mode_names=NAMES)).nested == nested


def test_a_name_in_a_tree_that_is_no_mode(tmp_path: Path) -> None:
    text = "((station, hour), days)"
    config = complete.Config(file=tmp_path, out=tmp_path, tree=text)
    said = f"`--tree {text}`: 'days' is no mode; modes are {', '.join(NAMES)}."
    with pytest.raises(SettingError, match=re.escape(said)):
        complete.tree_for(config, SimpleNamespace(mode_names=NAMES))


def test_names_of_modes_with_spaces() -> None:
    names = ("hour of day", "day")
    assert source.numbers_of(names, "(day, hour of day)") == "(1,0)"


# Folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and, in `out`, its completion, to be copied."""
    folder = tmp_path_factory.mktemp("complete")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(htf, "complete", known)
        with jax.numpy_dtype_promotion("standard"):
            run(written(folder, ".csv"), folder / "out")
    return folder


@pytest.fixture
def again(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, where nothing is computed again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(htf, "complete", refuse)
    monkeypatch.setattr(complete, "figures", lambda _: {})
    return Path(shutil.copytree(finished, tmp_path / "again"))


def contents(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in files if "lock" not in p.name
    }


def test_the_same_command_computes_nothing(
    again: Path, capsys: pytest.CaptureFixture
) -> None:
    """And writes the same."""
    before = contents(again)
    run(again / "mine.csv", again / "out")
    assert "finished before, in " in capsys.readouterr().err
    after = contents(again)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"out/status.json"}


def test_other_cells_are_predicted_without_computing(again: Path) -> None:
    table(~THERE).head(3).to_csv(again / "cells.csv", index=False)
    told = run(again / "mine.csv", again / "out", predict=again / "cells.csv")
    assert told["predictions"]["cells"] == 3


def test_another_run_is_refused(again: Path) -> None:
    """The fields that differ are named; other contents are other data."""
    with pytest.raises(FolderError, match=r"`--seed` was 0, now 1\. Choose another"):
        run(again / "mine.csv", again / "out", seed=1)
    table().head(80).to_csv(again / "mine.csv", index=False)
    with pytest.raises(FolderError, match=r"`--file` was mine.csv \(SHA-256 "):
        run(again / "mine.csv", again / "out")


def test_a_folder_of_another_command_is_refused(again: Path) -> None:
    """Nor is one taken whose results are of nobody knows what."""
    config = again / "out" / "config.json"
    values = htf.runs.read_sealed(config)
    htf.runs.write_sealed(config, values | {"command": "init_scale"})
    before = contents(again)
    with pytest.raises(FolderError, match=r"holds a run of init_scale"):
        run(again / "mine.csv", again / "out")
    assert contents(again) == before
    config.unlink()
    with pytest.raises(FolderError, match=r"is missing, so nothing says which run"):
        run(again / "mine.csv", again / "out")


@pytest.mark.parametrize(
    ("name", "harm"),
    slow_unless(
        itertools.product(["factors.npz", "parts/completion.nc"], ["cut", "gone"]),
        [("factors.npz", "gone"), ("parts/completion.nc", "cut")],
    ),
)
def test_what_is_damaged_is_computed_anew(
    name: str, harm: str, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And named, where a file is there."""
    path = again / "out" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-9]) if harm == "cut" else path.unlink()
    monkeypatch.setattr(htf, "complete", known)
    run(again / "mine.csv", again / "out")
    assert len(path.read_bytes()) == len(whole)


@pytest.mark.usefixtures("stand_in")
def test_files_of_a_user_are_not_written_over(again: Path, tmp_path: Path) -> None:
    """Neither those that have our names, nor the cells that were asked for."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "ranks.csv").write_text("mine")
    with pytest.raises(FolderError, match=r"nothing says which run ranks.csv is of"):
        run(again / "mine.csv", folder)
    assert contents(folder) == {"ranks.csv": b"mine"}
    cells = again / "out" / "predictions.csv"
    before = cells.read_bytes()
    with pytest.raises(SettingError, match=r"would be written over by its predictions"):
        run(again / "mine.csv", again / "out", predict=cells)
    assert cells.read_bytes() == before


def test_status_and_plot(again: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of any command with parts."""
    found = status.read(again / "out")
    assert (status.sentence(found), status.lines(found)) == (
        "finished",
        ["1 of 1 parts done"],
    )
    (again / "out" / "completion.png").unlink()
    monkeypatch.setattr(complete, "figures", completions.figures)
    assert plot.run(plot.Options((again / "out",))) == [again / "out" / "completion.png"]
    assert (again / "out" / "completion.png").stat().st_size > 10_000


def test_a_figure(finished: Path) -> None:
    """The error of what is drawn, names, ranks on edges."""
    figure = complete.redraw(finished / "out")["completion"]
    heldout, values, tree = figure.axes
    assert heldout.get_xlabel() == "temperature, observed"
    (points,) = (line for line in heldout.lines if line.get_marker() == "o")
    np.testing.assert_allclose(points.get_ydata() - points.get_xdata(), 0.01)
    labels = [text.get_text() for text in values.get_legend().get_texts()]
    assert labels == ["station", "day", "station, day | hour", "relative error held out"]
    texts = [text.get_text() for text in tree.texts]
    assert texts.count("2") == 5  # four ranks, and a node's number
    assert "hour\n4" in texts
    plt.close(figure)


@pytest.mark.usefixtures("stand_in")
def test_a_search_that_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Exit code 130, and the same command starts it anew."""
    path, out = written(tmp_path, ".csv"), tmp_path / "out"

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["complete", str(path), "--out", str(out)])
    with monkeypatch.context() as patch:
        patch.setattr(htf, "complete", stopped)
        assert complete.main() == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "interrupted: a search keeps nothing; the same command starts it anew"
    assert status.sentence(status.read(out)).startswith("interrupted")
    assert complete.main() == 0
    assert status.sentence(status.read(out)) == "finished"


# Words


@pytest.mark.usefixtures("stand_in")
def test_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What was read, ranks by modes, the error in the user's units, and where it is."""
    path, out = written(tmp_path, ".csv"), tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["complete", str(path), "--out", str(out), "--quick"])
    assert complete.main() == 0
    shown, said = capsys.readouterr()
    assert "mine.csv: temperature of station (6), day (5), hour (4)" in said
    assert f"{THERE.sum()} of 120 cells observed (" in said
    assert shown.splitlines()[4].split() == ["3", "station,", "day", "2", "4"]
    assert "28 degrees of freedom" in shown
    assert "cells held out: 0.01 (95 % interval" in shown
    assert "\napproximate: " in shown
    assert f"predictions.csv: {len(OPEN)} cells, all cells that are not observed" in shown


@pytest.mark.parametrize(
    ("verdict", "error", "high", "words"),
    [
        ("exact", 1e-9, 1e-8, ["to rounding"]),
        ("approximate", 0.1, 0.2, ["`--noise`", "`--tree`"]),
        ("not enough data", 0.1, 0.2, ["one rank more", "observe more cells"]),
        ("not enough data", 1e-9, np.inf, ["many tensors", "observe more cells"]),
        ("not enough data", 0.01, 370.0, ["many tensors", "observe more cells"]),
        ("approximate", 2.0, 3.0, ["no better than the mean"]),
    ],
)
def test_verdicts_say_what_to_do(
    verdict: str, error: float, high: float, words: list[str]
) -> None:
    numbers: dict[str, Any] = {"verdict": verdict, "heldout_error": error}
    numbers |= {"interval": [0.0, high]}
    numbers |= {"relative_error": error, "spread": 1.0, "noise": None}
    found = complete.verdict(numbers)
    assert found.startswith(f"{verdict}: ")
    assert all(word in found for word in words)
    assert ("the mean" in found) == (error > 1)


@pytest.mark.parametrize(("error", "explained"), [(0.22, True), (0.3, False)])
def test_an_error_that_noise_explains(error: float, explained: bool) -> None:
    numbers = {
        "verdict": "approximate",
        "heldout_error": error,
        "spread": 1.0,
        "noise": 0.2,
    }
    assert ("that of their noise, 0.2" in complete.verdict(numbers)) == explained


def test_progress_is_told_by_rounds() -> None:
    """Of every tree, and how long it takes at most."""
    notes: list[Any] = []
    display = SimpleNamespace(
        add_task=lambda *_, **__: 0,
        update=lambda _, **news: notes.append(news),
        disable=False,
    )
    tell = complete.listener(display)
    for step in (0, 1, 0, 2):
        tell(SimpleNamespace(step=step, until_step=12, loss=0.0123))
    assert [news["completed"] for news in notes] == [0, 1, 0, 2]
    first, second, third, last = (news["note"] for news in notes)
    assert first == "search 1, round 0 of at most 12, relative error held out 0.012"
    assert second.startswith("search 1, round 1 of at most 12, ")
    assert second.endswith(" left of it")
    assert third.startswith("search 2, round 0 ")
    assert last.startswith("search 2, round 2 ")


# The search itself


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_table_comes_back_as_by_the_library(dtype: Any, tmp_path: Path) -> None:
    """The same ranks, error and predictions as `htfjax.complete`; exact in float64."""
    path = written(tmp_path, ".csv")
    summary = run(path, tmp_path / "out", tree="((0, 1), 2)", dtype=dtype)
    with jax.enable_x64(dtype == "float64"):
        tree, key = htf.as_tree("((0, 1), 2)"), jax.random.key(0)
        found = htf.complete(pd.read_csv(path), tree=tree, key=key)
        values = found.predict(OPEN)
    assert summary["verdict"] == found.verdict == "exact"
    assert [row["rank"] for row in summary["nodes"]] == list(found.ranks.values())
    assert summary["heldout_error"] == found.heldout_error
    predicted = pd.read_csv(tmp_path / "out" / "predictions.csv")["temperature"]
    np.testing.assert_allclose(predicted, values, rtol=1e-6)
    rtol = 1e-6 if dtype == "float64" else 1e-2
    np.testing.assert_allclose(predicted, TRUTH[~THERE], rtol=rtol, atol=rtol)


@pytest.mark.slow
def test_quick_says_that_it_is_approximate(tmp_path: Path) -> None:
    """A table of measurements with noise 0.2, whose values vary by 2."""
    readings = Path(__file__).parents[2] / "examples" / "readings.csv"
    summary = run(readings, tmp_path / "out", **complete.QUICK)
    assert summary["verdict"] == "approximate"
    assert summary["heldout_error"] < 0.25 * summary["spread"]
    assert (tmp_path / "out" / "completion.png").exists()
