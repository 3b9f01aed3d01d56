"""Grids of one: builders that are not traced, last states, and what is read off them."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import htfjax as htf
from htfjax.runs import batch
from tests.runs import toy


def picked_lane(setting: toy.Toy, key: jax.Array) -> Any:
    """A builder that looks at its numbers, which jax could not trace."""
    lane = toy.toy_lane(setting, key)
    assert float(lane.state.params[0]) == float(np.asarray(lane.state.params)[0])
    return dataclasses.replace(lane, coords=(("row", (10, 20, 30)), ("depth", (1, 2, 3))),
                               dims=(*lane.dims, ("depth", ("row",))))  # fmt: skip


BUILD = htf.runs.untraced(picked_lane)


def run(out: Path, until_step: int = toy.NUM_STEPS, **options: Any) -> tuple[Any, str]:
    """The last progress of a grid of one, and all that it said."""
    own: Any = {"build": BUILD, "keep_states": True, "until_step": until_step}
    grid = toy.grid(1, rate=(0.1,))
    found = list(htf.runs.run(grid, out, **toy.DEFAULTS | own | options))
    return found[-1], "; ".join(m for progress in found for m in progress.messages)


def state_of(out: Path) -> Any:
    (state,) = htf.runs.load_states(out, toy.grid(1, rate=(0.1,)), BUILD).values()
    return state


def test_an_untraced_builder_makes_the_same_run(tmp_path: Path) -> None:
    """Its labels may be numbers, and stand along the axis that `dims` gives them."""
    with pytest.raises(jax.errors.ConcretizationTypeError):
        htf.runs.make_lane(picked_lane, toy.Toy(), 0)
    run(tmp_path / "one")
    toy.finish(tmp_path / "traced", toy.grid(1, rate=(0.1,)))
    one, two = (htf.load_results(tmp_path / name) for name in ("one", "traced"))
    np.testing.assert_array_equal(one.loss, two.loss)
    assert one.row.values.tolist() == [10, 20, 30]
    assert (one.depth.dims, one.depth.values.tolist()) == (("row",), [1, 2, 3])


def test_long_names_and_units(tmp_path: Path) -> None:
    run(tmp_path)
    data = htf.load_results(tmp_path)
    assert all(v.attrs["long_name"] for v in data.variables.values())
    assert data.step.attrs["units"] == data.loss.attrs["units"] == "1"


def test_last_states_are_those_of_the_run(tmp_path: Path) -> None:
    """A lost one is computed again where it is asked for, and else only named."""
    run(tmp_path)
    state = state_of(tmp_path)
    lane = htf.runs.make_lane(BUILD, toy.Toy(rate=0.1), 0)
    alone, _ = htf.continue_descent(
        lane.state, lane.loss, lane.optimizer, num_steps=toy.NUM_STEPS, record_every=10
    )
    np.testing.assert_array_equal(state.params, alone.params)
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    checkpoint.unlink()
    with pytest.raises(ValueError, match="is missing"):
        state_of(tmp_path)
    _, said = run(tmp_path, keep_states=False)
    assert "only more steps need it" in said
    assert not checkpoint.exists()
    _, said = run(tmp_path)
    assert "is missing; the block is computed again" in said
    np.testing.assert_array_equal(state_of(tmp_path).params, state.params)


def test_final_quantities_go_with_the_end_of_the_runs(tmp_path: Path) -> None:
    """Missing or damaged they are named; of an earlier end they are not shown."""
    run(tmp_path)
    final = xr.Dataset({"last": (("rate", "seed"), [[2.5]])})
    htf.runs.save_final(tmp_path, htf.load_results(tmp_path), final)
    assert htf.load_results(tmp_path)["last"].item() == 2.5
    path = tmp_path / "final.nc"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"final\.nc is damaged; run the same command"):
        htf.load_results(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"final\.nc is missing"):
        htf.load_results(tmp_path)
    _, said = run(tmp_path)
    assert "final.nc is missing and is to be written anew" in said
    assert "last" not in htf.load_results(tmp_path)
    htf.runs.save_final(tmp_path, htf.load_results(tmp_path), final)
    run(tmp_path, 2 * toy.NUM_STEPS)
    assert "last" not in htf.load_results(tmp_path)


def test_seconds_count_over_all_sessions(tmp_path: Path) -> None:
    first, _ = run(tmp_path)
    second, _ = run(tmp_path, 2 * toy.NUM_STEPS)
    spent = htf.runs.read_sealed(tmp_path / "status.json")
    assert spent["wall_seconds_in_all"] >= first.wall_seconds + second.wall_seconds - 0.1
    assert spent["compile_seconds_in_all"] >= first.compile_seconds > 0


LARGE = np.arange(2**20, dtype=np.float32)


def large_lane(setting: toy.Toy, key: jax.Array) -> Any:
    """A lane with three numbers and four MiB of data, of which a step takes a batch."""
    loss = jax.tree_util.Partial(lambda data, x: jnp.sum(jnp.square(data[:3] - x)), LARGE)
    return dataclasses.replace(toy.toy_lane(setting, key), loss=loss, observe=None)


def test_the_data_of_a_grid_of_one_are_held_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the program's arguments and temporaries, although the state has two slots."""
    advance, sizes = batch.advance, []

    def measured(*given: Any, **options: Any) -> Any:
        memory: Any = advance.lower(*given, **options).compile().memory_analysis()
        sizes.append(memory.argument_size_in_bytes + memory.temp_size_in_bytes)
        return advance(*given, **options)

    monkeypatch.setattr(batch, "advance", measured)
    run(tmp_path, build=htf.runs.untraced(large_lane))
    assert LARGE.nbytes < max(sizes) < 1.1 * LARGE.nbytes


def test_a_run_of_a_single_step(tmp_path: Path) -> None:
    """An epoch may be one step; more of them extend it."""
    options = {"record_every": 1, "chunk_steps": 10}
    for steps in (1, 4):
        assert run(tmp_path, steps, **options)[0].steps == steps
    assert htf.load_results(tmp_path).loss.shape == (1, 1, 5)


def test_a_checkpoint_that_is_older_than_its_records(tmp_path: Path) -> None:
    """Put back from a copy, it is not taken for the end of the run."""
    run(tmp_path, 20)
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "early")
    run(tmp_path)
    htf.runs.check_results(tmp_path, states=True)
    state = state_of(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    shutil.move(tmp_path / "early", tmp_path / "checkpoints")
    htf.runs.check_results(tmp_path)
    with pytest.raises(ValueError, match=f"is of step 20, not {toy.NUM_STEPS}"):
        htf.runs.check_results(tmp_path, states=True)
    run(tmp_path)
    np.testing.assert_array_equal(state_of(tmp_path).params, state.params)


@pytest.mark.parametrize("name", ["loss/c/0/0", "seed/c/0", "loss/zarr.json"])
def test_lost_files_are_named_without_running(tmp_path: Path, name: str) -> None:
    """Also labels, which only other readers of zarr look at."""
    run(tmp_path)
    path = tmp_path / "results.zarr" / "p000" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is damaged"):
        htf.runs.check_results(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        htf.runs.check_results(tmp_path)
