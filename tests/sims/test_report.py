"""Reports: what stands on the page, and what is said where something is wrong."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from sims import incremental_rank, report, verify
from sims.common import missing
from sims.common.errors import FolderError, SettingError
from sims.reports import curves, folders, page, tables, trees
from tests.sims import reported
from tests.sims.reported import Page


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A grid, two runs of a command, a check of laws, and folders made by hand."""
    out = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setattr(incremental_rank, "draw", lambda folder, view: None)
        reported.grid(out / "grid")
        reported.panel(out / "one")
        reported.another(out / "one", out / "two")
        verify.run_into_folder(verify.Config(out / "laws", only=("A1",), tree=("(0, 1)",)))
        reported.flows(out / "flows")
        reported.networks(out / "networks")
        reported.completion(out / "completion")
        yield out


@pytest.fixture(scope="module")
def pages(base: Path) -> dict[str, Page]:
    """The report of each folder, and of two over each other."""
    names = ("grid", "one", "laws", "flows", "networks", "completion")
    found = {n: reported.reported(base / n, out=base / f"{n}.html") for n in names}
    both = reported.reported(base / "one", base / "two", out=base / "both.html")
    return found | {"both": both}


def same(texts: list[str], values: np.ndarray) -> None:
    """Texts are values, digit by digit in their own precision; NaN is empty."""
    numbers = np.array([x or "nan" for x in texts], values.dtype)
    np.testing.assert_array_equal(numbers, values)


# What stands on a page


def test_one_run_is_shown_as_it_was_recorded(base: Path, pages: dict[str, Page]) -> None:
    """Every number of every curve, and steps and path length of all of them."""
    shown, runs = pages["one"], htf.load_results(base / "one").isel(seed=0)
    (loss,) = shown.figure("Loss that is descended")["traces"]
    same(shown.line(loss, "step"), runs.loss.values)
    block = shown.block(loss["blocks"]["step"][0])
    same(block["step"], runs.step.values)
    chord = runs.chord.values
    path = np.append(np.zeros(1, chord.dtype), np.cumsum(chord[:-1], dtype=chord.dtype))
    same(block["path length"], path)
    spectrum = shown.figure("Singular values of a matricization")
    assert len(spectrum["traces"]) == 9  # of matrices 9 x 9
    for k, trace in enumerate(spectrum["traces"]):
        assert trace["name"] == f"k = {k + 1}"
        same(shown.line(trace, "step"), runs.singular_value.values[:, 0, k])


def test_lines_of_many_runs_are_medians_and_bands(
    base: Path, pages: dict[str, Page]
) -> None:
    """Over seeds, at every place of the grid."""
    shown, runs = pages["grid"], htf.load_results(base / "grid")
    for place, trace in enumerate(shown.figure("Loss that is descended")["traces"]):
        values = runs.loss.isel(init_std=place).values
        assert trace["runs"] == 3
        assert trace["case"] == f"init std {float(runs.init_std[place]):g}"
        same(shown.line(trace, "step"), np.median(values, axis=0))
        same(shown.line(trace, "step", " 10 %"), np.quantile(values, 0.1, axis=0))
        same(shown.line(trace, "step", " 90 %"), np.quantile(values, 0.9, axis=0))


def test_path_lengths_of_many_runs_are_common_ones(
    base: Path, pages: dict[str, Page]
) -> None:
    """Every run is interpolated, and stays where it has ended."""
    shown, runs = pages["grid"], htf.load_results(base / "grid").isel(init_std=0)
    trace = shown.figure("Loss that is descended")["traces"][0]
    lengths = np.cumsum(runs.chord.values, axis=1)[:, :-1]
    lengths = np.append(np.zeros((3, 1)), lengths, axis=1)
    texts = shown.block(trace["blocks"]["path"][0])["path length"]
    positions = np.array(texts, float)
    assert positions[-1] == pytest.approx(lengths.max(), rel=1e-6)
    pairs = zip(lengths, runs.loss.values, strict=True)
    expected = np.median([np.interp(positions, x, y) for x, y in pairs], axis=0)
    found = np.array(shown.line(trace, "path"), float)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_last_values_over_the_axis_of_a_grid(base: Path, pages: dict[str, Page]) -> None:
    """Medians over seeds."""
    shown, runs = pages["grid"], htf.load_results(base / "grid")
    figures = [f for f in shown.data["figures"] if f["kind"] == "axis"]
    (loss,) = (f for f in figures if f["quantity"] == "loss")
    assert loss["clocks"] == {"axis": "init std"}
    (trace,) = loss["traces"]
    same(shown.line(trace, "axis"), runs.loss.isel(step=-1).median("seed").values)


