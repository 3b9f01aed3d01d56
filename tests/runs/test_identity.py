"""Identity of a folder: grids and builders that are told apart, and labels of axes."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from htfjax.runs.bindings import build_identity
from htfjax.runs.identity import labels
from htfjax.trees.mode_tree import TreeLike
from tests.runs import toy

Grid = htf.runs.Grid
SHORT: Any = {"until_step": 4, "record_every": 2, "chunk_steps": 4}


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_axes_in_another_order_are_another_grid(tmp_path: Path) -> None:
    """Places are positions, so that records would change points; nothing is touched."""
    axes = {"rate": (0.05, 0.1), "size": (2, 3, 4)}
    toy.finish(tmp_path, toy.grid([0], **axes), **SHORT)
    before = files(tmp_path)
    other = toy.grid([0], **dict(reversed(axes.items())))
    words = r"`order of axes` was \['rate', 'size'\], now \['size', 'rate'\]"
    with pytest.raises(ValueError, match=words):
        toy.finish(tmp_path, other, **SHORT)
    with pytest.raises(ValueError, match=words):
        htf.runs.load_states(tmp_path, other, toy.toy_lane)
    left = files(tmp_path)
    assert all(left[path] == content for path, content in before.items())


def shifted(setting: Any, key: jax.Array, shift: Any = 0.0, *, more: Any = None) -> Any:
    return toy.toy_lane(setting, key)


class Plain:
    """A builder whose fields are those of any object."""

    def __init__(self, shift: Any) -> None:
        self.shift = shift

    def __call__(self, setting: Any, key: jax.Array) -> Any:
        return shifted(setting, key)

    def build(self, setting: Any, key: jax.Array) -> Any:
        return shifted(setting, key)


@dataclasses.dataclass(frozen=True)
class Fielded:
    """A builder with fields."""

    shift: Any

    def __call__(self, setting: Any, key: jax.Array) -> Any:
        return shifted(setting, key)


def closed(shift: Any) -> Any:
    return lambda setting, key: shifted(setting, key, shift)


def defaulted(shift: Any) -> Any:
    return lambda setting, key, shift=shift: shifted(setting, key, shift)


BOUND: list[Callable[[Any], Any]] = [
    lambda x: functools.partial(shifted, shift=x), lambda x: functools.partial(shifted, x),
    lambda x: functools.partial(functools.partial(shifted, more=x), shift=0.0), Plain,
    Fielded, closed, defaulted, lambda x: Plain(x).build, lambda x: jax.jit(closed(x)),
    lambda x: closed(closed(x)), lambda x: functools.wraps(shifted)(closed(x)),
    lambda x: htf.runs.untraced(closed(x)), lambda x: jax.tree_util.Partial(shifted, x),
]  # fmt: skip


def fresh(x: Any) -> Any:
    return np.array(x) if isinstance(x, np.ndarray) else x


@pytest.mark.parametrize("bind", BOUND)
@pytest.mark.parametrize(
    ("one", "two"),
    [
        (0.0, 100.0), (1, 1.0), (1, True), ("a", "b"), ((1, (2,)), (1, (3,))),
        (np.zeros(3), np.ones(3)), (np.zeros(3), np.zeros(3, np.float32)),
        (jnp.zeros(3), jnp.ones(3)), (jax.random.key(0), jax.random.key(1)),
        (toy.Toy(), toy.Toy(rate=0.2)), (toy.toy_lane, shifted), ({"a": 1}, {"a": 2}),
        ([1], [2]), (float("inf"), float("nan")), ({1}, {2}), (htf.flat(3), htf.perfect(4)),
    ],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_what_a_builder_is_bound_to_tells_it_apart(bind: Any, one: Any, two: Any) -> None:
    assert build_identity(bind(one)) == build_identity(bind(fresh(one)))
    texts = [str(build_identity(bind(x))) for x in (one, two)]
    assert texts[0] != texts[1]
    assert not any(" at 0x" in text for text in texts)


def test_what_cannot_be_described_is_left_out() -> None:
    """Objects without a name, lanes (which are made), functions that know themselves."""
    lane = toy.toy_lane(toy.Toy(), jax.random.key(0))
    assert build_identity(closed(object())) == build_identity(closed(lane))

    def recursive(setting: Any, key: jax.Array) -> Any:
        return recursive(setting, key)

    assert build_identity(recursive).endswith("recursive")
    assert build_identity(toy.toy_lane) == "toy_lane"


@pytest.mark.parametrize("bind", [BOUND[0], Plain, Fielded, closed], ids=range(4))
def test_another_binding_is_refused(tmp_path: Path, bind: Any) -> None:
    toy.finish(tmp_path, toy.grid(1, rate=(0.1,)), build=bind(0.0), **SHORT)
    again = toy.finish(tmp_path, toy.grid(2, rate=(0.1,)), build=bind(0.0), **SHORT)
    assert again.state == "finished"
    words = r"`build\.bound\.shift` was 0\.0, now 100\.0"
    with pytest.raises(ValueError, match=words):
        toy.finish(tmp_path, toy.grid(2, rate=(0.1,)), build=bind(100.0), **SHORT)


@dataclasses.dataclass(frozen=True)
class Sgd:
    lr: float


@dataclasses.dataclass(frozen=True)
class Half:
    lr: float


class Named(NamedTuple):
    lr: float


@dataclasses.dataclass(frozen=True)
class Any_:
    what: Any = None


def test_classes_of_values_count() -> None:
    """Of nested settings, of named tuples, and of the setting itself."""
    kinds = (Sgd(0.1), Half(0.1), Named(0.1), (0.1,))
    values = (*kinds, 1, 1.0, True, "1", ((1,),), ((1.0,),))
    assert len({str(Grid(Any_(x), [0]).to_json()) for x in values}) == len(values)

    class Outer:
        @dataclasses.dataclass(frozen=True)
        class Any_:
            what: Any = None

    assert Grid(Any_(), [0]).to_json() != Grid(Outer.Any_(), [0]).to_json()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ((Sgd(0.1), Half(0.1)), ["Sgd(lr=0.1)", "Half(lr=0.1)"]),
        ((None, "None"), ["null", '"None"']),
        ((4, (4, 5)), ["4", "(4, 5)"]),
        ((jnp.sin, toy.toy_lane), ["jax.numpy.sin", "tests.runs.toy.toy_lane"]),
        ((True, False), [True, False]),
    ],
    ids=["class", "None", "sizes", "function", "bool"],
)
def test_labels_spell_values(tmp_path: Path, values: Any, wanted: Any) -> None:
    def build(setting: Any_, key: jax.Array) -> Any:
        return toy.toy_lane(toy.Toy(), key)

    toy.finish(tmp_path, Grid(Any_(), [0], {"what": values}), build=build, **SHORT)
    assert htf.load_results(tmp_path).what.values.tolist() == wanted


TREES = (((0, 1), (2, 3)), "((0, 2), (1, 3))", htf.flat(4), [[0, 3], [1, 2]])
TEXTS = ["((0, 1), (2, 3))", "((0, 2), (1, 3))", "(0, 1, 2, 3)", "((0, 3), (1, 2))"]


@dataclasses.dataclass(frozen=True)
class Own:
    """A setting whose class does not look at its trees."""

    tree: TreeLike = (0, 1, 2, 3)
    other: TreeLike | None = None


@pytest.mark.parametrize("base", [htf.problems.Completion(), Own()], ids=["ours", "own"])
def test_trees_are_one_value_however_they_are_spelled(base: Any) -> None:
    grid = Grid(base, [0], {"tree": TREES})
    assert [str(v) for v in dict(grid.axes)["tree"]] == TEXTS
    assert grid == Grid(base, [0], {"tree": TEXTS})
    assert labels(dict(grid.axes)["tree"]) == TEXTS
    for again in (TEXTS[0], htf.perfect(4), [[0, 1], [2, 3]]):
        with pytest.raises(ValueError, match="axis `tree` has a value twice"):
            Grid(base, [0], {"tree": (TREES[0], again)})
    with pytest.raises(ValueError, match=r"`tree=.*0, 0"):
        Grid(base, [0], {"tree": ((0, 0),)})
    spelled = [dataclasses.replace(base, tree=tree) for tree in (TREES[0], TEXTS[0])]
    assert Grid(spelled[0], [0]).to_json() == Grid(spelled[1], [0]).to_json()


def test_trees_are_selected_by_their_text(tmp_path: Path) -> None:
    def build(setting: Own, key: jax.Array) -> Any:
        return toy.toy_lane(toy.Toy(), key)

    axes = {"tree": TREES, "other": (None, TREES[0])}
    toy.finish(tmp_path, Grid(Own(), [0], axes), build=build, **SHORT)
    data = htf.load_results(tmp_path)
    one = data.sel(tree="((0, 2), (1, 3))", other="None").loss
    assert one.shape == (1, 3)
    assert data.tree.values.tolist() == TEXTS
