"""Builders: what they are shown, what they may return, and runs that they do not make."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

import htfjax as htf
from htfjax.runs import programs
from tests.runs import toy

Grid, Completion = htf.runs.Grid, htf.problems.Completion
LANE: Any = htf.runs.completion_lane
SHORT: Any = {"until_step": 4, "record_every": 2, "chunk_steps": 4}
SMALL = Completion(mode_dims=3, widths=2, observed=4, target_rank=1)
INDICES = np.random.default_rng(0).integers(0, 3, (30, 4))
INDICES[0] = (0, 1, 2, 2)
DATA = {"indices": INDICES, "values": np.ones(30)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"indices": INDICES + 1}, r"`indices\[0, 2\]` is 3, mode 2 has dimension 3"),
        ({"indices": INDICES - 3}, r"`indices\[0, 0\]` is -3"),
        ({"indices": INDICES + 2**32}, r"`data\.indices` holds integers of int64"),
        ({"values": np.full(30, np.nan)}, r"`targets"),
        ({"test_indices": INDICES + 1, "test_values": np.ones(30)}, r"`indices\[0, 2\]`"),
    ],
)
@pytest.mark.parametrize(
    "build", [LANE, lambda s, k, d: LANE(s, k, d)], ids=["own", "other"]
)
def test_data_are_looked_at(tmp_path: Path, change: Any, words: str, build: Any) -> None:
    """By every builder, although they are traced where lanes are made of them."""
    data = DATA | change
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=words):
            htf.runs.make_lane(build, SMALL, 0, data=data)
        with pytest.raises(ValueError, match=words):
            list(htf.runs.run(Grid(SMALL, [0], data=data), tmp_path, build=build, **SHORT))
    assert not (tmp_path / "manifest.json").exists()


def test_data_that_one_setting_refuses() -> None:
    """It is named, and the others run; what is looked at is not looked at again."""
    seen = []

    def build(setting: Any, key: jax.Array, data: Any) -> Any:
        seen.append(isinstance(data["indices"], Tracer))
        return LANE(setting, key, data)

    data = DATA | {"indices": INDICES + 1}
    axes = {"mode_dims": (3, 4), "init_std": (0.1, 0.2)}
    failures: programs.Failures = {}
    found = programs.programs_of(
        Grid(SMALL, [0, 1], axes, data), build, None, failures
    )  # fmt: skip
    assert [len(program.runs) for program in found] == [4]
    assert {key[0] for key in failures} == {0}
    assert seen.count(True) == 1


@pytest.mark.parametrize("name", ["observed", "target_rank", "target_norm", "symmetric"])
@pytest.mark.parametrize("build", [LANE, htf.runs.untraced(LANE)], ids=["traced", "not"])
def test_axes_without_effect_beside_data(tmp_path: Path, name: str, build: Any) -> None:
    values = (False, True) if name == "symmetric" else (1, 2)
    grid = Grid(SMALL, [0], {name: values}, DATA)
    with pytest.raises(ValueError, match=f"axis `{name}` has no effect.*`data`"):
        list(htf.runs.run(grid, tmp_path, build=build, **SHORT))
    assert not any(tmp_path.iterdir())


@dataclasses.dataclass(frozen=True)
class Loose:
    """Fields whose values are equal although their types differ."""

    what: int | float | bool | tuple = 1
    rate: float = 0.1


@pytest.mark.parametrize("values", [(1, 1.0), (True, 1), ((1,), (1.0,)), ((1,), (True,))])
def test_equal_settings_of_other_types_are_others(values: Any) -> None:
    def build(setting: Loose, key: jax.Array) -> Any:
        rate = 0.5 if repr(setting.what) == repr(values[1]) else 0.25
        return toy.toy_lane(toy.Toy(rate=rate), key)

    made = [htf.runs.make_lane(build, Loose(value), 0) for value in values]
    rates = [float(lane.state.opt_state.hyperparams["learning_rate"]) for lane in made]
    assert rates == [0.25, 0.5]


@dataclasses.dataclass(frozen=True)
class Derived:
    """A setting with a number that its class computes."""

    rate: float = 0.25
    half: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "half", self.rate / 2)


def test_numbers_that_a_setting_computes(tmp_path: Path) -> None:
    """They are traced too: one program, right values."""

    def build(setting: Derived, key: jax.Array) -> Any:
        return toy.toy_lane(toy.Toy(rate=setting.half), key)

    lane = htf.runs.make_lane(build, Derived(0.5), 0)
    assert float(lane.state.opt_state.hyperparams["learning_rate"]) == 0.25
    grid = Grid(Derived(), [0], {"rate": (0.05, 0.1)})
    assert len(programs.programs_of(grid, build, None)) == 1


@dataclasses.dataclass(frozen=True)
class Strict:
    """A setting whose class looks at its number."""

    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError("`rate` must be above zero")


def test_settings_that_look_at_traced_numbers() -> None:
    def build(setting: Strict, key: jax.Array) -> Any:
        return toy.toy_lane(toy.Toy(rate=setting.rate), key)

    words = r"`setting`: Strict\.__post_init__ .*`isinstance\(x, float\)`.*untraced"
    with pytest.raises(TypeError, match=words):
        htf.runs.make_lane(build, Strict(), 0)
    assert htf.runs.make_lane(htf.runs.untraced(build), Strict(), 0).state.step == 0


def late(setting: toy.Toy, key: jax.Array) -> Any:
    lane = toy.toy_lane(setting, key)
    return dataclasses.replace(lane, state=lane.state._replace(step=jnp.int32(7)))


def replaced(**fields: Any) -> Any:
    return lambda s, k: dataclasses.replace(toy.toy_lane(s, k), **fields)


@pytest.mark.parametrize("wrap", [lambda b: b, htf.runs.untraced], ids=["traced", "not"])
@pytest.mark.parametrize(
    ("build", "kind", "words"),
    [
        (late, ValueError, r"`build\.state` is at step 7.*from 0.*start_descent"),
        (replaced(loss=jnp.sum), TypeError, r"`build\.loss` holds .*tree_util\.Partial"),
        (replaced(observe=lambda x: {"a": x}), TypeError, r"`build\.observe` holds .*Part"),
        (replaced(loss=jax.tree_util.Partial(jnp.sum, "a")), TypeError, "holds 'a'"),
    ],
    ids=["step", "loss", "observe", "text"],
)  # fmt: skip
def test_lanes_that_cannot_run(
    tmp_path: Path, wrap: Any, build: Any, kind: Any, words: str
) -> None:
    with pytest.raises(kind, match=words):
        htf.runs.make_lane(wrap(build), toy.Toy(), 0)
    with pytest.raises(kind, match=words):
        toy.finish(tmp_path, toy.grid(1, rate=(0.1,)), build=wrap(build), **SHORT)


def seed_of(key: jax.Array) -> int:
    return int(jax.random.key_data(key)[-1])


def picky_lane(setting: toy.Toy, key: jax.Array) -> Any:
    """Not for one rate, nor for one seed of another."""
    if setting.rate == 0.2 or (seed_of(key) == 1 and setting.rate == 0.1):
        raise ValueError("not this one")
    return toy.toy_lane(setting, key)


@pytest.mark.slow
def test_runs_that_are_not_made_are_named(tmp_path: Path) -> None:
    """Single ones where the builder is not traced; the others run as if alone."""
    build, axes = htf.runs.untraced(picky_lane), {"rate": (0.2, 0.1, 0.05)}
    said = []
    for seeds in ((0, 1), (2,)):
        for progress in htf.runs.run(
            toy.grid(seeds, **axes), tmp_path, **toy.DEFAULTS | SHORT | {"build": build}
        ):
            said += progress.messages
    assert len(said) == 4
    point = "{'rate': 0.1, 'seed': 1}"
    assert f"`build` fails for {point}, which is left out: ValueError: not this one" in said
    data = htf.load_results(tmp_path)
    expected = [["failed"] * 3, ["capped", "failed", "capped"], ["capped"] * 3]
    assert data.status.values.tolist() == expected
    assert np.isnan(data.loss.values[data.status.values == "failed"]).all()
    alone = htf.runs.make_lane(toy.toy_lane, toy.Toy(rate=0.05), 1)
    loss = alone.loss(alone.state.params)
    np.testing.assert_allclose(data.loss.values[2, 1, 0], loss, rtol=1e-6)
    fixed = htf.runs.untraced(toy.toy_lane)
    toy_picky = toy.grid((0, 1), **axes)
    assert [*htf.runs.load_states(tmp_path, toy_picky, fixed)] == [
        run for run in toy_picky.runs() if run.point != (0.2,) and run != ((0.1,), 1)
    ]


def test_a_block_of_runs_that_are_not_asked_for_now(tmp_path: Path) -> None:
    """One of their settings is made for none of the seeds that are asked for."""
    build, rates = htf.runs.untraced(picky_lane), {"rate": (0.1, 0.05)}
    toy.finish(tmp_path, toy.grid((0, 1), **rates), build=build, **SHORT)
    toy.finish(tmp_path, toy.grid((1,), **rates), build=build, **SHORT | {"until_step": 8})
    data = htf.load_results(tmp_path)
    assert data.status.values.tolist() == [["capped", "failed"], ["capped", "capped"]]
    assert data.steps.values.tolist() == [[8, 0], [8, 8]]


def odd_size(setting: toy.Toy, key: jax.Array) -> Any:
    return toy.toy_lane(dataclasses.replace(setting, size=3 + seed_of(key)), key)


def odd_observe(setting: toy.Toy, key: jax.Array) -> Any:
    lane = toy.toy_lane(setting, key)
    return dataclasses.replace(lane, observe=None) if setting.rate > 0.1 else lane


def odd_dims(setting: toy.Toy, key: jax.Array) -> Any:
    lane = toy.toy_lane(setting, key)
    return dataclasses.replace(lane, dims=()) if setting.rate > 0.1 else lane


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (odd_size, r"`state=.*for \{'rate': 0\.1, 'seed': 1\}"),
        (odd_observe, r"`observe=None` for \{'rate': 0\.2, 'seed': 0\}"),
        (odd_dims, r"`dims=\(\)` for \{'rate': 0\.2, 'seed': 0\}"),
    ],
)
def test_lanes_of_several_kinds(tmp_path: Path, build: Any, words: str) -> None:
    grid, build = toy.grid(2, rate=(0.1, 0.2)), htf.runs.untraced(build)
    with pytest.raises(ValueError, match=f"`build` returns {words}.*not floats"):
        toy.finish(tmp_path, grid, build=build, **SHORT)
    assert not (tmp_path / "manifest.json").exists()