def test_folders_are_laid_over_each_other(pages: dict[str, Page]) -> None:
    """A line of each in every figure, and what differs is marked."""
    shown = pages["both"]
    assert shown.data["folders"] == ["one", "two"]
    for figure in shown.data["figures"]:
        assert {trace["folder"] for trace in figure["traces"]} == {0, 1}
    assert ["init std", "0.3", "0.4"] in shown.tables["Settings"]
    assert '<tr class="differ"><th scope="row">init std</th>' in shown.text
    assert '<tr><th scope="row">panel</th>' in shown.text
    assert {"Summary of one", "Summary of two"} <= shown.tables.keys()


def test_titles_and_axes_are_words(pages: dict[str, Page]) -> None:
    """Long names of the results."""
    loss = pages["grid"].figure("Loss that is descended")
    assert loss["label"] == "loss that is descended"
    assert loss["clocks"]["step"] == "steps of descent before the record"
    titles = [f["title"] for f in pages["grid"].data["figures"]]
    assert "Norm of each local component, node {0,1}" in titles


def test_settings_versions_and_digests(base: Path, pages: dict[str, Page]) -> None:
    """Of a command and of a bare grid."""
    grid, one = pages["grid"].tables, pages["one"].tables
    assert ["axis init std", "0.2, 0.4"] in grid["Settings"]
    assert ["widths", "4"] in grid["Settings"]
    assert ["record every", "5"] in one["Settings"]
    for shown in (grid, one):
        assert ["htfjax", htf.__version__] in shown["Versions"]
    digest = htf.runs.file_digest(base / "one" / "config.json")
    assert ["config.json", digest] in one["Digests (SHA-256)"]
    identity = htf.load_results(base / "grid").attrs["identity"]
    assert ["identity of the grid", identity] in grid["Digests (SHA-256)"]


def test_runs_with_their_last_values(base: Path, pages: dict[str, Page]) -> None:
    """One row each; cells carry all digits."""
    heads, *rows = pages["grid"].tables["Runs and their last values"]
    assert heads[:4] == ["case", "seed", "status", "steps"]
    assert len(rows) == 6
    last = htf.load_results(base / "grid").loss.isel(step=-1).values
    found = [float(row[heads.index("last loss")]) for row in rows]
    np.testing.assert_array_equal(np.array(found, np.float32), last.ravel())


def test_a_tree_has_the_norms_and_spectra_of_its_nodes(
    base: Path, pages: dict[str, Page]
) -> None:
    """The largest first, as they were at the end."""
    (tree,) = pages["one"].data["trees"]
    assert tree["tree"] == "((0, 1), (2, 3))"
    assert tree["nodes"]["6"] == "root 6, modes {0, 1, 2, 3}"
    assert tree["svg"].count('role="button"') == 7
    block, last = pages["one"].block(tree["block"]), htf.load_results(base / "one")
    at = [
        i
        for i, key in enumerate(zip(block["node"], block["quantity"], strict=True))
        if key == ("6", "norm")
    ]
    norms = last.local_component_norm.isel(seed=0, step=-1, node=1).values
    same([block["value"][i] for i in at], -np.sort(-norms))
    spectra = [i for i, x in enumerate(block["quantity"]) if x == "singular value"]
    assert {block["node"][i] for i in spectra} == {"4", "5"}


def test_parts_of_an_experiment(pages: dict[str, Page]) -> None:
    """Under their own names, over the time that they recorded, with its tree."""
    shown = pages["flows"]
    spectrum = shown.figure("Singular values of a matricization")
    cases = {trace["case"] for trace in spectrum["traces"]}
    assert cases == {"seed 0, std 0.2", "seed 0, std 0.1"}
    assert list(spectrum["clocks"]) == ["time"]
    first = next(t for t in spectrum["traces"] if t["case"] == "seed 0, std 0.1")
    assert shown.line(first, "time") == ["0", "0.8", "1.6"]
    assert {tree["case"] for tree in shown.data["trees"]} == cases


def test_a_study_of_networks(pages: dict[str, Page]) -> None:
    """Accuracies over distances, a line for each arm, and over epochs."""
    shown = pages["networks"]
    accuracy = shown.figure("Test accuracy")
    assert accuracy["clocks"] == {"axis": "distance"}
    assert [t["name"] for t in accuracy["traces"]] == ["coefficient 0", "coefficient 1"]
    np.testing.assert_allclose(
        np.array(shown.line(accuracy["traces"][1], "axis"), float), [0.25, 0.65]
    )
    assert shown.figure("Train accuracy")["clocks"] == {"step": "epoch"}
    assert shown.tables["Summary"][1] == ["0", "0.5"]
    assert "0.5 ± 0.125" in shown.text


