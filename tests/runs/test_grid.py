"""Grids: what is asked, what shares a program, what is refused; stops and arrangements."""

import dataclasses
import re
import types
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import htfjax as htf
from htfjax.motion import stopping
from htfjax.runs import batch, programs
from htfjax.runs.view import _outer
from tests.runs import toy

Completion, Grid = htf.problems.Completion, htf.runs.Grid
SETTING = Completion()
LANE: Any = htf.runs.completion_lane


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


@pytest.mark.parametrize(
    ("seeds", "kind", "words"),
    [
        ([2**32], ValueError, r"`seeds` must be below 2\*\*32"),
        ([2**70], ValueError, r"`seeds` must be below 2\*\*32"),
        ("ab", TypeError, "`seeds` must be whole numbers"),
        (["1"], TypeError, "`seeds` must be whole numbers"),
        ([True], TypeError, "`seeds` must be whole numbers"),
        (np.array([0.0, 1.0]), TypeError, "`seeds` must be whole numbers"),
        (np.arange(4).reshape(2, 2), TypeError, "`seeds` must be whole numbers"),
        (np.ma.masked_equal([1, 2], 2), TypeError, "`seeds` is a masked array"),
        ({1, 2}, TypeError, "`seeds` must be whole numbers"),
    ],
    ids=str,
)
def test_seeds_that_are_not_seeds(seeds: Any, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        Grid(Completion(), seeds)


def without_addresses(value: Any) -> str:
    """The same name of a test in every worker."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:40]


FORMS: list[Any] = [
    np.arange(4), np.arange(4, dtype=np.uint8), jnp.arange(4), pd.Series(range(4)),
    pd.Index(range(4)), range(4), [0, 1, 2, 3], [np.int8(i) for i in range(4)],
]  # fmt: skip


@pytest.mark.parametrize("seeds", FORMS, ids=lambda x: type(x).__name__)
def test_seeds_in_any_form(seeds: Any) -> None:
    assert Grid(Completion(), seeds) == Grid(Completion(), (0, 1, 2, 3))


@pytest.mark.parametrize("form", [tuple, list, np.array, jnp.array, pd.Series, pd.Index])
def test_axes_in_any_form(form: Any, tmp_path: Path) -> None:
    """Equal grids, and equal manifests."""
    values, widths = (0.25, 0.5), (4, 5)
    axes = {"init_std": form(values), "widths": form(widths)}
    grid = Grid(Completion(), [0], axes)
    plain = Grid(Completion(), [0], {"init_std": values, "widths": widths})
    assert grid == plain
    assert [type(v) for _, vs in grid.axes for v in vs] == [float] * 2 + [int] * 2
    manifests = []
    for name, rates in (("one", form((0.05, 0.125))), ("two", (0.05, 0.125))):
        toy.finish(tmp_path / name, toy.grid(form(range(2)), rate=rates), until_step=10)
        manifests.append((tmp_path / name / "manifest.json").read_text())
    # A single float32 of jax is another number than 0.05.
    if form is not jnp.array or jax.config.read("jax_enable_x64"):
        assert manifests[0] == manifests[1]


def test_nested_axes_as_arrays() -> None:
    grid = Grid(SMALL, [0], {"mode_dims": np.array([[3, 3, 3, 3], [4, 4, 4, 4]])})
    assert grid.axes == (("mode_dims", ((3, 3, 3, 3), (4, 4, 4, 4))),)


def test_numbers_of_other_libraries_in_a_setting() -> None:
    fields: dict[str, Any] = {
        "tree": [[0, 1], [2, 3]], "mode_dims": np.int64(8), "widths": np.array([4, 5, 6]),
        "init_std": np.float64(0.5), "eps": jnp.float32(0.25), "observed": np.uint8(30),
        "track_modes": [[0, 1]], "dtype": np.float32,
    }  # fmt: skip
    setting = Completion(**fields)
    plain = Completion(
        widths=(4, 5, 6), init_std=0.5, eps=0.25, observed=30, track_modes=((0, 1),)
    )
    assert setting == plain
    assert Grid(setting, [0]).to_json() == Grid(plain, [0]).to_json()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("init_std", -1), ("init_std", float("nan")), ("init_std", "a"), ("init_std", True),
        ("init_std", None), ("learning_rate", float("nan")), ("learning_rate", -1e-3),
        ("decay", 1.0), ("eps", float("inf")), ("target_norm", 0.0), ("target_norm", 1j),
        ("threshold", 0.0), ("target_rank", 0), ("target_rank", 2.5), ("observed", 0),
        ("observed", 5000), ("observed", "all"), ("top", 0), ("widths", 0),
        ("widths", 2.5), ("widths", (4, 5, 6, 7)), ("widths", True), ("mode_dims", 0),
        ("mode_dims", (8, 8)), ("mode_dims", "8"), ("root", "one"), ("penalty", "l3"),
        ("penalty", None), ("dtype", "float16"), ("dtype", "x"), ("dtype", 3),
        ("tree", (0, 0)), ("tree", 3), ("tree", "nonsense"), ("track_modes", (0, 1)),
        ("track_modes", ((0, 9),)), ("track_modes", ((0, 1, 2, 3),)), ("track_modes", ()),
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings(field: str, value: Any) -> None:
    """As a base and on an axis; the field is named."""
    with pytest.raises((TypeError, ValueError), match=f"`{field}"):
        Completion(**{field: value})
    with pytest.raises((TypeError, ValueError), match=f"`{field}"):
        Grid(Completion(), [0], {field: (value,)})


def test_float64_needs_x64() -> None:
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        Completion(dtype="float64")
    with jax.enable_x64(True):
        assert Completion(dtype="float64").dtype == "float64"


@dataclasses.dataclass(frozen=True)
class Anything:
    """A setting that checks one of its fields itself."""

    what: Any = None
    rate: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.rate, float) and self.rate <= 0:
            raise ValueError(f"`rate={self.rate}` must be above zero.")


@dataclasses.dataclass
class Loose:
    """Not frozen."""

    rate: float = 1.0


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (Loose(), "`base` must be an instance of a frozen dataclass"),
        (Completion, "`base` must be an instance"),
        (Anything(lambda: 0), r"`base\.what=.*` cannot be written down"),
        (Anything({}), r"`base\.what=.*` cannot be written down"),
        (Anything(object()), r"`base\.what=.*` cannot be written down"),
        (Anything(rate=float("nan")), r"`base\.rate=nan` has the wrong type"),
        (Anything(rate=1j), r"`base\.rate=1j` has the wrong type"),  # type: ignore[arg-type]
        (Anything(rate="1"), r"`base\.rate='1'` has the wrong type"),  # type: ignore[arg-type]
    ],
    ids=without_addresses,
)
def test_bad_bases(base: Any, words: str) -> None:
    """Also fields that a folder could not tell apart."""
    with pytest.raises(TypeError, match=words):
        Grid(base, [0])


def test_settings_check_themselves() -> None:
    """Together with all values of a point, never blank ones."""
    with pytest.raises(ValueError, match=r"axes \{'rate': -1.0\}: `rate=-1.0` must be"):
        Grid(Anything(), [0], {"rate": (1.0, -1.0)})

    def lane(setting: Anything, key: jax.Array) -> Any:
        return toy.toy_lane(toy.Toy(rate=setting.rate), key)

    made = htf.runs.make_lane(lane, Anything(rate=0.25), 0)
    assert float(made.state.opt_state.hyperparams["learning_rate"]) == 0.25


@pytest.mark.slow
def test_an_axis_of_trees_leaves_the_target_alone() -> None:
    """Models of two trees are compared on one target, and trees may be spelled as text."""
    lanes = [
        htf.runs.make_lane(
            htf.runs.completion_lane,
            dataclasses.replace(
                SMALL, tree=tree, **{"target_tree": ((0, 1), (2, 3))}
            ),
            0,
        )
        for tree in (((0, 1), (2, 3)), "((0, 2), (1, 3))", htf.flat(4))
    ]  # fmt: skip
    for lane in lanes[1:]:
        np.testing.assert_array_equal(lane.observe.target, lanes[0].observe.target)
        np.testing.assert_array_equal(lane.observe.seen, lanes[0].observe.seen)


@pytest.mark.parametrize(
    ("devices", "kind"),
    [(3, TypeError), ("cpu", TypeError), ([3], TypeError), ([], ValueError)],
    ids=str,
)
def test_bad_meshes(devices: Any, kind: type) -> None:
    with pytest.raises(kind, match="`devices` must be"):
        htf.runs.lane_mesh(devices)
    with pytest.raises(ValueError, match="`devices` must be at least one, each once"):
        htf.runs.lane_mesh([jax.devices()[0]] * 2)
    with pytest.raises(ValueError, match="`observations=2` does not divide the 1 devices"):
        htf.runs.lane_mesh(jax.devices()[:1], observations=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, SETTING, 0), "`build` must be callable"),
        ((len, SETTING, 0), "`build=.*` must take a setting and a key"),
        ((LANE, 3, 0), "`setting` must be an instance"),
        ((LANE, SETTING, -1), "`seed` must be not negative"),
        ((LANE, SETTING, 0.5), "`seed` must be an integer"),
        ((LANE, SETTING, 2**40), r"`seed` must be below 2\*\*32"),
    ],
    ids=without_addresses,
)
def test_bad_lanes(arguments: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        htf.runs.make_lane(*arguments)


def test_a_lane_needs_a_setting_and_a_key() -> None:
    for arguments, words in (
        ((toy.Toy(), jax.random.key(0)), "`setting` must be a Completion"),
        ((SETTING, 0), "`key` must be a typed key"),
    ):
        with pytest.raises(TypeError, match=words):
            LANE(*arguments)


def test_a_run_of_another_grid() -> None:
    grid = Grid(Completion(), [0], {"eps": (0.5,)})
    for run in (3, ((0.5,), 0), htf.runs.Run((), 0)):
        with pytest.raises((TypeError, ValueError), match="`run"):
            grid.setting(run)  # type: ignore[arg-type]


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
    found = programs.programs_of(grid, htf.runs.completion_lane, None)
    assert len(found) == count
    assert sum(len(p.runs) for p in found) == len(grid.runs())


@pytest.mark.slow
def test_a_lane_is_the_run_that_it_says() -> None:
    """Start, target and observations from the same keys by the public functions."""
    lane = htf.runs.make_lane(htf.runs.completion_lane, SMALL, 3)
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


@pytest.mark.parametrize(
    ("platform", "batching", "width"),
    [
        ("cpu", "auto", 1),
        ("gpu", "auto", 3),
        ("tpu", "auto", 3),
        ("cpu", "vmap", 3),
        ("tpu", "map", 1),
        ("tpu", 2, 2),
    ],
)
def test_lanes_are_batched_by_platform(platform: str, batching: Any, width: int) -> None:
    """Six runs on two devices; nothing is timed, so the same folder comes out each time."""
    (program,) = programs.programs_of(toy.grid(), toy.toy_lane, None)
    device = types.SimpleNamespace(platform=platform)
    mesh = types.SimpleNamespace(devices=np.array([device] * 2), shape={"lanes": 2})
    assert programs.choose_width(batching, program, mesh, 256) == width  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [lambda s, k: k, lambda s, k: {"a": 1.0}])
def test_builders_return_lanes(build: Any) -> None:
    with pytest.raises(TypeError, match="`build` must return a Lane"):
        htf.runs.make_lane(build, toy.Toy(), 0)


def test_large_tensors_are_refused() -> None:
    big = dataclasses.replace(SMALL, mode_dims=64)
    with pytest.raises(ValueError, match="16777216 entries"):
        htf.runs.make_lane(htf.runs.completion_lane, big, 0)


def test_a_mesh_has_devices_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert htf.runs.lane_mesh().size == len(jax.devices())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"`mesh` has devices of 1 processes .*2 are running"
    ):
        htf.runs.lane_mesh()


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
        shape: ClassVar[dict[str, int]] = {"lanes": 4}

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


@pytest.mark.slow
def test_a_tree_is_given_in_any_form_and_the_target_may_have_another() -> None:
    """The same setting, hence the same lane; with a tree of its own another target."""
    nested, text = ((0, 2), (1, 3)), "((0, 2), (1, 3))"
    forms = [Completion(tree=tree) for tree in (nested, text, htf.as_tree(text))]
    assert len(set(forms)) == 1
    own: Any = {"mode_dims": 3, "widths": 4, "observed": 30, "target_rank": 2}
    found = [
        htf.runs.make_lane(LANE, Completion(target_tree=tree, **own), 0).observe.target
        for tree in (None, ((0, 1), (2, 3)), text)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    ranks = [
        [int(htf.numerical_rank(jnp.linalg.svd(htf.matricize(x, modes))[1], 1e-4))
         for modes in ((0, 1), (0, 2))]
        for x in found[1:]
    ]  # fmt: skip
    assert ranks == [[2, 4], [4, 2]]
    with pytest.raises(ValueError, match=r"`target_tree=\(0, 1\)` has 2 modes, `tree`"):
        Completion(target_tree=(0, 1))


@pytest.mark.slow
def test_a_grid_of_own_observations(tmp_path: Path) -> None:
    """They are the same for all runs, and a folder knows them by their digest."""
    rng = np.random.default_rng(0)
    data = {
        "indices": rng.integers(0, 3, (30, 4)), "values": rng.normal(size=30),
        "test_indices": rng.integers(0, 3, (5, 4)), "test_values": rng.normal(size=5),
    }  # fmt: skip
    setting = Completion(mode_dims=3, widths=4, init_std=0.3, observed=30)
    options: Any = {"until_step": 4, "record_every": 2}
    grid = Grid(setting, range(2), data=data)
    assert list(htf.runs.run(grid, tmp_path, **options))[-1].state == "finished"
    found = htf.load_results(tmp_path)
    assert "relative_error" not in found
    lane = htf.runs.make_lane(LANE, setting, 1, data=data)
    for name, part in (("train_mse", ""), ("test_mse", "test_")):
        values = htf.entries(lane.state.params, data[f"{part}indices"])
        wanted = np.mean(np.square(values - data[f"{part}values"].astype(np.float32)))
        np.testing.assert_allclose(found[name].values[1, 0], wanted, rtol=1e-5)
    other = Grid(setting, range(2), data=data | {"values": data["values"] + 1})
    with pytest.raises(ValueError, match=r"holds another grid: `data\.values` was"):
        list(htf.runs.run(other, tmp_path, **options))
    with pytest.raises(ValueError, match=r"`data` holds \['indices'\]; give"):
        htf.runs.make_lane(LANE, setting, 0, data={"indices": data["indices"]})
    with pytest.raises(TypeError, match="`data` must be arrays by name"):
        Grid(setting, range(2), data=[1.0])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["setting", "axes", "data"])
def test_fields_of_the_names_that_a_folder_keeps(name: str) -> None:
    """They would stand in place of the grid's own, and two grids be taken for one."""
    kind = dataclasses.make_dataclass("Mine", [(name, int)], frozen=True)
    with pytest.raises(ValueError, match=f"field `{name}`.*rename it"):
        htf.runs.Grid(kind(1), [0])
