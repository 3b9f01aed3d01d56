"""Folders of ensembles that were damaged: named and mended, or named and refused."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import htfjax as htf
from htfjax import _digests
from tests.runs import toy
from tests.runs.test_durable import assert_same

# Two programs of two blocks each, so that everything can be taken for something else.
OPTIONS: dict[str, Any] = {"max_lanes": 2}


DURABLE = pytest.mark.durable


def rest(*cases: Any) -> list[Any]:
    """The first case is run always, the others with all that takes long."""
    return [cases[0], *(pytest.param(case, marks=DURABLE) for case in cases[1:])]


def grid(seeds: int = 4) -> Any:
    return toy.grid(seeds, size=(2, 3))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder, not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert toy.finish(out, grid(), **OPTIONS).state == "finished"
    assert len(list((out / "checkpoints").iterdir())) == 4
    return out


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was left in its third block, not to be changed."""
    out = tmp_path_factory.mktemp("part") / "run"
    runs = htf.runs.run(grid(), out, **{**toy.DEFAULTS, **OPTIONS})
    for _ in range(15):
        next(runs)
    runs.close()
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A finished folder to be spoilt."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def flip(path: Path, place: float = 0.5) -> None:
    """One bit of one byte."""
    content = bytearray(path.read_bytes() or b"0")
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def truncate(path: Path, share: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def swap(one: Path, two: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def read(out: Path) -> str | None:
    """What reading everything complains of; else no number may be missing or wrong."""
    try:
        data = htf.load_results(out).load()
    except (ValueError, OSError) as error:
        return str(error)
    for run in np.ndindex(2, 4):
        reached, one = int(data.steps.values[run]), data.isel(size=run[0], seed=run[1])
        assert np.isfinite(one.loss.sel(step=slice(0, reached))).all() or not reached
        assert np.isnan(one.loss.sel(step=slice(reached + 1, None))).all()
    return None


def again(out: Path) -> tuple[str, bool]:
    """What the same call says, and whether it came to its end."""
    try:
        runs = htf.runs.run(grid(), out, **{**toy.DEFAULTS, **OPTIONS})
        seen = list(runs)
    except (ValueError, OSError) as error:
        return str(error), False
    assert seen[-1].state == "finished"
    assert seen[-1].changed == 0
    return "\n".join(message for p in seen for message in p.messages), True


def assert_mended(out: Path, whole: Path, *names: str) -> None:
    """The same call names what was damaged and computes it anew, bit for bit."""
    words, ended = again(out)
    assert ended, words
    for name in names:
        assert name in words
    assert_same(whole, out)
    assert read(out) is None
    assert again(out) == ("", True)


def assert_refused(out: Path, name: str) -> None:
    """Reading and running both name the file and say what to do."""
    for words in (read(out), again(out)[0]):
        assert words is not None
        assert name in words
        assert "restore" in words or "put back" in words


@pytest.mark.parametrize(
    "names",
    rest(("results.zarr", "journal.jsonl"), ("results.zarr",), ("journal.jsonl",)),
)
def test_lost_records_are_computed_anew(
    copy: Path, whole: Path, names: tuple[str, ...]
) -> None:
    """A finished folder without its records is not finished."""
    for name in names:
        remove(copy / name)
    words = read(copy)
    assert words is not None
    assert any(f"{name} is missing" in words or name in words for name in names)
    assert_mended(copy, whole, *(f"{name} is missing" for name in names))


@pytest.mark.parametrize("name", rest("p001/zarr.json", "p001/loss/zarr.json", "zarr.json"))
@pytest.mark.parametrize("damage", rest(remove, truncate, empty))
def test_array_metadata(
    copy: Path, whole: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(copy / "results.zarr" / name)
    assert name in (read(copy) or "")
    assert_mended(copy, whole, name)


def test_array_metadata_that_say_something_else(copy: Path, whole: Path) -> None:
    """Another byte order would be read as other numbers."""
    path = copy / "results.zarr/p000/loss/zarr.json"
    text = path.read_text()
    assert "little" in text
    path.write_text(text.replace("little", "big"))
    assert "p000/loss/zarr.json is damaged" in (read(copy) or "")
    assert_mended(copy, whole, "p000/loss/zarr.json")


@pytest.mark.durable
def test_labels_of_other_readers(copy: Path, whole: Path) -> None:
    """Coordinates beside the records, which plain xarray reads."""
    flip(copy / "results.zarr/p000/seed/c/0")
    assert_mended(copy, whole, "p000/seed/c/0")
    original = (whole / "results.zarr/p000/seed/c/0").read_bytes()
    assert (copy / "results.zarr/p000/seed/c/0").read_bytes() == original


@pytest.mark.parametrize("damage", rest(truncate, remove, empty, flip))
def test_chunks(copy: Path, whole: Path, damage: Callable[[Path], None]) -> None:
    damage(copy / "results.zarr/p001/loss/c/1/2")
    assert "p001/loss/c/1/2 is" in (read(copy) or "")
    assert_mended(copy, whole, "p001/loss/c/1/2 is")


@pytest.mark.parametrize(
    "other", rest("p001/loss/c/0/2", "p001/norm/c/1/2", "p000/loss/c/1/2")
)
def test_swapped_chunks(copy: Path, whole: Path, other: str) -> None:
    swap(copy / "results.zarr/p001/loss/c/1/2", copy / "results.zarr" / other)
    assert "is damaged" in (read(copy) or "")
    assert_mended(copy, whole, "p001/loss/c/1/2", other)


@pytest.mark.parametrize("more", rest(60, 80))
@pytest.mark.parametrize("damage", rest(flip, remove, truncate, empty))
def test_checkpoints(
    copy: Path, whole: Path, damage: Callable[[Path], None], more: int
) -> None:
    """Named in a finished folder too, where only more steps need them."""
    damage(copy / "checkpoints/p001-0000.npz")
    assert read(copy) is None
    seen = list(
        htf.runs.run(grid(), copy, **{**toy.DEFAULTS, **OPTIONS, "until_step": more})
    )
    words = "\n".join(message for p in seen for message in p.messages)
    assert "p001-0000.npz is" in words
    assert ("computed again from its start" in words) == (more > 60)
    assert ("only more steps need it" in words) == (more == 60)
    assert seen[-1].changed == 0
    first = htf.load_results(copy).loss.sel(step=slice(0, 60))
    np.testing.assert_array_equal(first, htf.load_results(whole).loss)


@pytest.mark.durable
def test_checkpoints_of_other_blocks(copy: Path, whole: Path) -> None:
    """The states of other runs, of equal shapes."""
    swap(copy / "checkpoints/p001-0000.npz", copy / "checkpoints/p001-0001.npz")
    last = toy.finish(copy, grid(), **OPTIONS, until_step=80)
    assert last.changed == 0
    toy.finish(copy.parent / "long", grid(), **OPTIONS, until_step=80)
    assert_same(copy.parent / "long", copy)


def test_a_manifest_that_was_edited(copy: Path) -> None:
    """Seeds that change places would change all labels."""
    path = copy / "manifest.json"
    text = path.read_text()
    values = json.loads(text)
    values["seeds"] = values["seeds"][::-1]
    path.write_text(json.dumps(values))
    assert_refused(copy, "manifest.json is damaged")
    values = json.loads(text)
    values["programs"][0]["blocks"] = values["programs"][0]["blocks"][::-1]
    path.write_text(json.dumps(values))
    assert_refused(copy, "manifest.json is damaged")
    path.write_text(text)
    assert read(copy) is None


@pytest.mark.parametrize("damage", [truncate, empty, flip, remove])
def test_a_damaged_manifest(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy / "manifest.json")
    assert_refused(copy, "manifest.json is")


@pytest.mark.durable
def test_a_manifest_of_another_folder(copy: Path, tmp_path: Path) -> None:
    """Whole and sealed, but its runs lie elsewhere."""
    other = tmp_path / "other"
    toy.finish(other, grid(), max_lanes=4)
    shutil.copy(other / "manifest.json", copy / "manifest.json")
    for words in (read(copy), again(copy)[0]):
        assert "journal.jsonl" in (words or "")
    shutil.copy(other / "journal.jsonl", copy / "journal.jsonl")
    assert "is" in (read(copy) or "")
    assert_mended(copy, other, "results.zarr/p000/loss")


@pytest.mark.durable
def test_a_sealed_manifest_with_permuted_runs(copy: Path, whole: Path) -> None:
    """Every line of the journal says which runs it is about."""
    path = copy / "manifest.json"
    values = _digests.read_sealed(path)
    blocks = values["programs"][0]["blocks"]
    blocks[0], blocks[1] = blocks[1], blocks[0]
    _digests.write_sealed(path, values)
    assert "journal.jsonl has a line that does not fit" in (read(copy) or "")
    assert_mended(copy, whole, "journal.jsonl has lines that do not fit")


def edit_lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "lost": lambda lines: lines[:5] + lines[6:],
    "shortened": lambda lines: lines[:3],
    "headless": lambda lines: lines[1:],
    "order": lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
    "twice": lambda lines: [*lines[:4], lines[3], *lines[4:]],
    "edited": lambda lines: [
        *lines[:4], lines[4].replace(b'"end":[', b'"end":[1'), *lines[5:]
    ],
    "more": lambda lines: [*lines, b"what is this\n"],
}  # fmt: skip


@pytest.mark.parametrize("change", rest(*CHANGES))
def test_journal_lines(copy: Path, whole: Path, change: str) -> None:
    edit_lines(copy / "journal.jsonl", CHANGES[change])
    assert "journal.jsonl" in (read(copy) or "")
    assert_mended(copy, whole, "journal.jsonl")


@pytest.mark.durable
def test_slow_steps_outlive_the_line_that_held_them(tmp_path: Path) -> None:
    """The checkpoint counts them too; without the journal they were not known."""
    setting = htf.problems.Completion(
        tree=((0,), 1),
        mode_dims=4,
        widths=2,
        target_rank=1,
        observed=8,
        root="ones",
        track_modes=((0,),),
    )
    chosen = htf.runs.Grid(setting, range(2))
    options = {"until_step": 20, "build": htf.runs.completion_lane}
    toy.finish(tmp_path, chosen, **options)
    before = htf.load_results(tmp_path).slow_steps.values
    assert (before >= 0).all()
    for change in ("lost", "headless"):
        edit_lines(tmp_path / "journal.jsonl", CHANGES[change])
        toy.finish(tmp_path, chosen, **options)
        np.testing.assert_array_equal(htf.load_results(tmp_path).slow_steps, before)
    remove(tmp_path / "journal.jsonl")
    toy.finish(tmp_path, chosen, **options)
    np.testing.assert_array_equal(htf.load_results(tmp_path).slow_steps, before)


@pytest.mark.durable
def test_journal_lines_of_another_folder(copy: Path, whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    toy.finish(other, toy.grid(4, size=(2, 4)), **OPTIONS)
    foreign = (other / "journal.jsonl").read_bytes().splitlines(keepends=True)
    edit_lines(copy / "journal.jsonl", lambda lines: [*lines[:6], foreign[6], *lines[7:]])
    assert "journal.jsonl is of another folder" in (read(copy) or "")
    assert_mended(copy, whole, "journal.jsonl is of another folder")
    shutil.copy(other / "journal.jsonl", copy / "journal.jsonl")
    assert "another folder" in (read(copy) or "")
    words, ended = again(copy)
    assert not ended
    assert "journal.jsonl belongs to another folder" in words
    assert (copy / "journal.jsonl").read_bytes() == b"".join(foreign)


def test_records_without_a_manifest_are_not_written_over(tmp_path: Path) -> None:
    """They may be somebody else's."""
    (tmp_path / "results.zarr").mkdir()
    (tmp_path / "results.zarr/mine").write_text("precious")
    with pytest.raises(ValueError, match=r"holds results\.zarr, but manifest\.json"):
        toy.finish(tmp_path)
    assert (tmp_path / "results.zarr/mine").read_text() == "precious"


@pytest.mark.slow
def test_no_older_format_of_zarr_is_read(copy: Path) -> None:
    """Its metadata may name a pickle filter."""
    for path in (copy / "results.zarr").rglob("zarr.json"):
        path.unlink()
    folder = copy / "results.zarr/p000/loss"
    (folder / ".zarray").write_text(
        json.dumps(
            {"zarr_format": 2, "shape": [8, 31], "chunks": [2, 5], "dtype": "<f4",
             "fill_value": 0, "order": "C", "compressor": None,
             "filters": [{"id": "pickle"}]}
        )
    )  # fmt: skip
    assert "zarr.json is missing" in (read(copy) or "")


def test_moved_and_removed_folders_are_missing(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another working folder changes nothing; a folder that moved is not damaged."""
    monkeypatch.chdir(copy.parent)
    data = htf.load_results("copy")
    os.chdir("/")
    assert np.isfinite(data.loss.values).all()
    copy.rename(copy.parent / "moved")
    with pytest.raises(FileNotFoundError, match="copy is missing: it was moved or removed"):
        data.norm.values  # noqa: B018
    assert np.isfinite(htf.load_results(copy.parent / "moved").norm.values).all()
    remove(copy.parent / "moved/results.zarr/p000/norm/c/0/0")
    with pytest.raises(FileNotFoundError, match="norm/c/0/0 is missing; run the same"):
        htf.load_results(copy.parent / "moved").norm.values  # noqa: B018


@pytest.mark.durable
def test_results_opened_before_they_are_extended(copy: Path) -> None:
    """A chunk that grew is not damaged."""
    data = htf.load_results(copy)
    toy.finish(copy, grid(), **OPTIONS, until_step=80)
    with pytest.raises(ValueError, match="written anew after the results were opened"):
        data.loss.values  # noqa: B018
    assert htf.load_results(copy).loss.sizes["step"] == 41


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": truncate, "short": lambda p: truncate(p, 0.99), "emptied": empty,
    "flipped": flip, "flipped early": lambda p: flip(p, 0.05),
    "flipped late": lambda p: flip(p, 0.98), "removed": remove,
}  # fmt: skip


# One of every kind of file; those that say where numbers belong are all there.
FILES = (
    "manifest.json", "journal.jsonl", "status.json", "lock", "lock.json",
    "results.zarr/zarr.json", "results.zarr/p001/zarr.json",
    "results.zarr/p000/loss/zarr.json", "results.zarr/p000/loss/c/0/1",
    "results.zarr/p000/gap/c/1/0/0", "results.zarr/p000/seed/c/0",
    "checkpoints/p000-0000.npz", "checkpoints/p000-0001.npz",
)  # fmt: skip


@pytest.mark.durable
@pytest.mark.parametrize("kind", ["whole", "part"])
@pytest.mark.parametrize("name", [*DAMAGES, "swapped"])
def test_every_file_damaged(
    kind: str, name: str, whole: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No wrong number and no missing one without a word, whatever is done to a file."""
    source = request.getfixturevalue(kind)
    files = [file for file in FILES if (source / file).exists()]
    assert len(files) > 10
    for i, file in enumerate(files):
        out = tmp_path / "copy"
        shutil.copytree(source, out)
        if name == "swapped":
            swap(out / file, out / files[(i + 1) % len(files)])
        else:
            DAMAGES[name](out / file)
        read(out)
        words, ended = again(out)
        if ended:
            assert_same(whole, out)
        else:
            assert str(out) in words, (file, words)
            assert "restore" in words or "put back" in words, (file, words)
        shutil.rmtree(out)


def test_a_status_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """In a folder that no grid has begun."""
    path = tmp_path / "status.json"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"holds status\.json"):
        list(htf.runs.run(toy.grid(1), tmp_path, **toy.DEFAULTS))
    assert path.read_text() == "mine"