def test_a_completion(pages: dict[str, Page]) -> None:
    """Its tree by the names of its modes, which are text and no markup."""
    shown = pages["completion"]
    (tree,) = shown.data["trees"]
    assert tree["tree"] == "((station, <hour>), day)"
    assert "&lt;hour&gt;" in tree["svg"]
    assert "<hour>" not in shown.text
    block = shown.block(tree["block"])
    assert block["value"] == ["3", "1", "2", "3", "1", "2"]


def test_laws(pages: dict[str, Page]) -> None:
    """A table without curves."""
    shown = pages["laws"]
    assert shown.data["figures"] == []
    heads, row = shown.tables["Laws"]
    assert (row[0], row[heads.index("passed")]) == ("A1", "yes")


@pytest.mark.parametrize("name", ["grid", "one", "both", "completion"])
def test_a_page_needs_nothing_else(name: str, pages: dict[str, Page]) -> None:
    """It loads nothing, allows nothing to be loaded, and is small enough to be sent."""
    shown = pages[name]
    assert len(shown.text.encode()) <= page.MOST_BYTES
    for tag, attrs in shown.elements:
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            link = attrs.get(key) or "#"
            assert link.startswith(("#", "data:")), (tag, link)
        assert "url(" not in (attrs.get("style") or "")
    policy = {a.get("content") or "" for t, a in shown.elements if t == "meta"}
    assert any(text.startswith("default-src 'none'; script-src") for text in policy)
    assert ("link", "icon") in {(t, a.get("rel")) for t, a in shown.elements}
    style = shown.text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


# Less than everything


def test_quantities_that_are_asked_for(base: Path, tmp_path: Path) -> None:
    """And no others."""
    shown = reported.reported(
        base / "grid", out=tmp_path / "x.html", quantity=("loss", "singular_value")
    )
    found = {figure["quantity"] for figure in shown.data["figures"]}
    assert found == {"loss", "singular_value"}


