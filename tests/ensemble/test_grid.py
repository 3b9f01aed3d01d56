"""Grids: what is asked, what shares a program, what is refused; stops and arrangements."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import htfjax as htf
from htfjax.contraction.rates import device_rates
from htfjax.ensemble import batch, programs, stopping
from htfjax.ensemble.view import _outer
from tests.ensemble import toy

Completion, Grid = htf.ensemble.Completion, htf.ensemble.Grid


def test_runs_are_all_combinations_seeds_fastest() -> None:
    grid = Grid(Completion(), range(2), {"init_std": [0.1, 0.2], "widths": [4, (4, 5, 6)]})
    runs = grid.runs()
    assert len(runs) == len(set(runs)) == 8
    assert runs[1] == ((0.1, 4), 1)
    assert grid.setting(runs[-1]) == dataclasses.replace(
        Completion(), init_std=0.2, widths=(4, 5, 6)
    )
    assert grid.array_axes == ("init_std",)


@pytest.mark.parametrize(
    ("axes", "kind", "words"),
    [
        ({"init_sdt": (0.1,)}, ValueError, "axis `init_sdt` does not exist.*init_std"),
        ({"init_std": ()}, ValueError, "axis `init_std` has no values"),
        ({"init_std": ("a",)}, TypeError, "axis `init_std`: 'a'.*float"),
        ({"init_std": (True,)}, TypeError, "axis `init_std`: True"),
        ({"init_std": (float("nan"),)}, TypeError, "axis `init_std`: nan"),
        ({"init_std": 0.1}, TypeError, "axis `init_std` must be a list"),
        ({"observed": (3.5,)}, TypeError, "axis `observed`: 3.5.*int"),
        ({"penalty": ("l3",)}, TypeError, "axis `penalty`: 'l3'.*l2"),
        ({"widths": ("4",)}, TypeError, "axis `widths`"),
        ({"target_rank": (2, 2)}, ValueError, "axis `target_rank` has a value twice"),
        ((("eps", (1e-6,)), ("eps", (1e-5,))), ValueError, "one field twice"),
    ],
    ids=str,
)
def test_bad_axes(axes: Any, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        Grid(Completion(), range(2), axes)


@pytest.mark.parametrize(
    ("seeds", "kind", "words"),
    [
        ((), ValueError, "`seeds` is empty"),
        ((1, 1), ValueError, "`seeds` must be distinct"),
        ((-1,), ValueError, "not negative"),
        (3, TypeError, r"range\(64\)"),
        ((1.5,), TypeError, "whole numbers"),
    ],
    ids=str,
)
def test_bad_seeds(seeds: Any, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        Grid(Completion(), seeds)


def test_base_must_be_a_dataclass() -> None:
    with pytest.raises(TypeError, match="`base` must be an instance"):
        Grid({"init_std": 1.0}, range(2))


SMALL = Completion(mode_dims=3, widths=4, observed=30, target_rank=2)


@pytest.mark.parametrize(
    ("axes", "count"),
    [
        ({"init_std": (0.1, 0.2), "learning_rate": (0.1, 0.2), "eps": (0.0, 1.0)}, 1),
        ({"target_rank": (1, 2, 3), "target_norm": (1.0, 2.0)}, 1),
        ({"widths": (4, 5)}, 2),
        ({"tree": (((0, 1), (2, 3)), ((0, 2), (1, 3)), (0, 1, 2, 3))}, 3),
        ({"observed": (20, 30)}, 2),
        ({"penalty": ("l1", "l2")}, 2),
    ],
    ids=str,
)
def test_only_shapes_and_structure_make_programs(axes: Any, count: int) -> None:
    """Axes that change arrays share one; a target's rank leaves no trace in shapes."""
    grid = Grid(SMALL, range(2), axes)
    found = programs.programs_of(grid, htf.ensemble.completion_lane, device_rates(), None)
    assert len(found) == count
    assert sum(len(p.runs) for p in found) == len(grid.runs())


