"""Folders of ensembles: resumed, extended, damaged, refused."""

import dataclasses
import errno
import functools
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from htfjax import _digests
from htfjax.runs import store
from tests.runs import toy


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder, not to be changed."""
    out = tmp_path_factory.mktemp("whole")
    assert toy.finish(out).state == "finished"
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A finished folder to be spoilt."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def assert_same(one: Path, two: Path) -> None:
    """All records equal bit for bit."""
    a, b = htf.load_results(one), htf.load_results(two)
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))
    np.testing.assert_array_equal(a.steps, b.steps)


@pytest.mark.slow
def test_records_are_those_of_single_runs(whole: Path) -> None:
    """Every run equals `continue_descent` of its lane, bit for bit."""
    data = htf.load_results(whole)
    assert dict(data.loss.sizes) == {"rate": 2, "seed": 3, "step": 31}
    assert data.gap.dims == ("rate", "seed", "step", "row")
    for i, rate in enumerate((0.05, 0.1)):
        for seed in range(3):
            lane = htf.runs.make_lane(toy.toy_lane, toy.Toy(rate=rate), seed)
            _, trajectory = htf.continue_descent(
                lane.state, lane.loss, lane.optimizer, num_steps=toy.NUM_STEPS,
                record_every=toy.EVERY, observe=lane.observe,
            )  # fmt: skip
            run = data.isel(rate=i, seed=seed)
            np.testing.assert_array_equal(run.loss, trajectory.losses)
            np.testing.assert_array_equal(run.grad_norm, trajectory.grad_norms)
            np.testing.assert_array_equal(run.gap, trajectory.observed["gap"])


def test_other_tools_read_the_store(whole: Path) -> None:
    """Plain xarray opens a program's group."""
    data = xr.open_zarr(
        whole / "results.zarr", group="p000", chunks=None, consolidated=False
    )
    assert data.loss.dims == ("run", "step")
    assert data.seed.values.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.rate_index.attrs["values"] == ["0.05", "0.1"]
    np.testing.assert_array_equal(
        data.loss.values.reshape(2, 3, -1), htf.load_results(whole).loss
    )


def test_leaving_and_coming_back(whole: Path, tmp_path: Path) -> None:
    """Left after every second chunk; the folder is readable meanwhile."""
    sessions = 0
    while True:
        sessions += 1
        runs = htf.runs.run(
            toy.grid(), tmp_path / "run", until_step=toy.NUM_STEPS, record_every=toy.EVERY,
            chunk_steps=toy.CHUNK, build=toy.toy_lane, checkpoint_seconds=1e9,
        )  # fmt: skip
        state = ""
        for i, progress in enumerate(runs):
            state = progress.state
            assert progress.changed == 0
            if i == 1 and state == "running":
                break
        runs.close()
        data = htf.load_results(tmp_path / "run")
        reached = int(data.steps.max())
        assert np.isfinite(data.loss.sel(step=reached)).all()
        assert np.isnan(data.loss.sel(step=data.step > reached)).all()
        if state == "finished":
            break
    assert sessions >= 3
    assert_same(whole, tmp_path / "run")


def test_interrupted_says_so(tmp_path: Path) -> None:
    """The flag is asked after every chunk; the last progress says interrupted."""
    last = toy.finish(tmp_path / "run", interrupted=lambda: True)
    assert (last.state, last.executed) == ("interrupted", 6 * toy.CHUNK)
    assert toy.finish(tmp_path / "run").state == "finished"


def test_a_finished_folder_is_not_run_again(copy: Path) -> None:
    assert toy.finish(copy).executed == 0


@pytest.mark.slow
def test_more_steps_and_seeds_extend(whole: Path, tmp_path: Path) -> None:
    """First fewer of both, and an end inside a chunk."""
    out = tmp_path / "run"
    toy.finish(out, toy.grid(seeds=1), until_step=16)
    toy.finish(out, toy.grid(seeds=1), until_step=40)
    toy.finish(out)
    assert_same(whole, out)


@pytest.mark.parametrize("chunk", [0, 3, 6])
def test_a_damaged_chunk_is_named_and_computed_again(
    whole: Path, copy: Path, chunk: int
) -> None:
    """First, middle and last chunk; reading it before is an error that names it."""
    path = copy / f"results.zarr/p000/norm/c/0/{chunk}"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    data = htf.load_results(copy)
    assert np.isfinite(data.loss.values).all()
    with pytest.raises(ValueError, match=rf"norm/c/0/{chunk} is damaged"):
        data.norm.values  # noqa: B018
    said = [m for p in _progress(copy) for m in p.messages]
    assert any("damaged" in m and f"norm/c/0/{chunk}" in m for m in said)
    assert path.read_bytes() == content
    assert_same(whole, copy)