def test_large_data_are_thinned(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First and last record stay, and the page says it."""
    monkeypatch.setattr(curves, "FEWEST_ROWS", 2)
    folder = folders.read_folder(base / "one", "one")
    whole = curves.recorded([folder], (), 10**9)
    fewer = curves.recorded([folder], (), 2000)
    assert whole.notes == []
    assert fewer.notes[-1].startswith("Curves show one record in ")
    (before,), (after,) = whole.blocks, fewer.blocks
    assert after.rows < before.rows
    for at in (0, -1):
        assert after.columns["step"][at] == before.columns["step"][at]


def test_of_many_cases_some_are_left_out(base: Path, monkeypatch: Any) -> None:
    """Of curves alone: rows and figures over axes have all."""
    monkeypatch.setattr(curves, "FEWEST_ROWS", 7)
    folder = folders.read_folder(base / "grid", "grid")
    found = curves.recorded([folder], (), 12_000)
    assert found.notes[0].startswith("Curves of 1 of 2 cases are shown")
    rows = tables.tables_of([folder], found)[-1].rows
    assert len(rows) == 6


# What is wrong with a folder


def test_damage_is_named_and_the_rest_is_shown(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On the page and on the terminal; the exit code says it."""
    place = tmp_path / "one"
    shutil.copytree(base / "one", place)
    records = place / "htf" / "results.zarr" / "p000" / "test_mse" / "c"
    chunk = next(path for path in records.rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    (place / "summary.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["report", str(place)])
    assert report.main() == report.INCOMPLETE
    said = capsys.readouterr().err.splitlines()
    for word in ("summary.json is damaged", f"{chunk} is damaged"):
        assert any(line.startswith("warning: ") and word in line for line in said), said
    shown = reported.read(place / "report.html")
    assert all(kind == "bad" for kind, _ in shown.notices)
    assert len(shown.notices) == len(said) == 2
    found = {figure["quantity"] for figure in shown.data["figures"]}
    assert "loss" in found
    assert "test_mse" not in found


@pytest.mark.parametrize("file", ["manifest.json", "config.json"])
def test_a_folder_of_which_little_is_left(file: str, base: Path, tmp_path: Path) -> None:
    """A report of the rest all the same."""
    place = tmp_path / "one"
    shutil.copytree(base / "one", place)
    path = place / file if file == "config.json" else place / "htf" / file
    path.write_text("[]")
    shown = reported.reported(place, out=tmp_path / "x.html")
    assert any(
        f"{path} is damaged" in text for kind, text in shown.notices if kind == "bad"
    )
    assert bool(shown.data["figures"]) == (file == "config.json")


def test_a_running_folder(base: Path, tmp_path: Path) -> None:
    """Is read beside the process that works there, and says so."""
    place = tmp_path / "grid"
    shutil.copytree(base / "grid", place)
    with htf.runs.locked_folder(place, "`out`"):
        shown = reported.reported(place, out=tmp_path / "x.html")
    ((kind, text),) = shown.notices
    assert kind == "now"
    assert text.startswith("grid is at work; 6 of 6 runs done")
    assert shown.data["figures"]


def test_a_folder_of_another_version(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are named."""
    monkeypatch.setattr(page.htf, "__version__", "9.9.9")
    shown = reported.reported(base / "one", out=tmp_path / "x.html")
    line = f"one was written by htfjax {page.htf.runs.versions()['htfjax']}; this page was"
    assert ("note", f"{line} made by htfjax 9.9.9.") in shown.notices


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of everything in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): htf.runs.file_digest(path) for path in files}


def test_a_report_only_reads(base: Path, tmp_path: Path) -> None:
    """No file of a run is written, made or removed, and it may be a read-only one."""
    before = digests(base / "grid") | digests(base / "one")
    reported.reported(base / "grid", base / "one", out=tmp_path / "x.html")
    assert digests(base / "grid") | digests(base / "one") == before


# What is wrong with what was asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no folder is given; give the folder of a run"),
        (["none"], "none does not exist; give the folder of a run"),
        (["one/config.json"], "config.json is a file; give the folder of a run"),
        (["empty"], r"empty holds no run of htfjax \(no config.json, manifest.json or"),
        (["one", "one"], "one is given twice; give it once"),
        (["one", "--quantity", "los"], r"`--quantity los` is recorded in none of the fol.*"
                                       r"recorded are: chord, .* loss, "),
        (["one", "--out", "one"], "`--out .*one` is a folder; give the name of a file"),
        (["one", "--out", "gone/x.html"], "`--out .*x.html`: the folder .*gone does not"),
        (["one", "--out", "one/config.json"], "`--out .*` exists and is no report of htfj"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    words: list[str], message: str, base: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And nothing is written."""
    (base / "empty").mkdir(exist_ok=True)
    before = digests(base / "one")
    monkeypatch.chdir(base)
    monkeypatch.setattr("sys.argv", ["report", *words])
    assert report.main() == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    with pytest.raises(AssertionError, match=f"^error: .*{message}"):
        raise AssertionError(said)
    assert digests(base / "one") == before


def test_an_older_report_is_replaced(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Another file is not, whatever its name."""
    out = tmp_path / "x.html"
    monkeypatch.setattr("sys.argv", ["report", str(base / "laws"), "--out", str(out)])
    for _ in range(2):
        assert report.main() == 0
    assert f"{out}: 2 tables" in capsys.readouterr().out
    out.write_text("<html>mine</html>")
    with pytest.raises(SettingError, match="is no report of htfjax"):
        page.check_out(out)


def test_a_place_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is named, as is a folder that cannot be listed."""

    def refuse(*words: object) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(htf.runs, "atomic_write", refuse)
    with pytest.raises(SettingError, match=r"--out .*x.html` cannot be written \(Permiss"):
        page.write_page("", tmp_path / "x.html")
    monkeypatch.setattr(folders, "places_of", refuse)
    with pytest.raises(FolderError, match=r"cannot be read \(Permission denied\)"):
        folders.read_folder(tmp_path, "x")


def test_plotly_is_named_where_it_is_missing() -> None:
    """With the extra that brings it."""
    error = ModuleNotFoundError("No module named 'plotly'", name="plotly.offline")
    line = "`report` needs plotly; install it by `pip install 'htfjax[studies]'`."
    assert missing.needs("report", error) == line


# Pieces


def test_embedded_data_cannot_end_their_element() -> None:
    """Whatever names there are."""
    text = page._embedded({"a": "</script><script>"})
    assert "<" not in text
    assert json.loads(text) == {"a": "</script><script>"}


def test_a_caterpillar_is_drawn_without_recursion() -> None:
    """Of an order that would be too deep."""
    drawn = trees.drawing(htf.caterpillar(150), set(), [])
    assert drawn.count("<circle") == 299


SHORT: list[tuple[object, str]] = [
    (None, tables.NONE),
    (float("nan"), tables.NONE),
    (True, "yes"),
    (0.123456, "0.1235"),
    ([1, None], f"1, {tables.NONE}"),
    ([[1.0, 2.0]], "(1, 2)"),
    ({"mean": 1.0, "deviation": None}, "1"),
    ({"a": 1}, "a: 1"),
    (list(range(12)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"),
]


@pytest.mark.parametrize(("value", "text"), SHORT)
def test_cells_are_short(value: object, text: str) -> None:
    assert tables.short(value) == text