def test_a_lane_is_the_run_that_it_says() -> None:
    """Start, target and observations from the same keys by the public functions."""
    lane = htf.ensemble.make_lane(htf.ensemble.completion_lane, SMALL, 3)
    keys = jax.random.split(jax.random.key(3), 3)
    tree = htf.perfect(4)
    start = htf.gaussian_factors(keys[2], tree, 3, 4, 0.03, dtype=np.float32)
    for a, b in zip(lane.state.params.weights, start.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    target = htf.end_tensor(
        htf.gaussian_factors(keys[0], tree, 3, 2, 1.0, dtype=np.float32)
    )
    np.testing.assert_allclose(
        lane.observe.target, 64 * target / np.linalg.norm(target), rtol=1e-5, atol=1e-5
    )
    indices = np.asarray(htf.random_indices(keys[1], 3, 30, order=4))
    assert int(lane.observe.seen.sum()) == 30
    values = np.asarray(lane.observe.target)[tuple(indices.T)]
    seen = {k: np.asarray(v) for k, v in lane.observe(start).items()}
    dense = np.asarray(htf.end_tensor(start), np.float64)
    residuals = dense[tuple(indices.T)] - values
    np.testing.assert_allclose(seen["train_mse"], np.mean(residuals**2), rtol=1e-5)
    np.testing.assert_allclose(lane.loss(start), np.mean(residuals**2), rtol=1e-5)
    gap = dense - np.asarray(lane.observe.target)
    rest = (np.sum(gap**2) - np.sum(residuals**2)) / (81 - 30)
    np.testing.assert_allclose(seen["test_mse"], rest, rtol=1e-5)
    np.testing.assert_allclose(seen["relative_error"], np.linalg.norm(gap) / 64, rtol=1e-5)
    spectrum = np.linalg.svd(dense.reshape(9, 9), compute_uv=False)
    np.testing.assert_allclose(seen["singular_value"][0, :4], spectrum[:4], rtol=1e-3)
    assert np.isnan(seen["singular_value"][0, 9:]).all()


def test_plans_follow_the_rates_they_are_given() -> None:
    """Two machines' rates, two plans: the folder's rates decide."""
    setting = dataclasses.replace(SMALL, mode_dims=8, widths=64, observed=200)
    cheap = htf.Rates(flops=1e9, stream_bytes=1e9, gather_bytes=1e15, step_seconds=1e-9)
    dear = htf.Rates(flops=1e15, stream_bytes=1e15, gather_bytes=1e5, step_seconds=1e-9)
    roots = {
        htf.ensemble.make_lane(
            htf.ensemble.completion_lane, setting, 0, rates
        ).loss.plan.root
        for rates in (cheap, dear)
    }
    assert len(roots) == 2


@pytest.mark.parametrize("build", [lambda s, k, r: k, lambda s, k, r: {"a": 1.0}])
def test_builders_return_lanes(build: Any) -> None:
    with pytest.raises(TypeError, match="`build` must return a Lane"):
        htf.ensemble.make_lane(build, toy.Toy(), 0)


def test_large_tensors_are_refused() -> None:
    big = dataclasses.replace(SMALL, mode_dims=64)
    with pytest.raises(ValueError, match="16777216 entries"):
        htf.ensemble.make_lane(htf.ensemble.completion_lane, big, 0)


def test_a_mesh_has_devices_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert htf.ensemble.lane_mesh().size == len(jax.devices())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"`mesh` has devices of 1 processes .*2 are running"
    ):
        htf.ensemble.lane_mesh()


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("split", [1, 3, 7])
def test_stops_are_those_of_find_stop(patience: int, split: int) -> None:
    """Lane by lane, in pieces, on random losses with wild and missing ones."""
    rng = np.random.default_rng(patience)
    losses = rng.uniform(0, 2, (40, 20))
    losses[:5, 7], losses[5:9, 9], losses[9:12, 4] = np.nan, 1e9, np.inf
    losses[12, 0] = 0.0
    stops = stopping.no_stops(40)
    for begin in range(0, 20, split):
        piece = losses[:, begin : begin + split]
        stops = stopping.update_stops(stops, piece, begin, tolerance=1.0, patience=patience)
    for lane, values in enumerate(losses):
        found = htf.find_stop(values, 1.0, patience)
        wanted = ("running", -1) if found is None else tuple(found)
        assert (stopping.CAUSES[stops.cause[lane]], stops.record[lane]) == wanted


@pytest.mark.parametrize("width", [1, 2, 4])
def test_active_lanes_are_dealt_evenly(width: int) -> None:
    """Every lane once, and no device has more than a group more than another."""

    class Mesh:
        size = 4

    active = np.random.default_rng(width).random(64) < 0.4
    order = batch.deal(active, width, Mesh())  # type: ignore[arg-type]
    assert sorted(order) == list(range(64))
    groups = active[order].reshape(4, -1, width).any(axis=2).sum(axis=1)
    assert groups.max() - groups.min() <= 1
    assert groups.sum() == -(-active.sum() // width)


def test_outer_indexing_is_numpys() -> None:
    values = np.arange(60).reshape(3, 4, 5)
    key = (np.array([2, 0]), slice(1, 3), 4)
    np.testing.assert_array_equal(_outer(values, key), values[[2, 0]][:, 1:3, 4])
