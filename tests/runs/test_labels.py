"""Labels of records that differ between programs, and states that jax cannot hold."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from tests.runs import toy

TREES = (((0, 1), (2, 3)), (((0, 1), 2), 3), ((0, 2), (1, 3)))


LABELS = [["0,1", "0,1,2,3"], ["0,1", "0,1,2,3"], ["0,2", "0,1,2,3"]]


def picky_lane(setting: htf.problems.Completion, key: jax.Array) -> Any:
    """A builder that does not make every setting."""
    if setting.widths == 3:
        raise ValueError("three is too much")
    return htf.runs.completion_lane(setting, key)


@pytest.mark.slow
@pytest.mark.parametrize("build", [htf.runs.completion_lane, picky_lane])
def test_nodes_of_several_trees_are_labelled_by_their_modes(
    tmp_path: Path, build: Any
) -> None:
    """Over the trees, not over the other axis; a setting that fails has no labels."""
    base = htf.problems.Completion(mode_dims=2, widths=2, observed=8, target_rank=1)
    chosen = htf.runs.Grid(base, [0], {"tree": TREES, "widths": (2, 3)})
    toy.finish(tmp_path, chosen, until_step=2, chunk_steps=2, build=build)
    data = htf.load_results(tmp_path)
    assert "node" not in data.coords
    found = data.node_label
    assert (found.attrs["long_name"], found.attrs["units"]) == ("modes of the node", "1")
    assert data.local_component_norm.sizes["node"] == found.sizes["node"]
    if build is picky_lane:
        assert found.dims == ("tree", "widths", "node")
        assert found.values[:, 1].tolist() == [["", ""]] * 3
        found = found.isel(widths=0)
    assert found.dims == ("tree", "node")
    assert found.values.tolist() == LABELS


def sized_lane(setting: toy.Toy, key: jax.Array) -> Any:
    lane = toy.toy_lane(setting, key)
    rows = tuple(range(10, 10 + setting.size))
    return htf.runs.Lane(
        lane.state, lane.loss, lane.observe, None, lane.optimizer,
        dims=(*lane.dims, ("depth", ("row",))),
        coords=(("row", rows), ("depth", rows[::-1])),
    )  # fmt: skip


def test_shorter_labels_are_padded_and_keep_a_name_of_their_own(tmp_path: Path) -> None:
    toy.finish(tmp_path, toy.grid(1, rate=(0.1, 0.2), size=(2, 3)), build=sized_lane)
    data = htf.load_results(tmp_path)
    assert data.depth.dims == data.row_label.dims == ("size", "row")
    np.testing.assert_array_equal(data.row_label, [[10, 11, np.nan], [10, 11, 12]])
    np.testing.assert_array_equal(data.depth, [[11, 10, np.nan], [12, 11, 10]])


def test_states_of_64_bits_are_not_read_as_32(tmp_path: Path) -> None:
    """Named, with what to do; within x64 they come back as they were."""
    plain = toy.toy_lane(toy.Toy(), jax.random.key(0))
    lane = jax.tree.map(
        lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, plain
    )
    build = htf.runs.untraced(lambda setting, key: lane)
    chosen = toy.grid(1, rate=(0.1,))
    toy.finish(tmp_path, chosen, build=build)
    with jax.enable_x64(False):
        words = r"holds states of float64, and 64-bit numbers are off.*enable_x64\(True\)"
        with pytest.raises(ValueError, match=words):
            htf.runs.load_states(tmp_path, chosen, build)
    (state,) = htf.runs.load_states(tmp_path, chosen, build).values()
    assert state.params.dtype == np.float64