def test_a_lost_chunk_and_a_damaged_checkpoint(whole: Path, copy: Path) -> None:
    """The block is computed from its start, and says why."""
    (copy / "results.zarr/p000/loss/c/0/2").unlink()
    for file in (copy / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    said = [m for p in _progress(copy) for m in p.messages]
    assert any("checkpoint" in m and "damaged" in m for m in said)
    assert_same(whole, copy)


def _progress(out: Path) -> list[Any]:
    return list(
        htf.runs.run(
            toy.grid(), out, until_step=toy.NUM_STEPS, record_every=toy.EVERY,
            chunk_steps=toy.CHUNK, build=toy.toy_lane, checkpoint_seconds=0.0,
        )
    )  # fmt: skip


def test_a_torn_journal_line_is_dropped(whole: Path, copy: Path) -> None:
    """What a kill in the middle of a line leaves."""
    journal = copy / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    toy.finish(copy)
    assert_same(whole, copy)
    assert all(line.endswith("}") for line in journal.read_text().splitlines())


def test_reading_one_quantity_opens_only_its_files(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other quantities may be gone."""
    for name in ("gap", "norm", "chord", "duration"):
        shutil.rmtree(copy / "results.zarr" / "p000" / name / "c")
    data = htf.load_results(copy)
    assert data.loss.isel(seed=1).sel(step=slice(0, 10)).values.shape == (2, 6)
    assert data.loss[1, [2, 0], ::10].values.shape == (2, 4)
    np.testing.assert_array_equal(
        data.loss[1, [2, 0], ::10], data.loss.values[1][[2, 0]][:, ::10]
    )


def test_stopped_lanes_rest(tmp_path: Path) -> None:
    """Lanes below the tolerance stop after the chunk, and their records end there."""
    grid = toy.grid(rate=(0.3, 1e-6, 50.0))
    last = toy.finish(tmp_path, grid, tolerance=0.3, patience=1, until_step=200)
    data = htf.load_results(tmp_path)
    assert set(data.status.values[2]) == {"diverged"}
    assert "capped" in set(data.status.values[1])
    assert last.failed == 3
    assert last.executed == int(data.steps.sum()) < 9 * 200
    for run in np.ndindex(3, 3):
        losses, stop = data.loss.values[run], int(data.stop_step.values[run])
        ended = int(data.steps.values[run]) // toy.EVERY
        assert np.isnan(losses[ended + 1 :]).all()
        found = htf.find_stop(losses[: ended + 1], 0.3, 1)
        assert (found.record * toy.EVERY if found else -1) == stop


def test_second_process_is_refused(tmp_path: Path) -> None:
    """The lock names the process that holds it."""
    runs = htf.runs.run(
        toy.grid(), tmp_path, until_step=toy.NUM_STEPS, record_every=toy.EVERY,
        chunk_steps=toy.CHUNK, build=toy.toy_lane,
    )  # fmt: skip
    next(runs)
    assert htf.runs.is_locked(tmp_path)
    with pytest.raises(BlockingIOError, match="in use by process"):
        toy.finish(tmp_path)
    runs.close()
    assert not htf.runs.is_locked(tmp_path)


def test_full_disk_is_said_and_nothing_finished_is_lost(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write fails in the third chunk."""
    real, calls = store.write_chunk, []

    def write(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(store, "write_chunk", write)
    with pytest.raises(OSError, match=r"the disk is full.*intact; make room") as error:
        toy.finish(tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert np.isfinite(htf.load_results(tmp_path).loss.sel(step=slice(0, 19))).all()
    toy.finish(tmp_path)
    assert_same(whole, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chosen": toy.grid(rate=(0.05, 0.2))}, "`axes.rate` was .*0.1.*, now .*0.2"),
        ({"chosen": toy.grid(size=(3, 4))}, "axes.size"),
        ({"record_every": 1}, "`record_every` was 2, now 1"),
        ({"tolerance": 0.1}, "`tolerance` was None, now 0.1"),
        ({"record": ["norm"]}, "`record` was None"),
    ],
    ids=str,
)
def test_a_folder_of_another_grid(copy: Path, change: dict[str, Any], words: str) -> None:
    """The fields that differ are named."""
    with pytest.raises(ValueError, match=f"holds another grid: .*{words}"):
        toy.finish(copy, **change)


def test_other_versions(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, with what is installed here; the results can still be read."""
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "0.1" if name == "jax" else real(name)
    )
    with pytest.raises(ValueError, match=rf"jax {jax.__version__} \(here 0\.1\)"):
        toy.finish(copy)
    assert np.isfinite(htf.load_results(copy).loss).all()


def test_newer_formats(copy: Path) -> None:
    path = copy / "manifest.json"
    manifest = _digests.read_sealed(path)
    _digests.write_sealed(path, manifest | {"format": 99})
    for use in (toy.finish, htf.load_results):
        with pytest.raises(ValueError, match=r"format 99.*upgrade"):
            use(copy)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        toy.finish(copy)


def test_another_builder_or_other_draws(copy: Path) -> None:
    """The same grid, and still other numbers."""
    with pytest.raises(ValueError, match="`build` was 'toy_lane', now 'noisy_lane'"):
        toy.finish(copy, build=noisy_lane)
    wide = functools.wraps(toy.toy_lane)(wide_lane)
    with pytest.raises(ValueError, match="`build` makes other arrays"):
        toy.finish(copy, build=wide)
    other = pytest.raises(ValueError, match="`random bits of jax` was")
    with jax.default_prng_impl("rbg"), other:
        toy.finish(copy)


def wide_lane(setting: toy.Toy, key: jax.Array) -> Any:
    return toy.toy_lane(dataclasses.replace(setting, size=4), key)


def test_an_ensemble_has_no_groups(whole: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is one ensemble and has no `group=p000`"):
        htf.load_results(whole, "p000")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="cannot be written"):
        toy.finish(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"record": ["nrom"]}, ValueError, "no quantity 'nrom'.*'norm'"),
        ({"watch": "gap"}, ValueError, "`watch='gap'`.*'norm'"),
        ({"batching": "fast"}, ValueError, "`batching='fast'`"),
        (
            {"chunk_steps": 5},
            ValueError,
            "`record_every=2` does not divide `chunk_steps=5`",
        ),
        ({"max_lanes": 0}, ValueError, "max_lanes"),
        ({"until_step": 7}, ValueError, "does not divide `until_step=7`"),
        ({"until_step": 2.5}, TypeError, "`until_step` must be an integer"),
        ({"checkpoint_seconds": float("nan")}, ValueError, "`checkpoint_seconds=nan`"),
        ({"checkpoint_seconds": -1}, ValueError, "`checkpoint_seconds=-1`"),
        ({"patience": 3.5}, TypeError, "`patience` must be an integer"),
        ({"patience": -1}, ValueError, "`patience=-1`"),
        ({"tolerance": float("nan")}, ValueError, "`tolerance=nan`"),
        ({"tolerance": -1}, ValueError, "`tolerance=-1`"),
        ({"tolerance": "low"}, TypeError, "`tolerance` must be a real number"),
        ({"watch": 3}, TypeError, "`record` and `watch` must be names"),
        ({"watch": "nope"}, ValueError, "`watch='nope'`"),
        ({"record": "norm"}, TypeError, "`record` must be a list of names"),
        ({"record": [3]}, TypeError, "`record` and `watch` must be names"),
        ({"memory_bytes": -1}, ValueError, "`memory_bytes=-1`"),
        ({"memory_bytes": 1.5}, TypeError, "`memory_bytes` must be an integer"),
        ({"mesh": 3}, TypeError, "`mesh` must be a Mesh"),
        ({"interrupted": 3}, TypeError, "`interrupted` must be callable"),
        ({"build": 3}, TypeError, "`build` must be callable"),
        ({"build": len}, TypeError, "`build=.*` must take a setting and a key"),
        ({"batching": True}, TypeError, "`batching` must be an integer"),
        ({"batching": 0}, ValueError, "`batching=0`"),
        ({"chosen": 3}, TypeError, "`grid` must be a Grid"),
    ],
    ids=str,
)
def test_bad_options(
    tmp_path: Path, options: dict[str, Any], kind: type, words: str
) -> None:
    with pytest.raises(kind, match=words):
        toy.finish(tmp_path / "run", **options)


@pytest.mark.slow
def test_memory_decides_how_many_run_at_once(tmp_path: Path) -> None:
    """Fewer lanes, the same numbers, and the result says so."""
    toy.finish(tmp_path / "few", memory_bytes=3000)
    toy.finish(tmp_path / "all")
    few = json.loads((tmp_path / "few" / "manifest.json").read_text())
    assert few["programs"][0]["block"] < 6
    assert htf.load_results(tmp_path / "few").attrs["lanes_limited_by_memory"] == 1
    assert htf.load_results(tmp_path / "all").attrs["lanes_limited_by_memory"] == 0
    assert_same(tmp_path / "few", tmp_path / "all")


@pytest.mark.slow
def test_shapes_make_programs(tmp_path: Path) -> None:
    """A size axis: two programs, padded with NaN side by side."""
    toy.finish(tmp_path, toy.grid(size=(2, 3), note=("a", "b")), until_step=20)
    data = htf.load_results(tmp_path)
    assert data.gap.sizes["row"] == 3
    assert np.isnan(data.gap[0, :, :, :, 2]).all()
    assert np.isfinite(data.gap[1]).all()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [len(p["blocks"][0]) for p in manifest["programs"]] == [6, 6]
    assert data.note.values.tolist() == ["a", "b"]


def test_chosen_quantities_only(tmp_path: Path) -> None:
    toy.finish(tmp_path, record=["norm"], until_step=20)
    data = htf.load_results(tmp_path)
    assert "norm" in data
    assert "gap" not in data


@pytest.mark.parametrize("batching", ["vmap", pytest.param(2, marks=pytest.mark.slow)])
def test_vectorized_lanes(tmp_path: Path, whole: Path, batching: str | int) -> None:
    """Close to single runs, and resumed bit for bit."""
    toy.finish(tmp_path / "one", batching=batching)
    toy.finish(tmp_path / "two", batching=batching, until_step=30)
    toy.finish(tmp_path / "two", batching=batching)
    assert_same(tmp_path / "one", tmp_path / "two")
    np.testing.assert_allclose(
        htf.load_results(tmp_path / "one").loss, htf.load_results(whole).loss, rtol=1e-4
    )


@pytest.mark.slow
def test_random_losses_keep_their_keys(tmp_path: Path) -> None:
    """A lane with a key equals its single run."""
    toy.finish(tmp_path, toy.grid(), build=noisy_lane)
    lane = htf.runs.make_lane(noisy_lane, toy.Toy(rate=0.1), 2)
    _, trajectory = htf.continue_descent(
        lane.state, lane.loss, lane.optimizer, num_steps=toy.NUM_STEPS,
        record_every=toy.EVERY, key=lane.key,
    )  # fmt: skip
    found = htf.load_results(tmp_path).loss.sel(rate=0.1, seed=2)
    np.testing.assert_array_equal(found, trajectory.losses)


def noisy_distance(data: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    return toy.distance(data, x + jax.random.normal(key, x.shape, x.dtype) / 10)


def noisy_lane(setting: toy.Toy, key: jax.Array) -> Any:
    lane = toy.toy_lane(setting, key)
    loss = jax.tree_util.Partial(noisy_distance, *lane.loss.args)
    return dataclasses.replace(lane, loss=loss, key=jax.random.fold_in(key, 7))


def wild_lane(setting: toy.Toy, key: jax.Array) -> Any:
    """A lane whose steps are too long from the first on."""
    lane = toy.toy_lane(setting, key)
    return dataclasses.replace(lane, loss=jax.tree_util.Partial(too_steep))


def too_steep(x: jax.Array) -> jax.Array:
    """Infinite wherever a lane starts."""
    return jnp.sum(jnp.exp(jnp.square(x + 1e3)))


@pytest.mark.slow
def test_chunks_of_runs_that_have_all_diverged(tmp_path: Path) -> None:
    """Nothing but NaN is recorded, and is read as such."""
    progress = toy.finish(tmp_path, toy.grid(1), build=wild_lane)
    assert progress.failed == progress.runs
    data = htf.load_results(tmp_path).load()
    assert set(data.status.values.ravel()) == {"diverged"}
    assert not np.isfinite(data.loss).any()


def picky_lane(setting: toy.Toy, key: jax.Array) -> Any:
    """A builder that does not make every setting."""
    if setting.size == 4:
        raise ValueError("four is too much")
    return toy.toy_lane(setting, key)


def test_a_setting_that_cannot_be_built_is_named_and_the_others_run(tmp_path: Path) -> None:
    """Also when the folder is opened again, with more seeds."""
    options: Any = toy.DEFAULTS | {"build": picky_lane}
    for seeds, others in ((1, 2), (2, 4)):
        chosen = toy.grid(seeds, size=(3, 4, 5))
        runs = list(htf.runs.run(chosen, tmp_path, **options))
        said = [message for progress in runs for message in progress.messages]
        assert [m for m in said if "fails" in m] == [
            "`build` fails for {'size': 4}, whose runs are left out: ValueError: four is "
            "too much"
        ]
        assert (runs[-1].state, runs[-1].runs, runs[-1].done) == (
            "finished",
            others,
            others,
        )
    data = htf.load_results(tmp_path)
    assert data.status.values[:, 0].tolist() == ["capped", "failed", "capped"]
    assert np.isfinite(data.loss.sel(size=[3, 5])).all()
    assert data.loss.sel(size=4).isnull().all()
    with pytest.raises(ValueError, match="four is too much"):
        list(htf.runs.run(toy.grid(size=(4,)), tmp_path / "none", **options))
