"""Names, shapes and dtypes of records: right in results, or refused before."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from tests.runs import toy

SHORT: Any = {"until_step": 4, "record_every": 2, "chunk_steps": 4}


def seen(**observed: Any) -> Any:
    """A builder whose runs observe constants."""

    def observe(x: jax.Array) -> dict[str, Any]:
        return {name: jax.tree.map(jnp.asarray, value) for name, value in observed.items()}

    return lanes(observe=jax.tree_util.Partial(observe), dims=())


def lanes(**fields: Any) -> Any:
    def build(setting: toy.Toy, key: jax.Array) -> Any:
        return dataclasses.replace(toy.toy_lane(setting, key), **fields)

    return build


def refused(out: Path, build: Any, words: str, kind: Any = ValueError, grid: Any = None):
    grid = toy.grid(1, rate=(0.1,)) if grid is None else grid
    with pytest.raises(kind, match=words):
        toy.finish(out, grid, build=build, **SHORT)
    assert not (out / "manifest.json").exists()


OWN = ("loss", "grad_norm", "step_length", "chord", "duration", "steps", "status", "seed",
       "step", "stop_step", "slow_steps")  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_names_that_every_run_has(tmp_path: Path, name: str) -> None:
    """For observed quantities, axes of arrays and axes of the grid."""
    refused(tmp_path, seen(**{name: 1.0}), f"`observe` returns `{name}`")
    refused(tmp_path, lanes(dims=(("gap", (name,)),)), f"`build.dims`.*`gap` `{name}`")
    refused(tmp_path, lanes(coords=((name, (1, 2, 3)),)), f"`build.coords` names `{name}`")
    field = (name, float, dataclasses.field(default=0.1))
    base = dataclasses.make_dataclass("Base", [field], frozen=True)()
    grid = htf.runs.Grid(base, [0], {name: (0.1, 0.2)})
    refused(
        tmp_path, lambda s, k: toy.toy_lane(toy.Toy(), k), f"axis `{name}` has", grid=grid
    )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (seen(rate=1.0), "axis `rate` has the name of a recorded quantity"),
        (seen(rate_index=1.0), "`observe` returns `rate_index`, the name of labels"),
        (seen(**{"a/b": 1.0}), "'a/b', which cannot be the name of a file"),
        (seen(**{"..": 1.0}), r"'\.\.', which cannot"),
        (seen(**{"zarr.json": 1.0}), r"'zarr\.json', which cannot"),
        (seen(**{"__x": 1.0}), "'__x', which cannot"),
        (seen(**{"": 1.0}), "'', which cannot"),
        (seen(x=np.zeros(0)), r"`x` of shape \(0,\), which has no entries"),
        (seen(x=np.zeros((2, 0))), r"`x` of shape \(2, 0\)"),
        (lanes(dims=(("gap", ("rate",)),)), "`gap` `rate`, which is taken"),
        (lanes(dims=(("gap", ("norm",)),)), "`gap` `norm`, which is taken"),
        (lanes(dims=(("gap", ("gap",)),)), "`gap` `gap`, which is taken"),
        (lanes(dims=(("gap", ("run",)),)), "`gap` `run`, which is taken"),
        (lanes(dims=(("gap", ("a", "b")),)), r"\('a', 'b'\) for `gap` of shape \(3,\)"),
        (lanes(dims=(("gap", ()),)), r"\(\) for `gap` of shape \(3,\)"),
        (lanes(dims=(("norm", ("a",)),)), r"\('a',\) for `norm` of shape \(\)"),
        (lanes(coords=(("row", (1, 2)),)), "2 labels `row`, .*`row` has 3 entries"),
        (lanes(coords=(("rate", (1, 2, 3)),)), "`build.coords` names `rate`"),
        (lanes(coords=(("norm", (1, 2, 3)),)), "`build.coords` names `norm`"),
        (lanes(dims=(("gap", ("row",)), ("at", ("row",))), coords=(("at", (1,)),)), "`at`"),
        (lanes(dims=(("gap", ("row",)), ("at", ("a", "b"))), coords=(("at", ()),)), "`at`"),
    ],
)  # fmt: skip
def test_names_that_results_cannot_hold(tmp_path: Path, build: Any, words: str) -> None:
    refused(tmp_path, build, words)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (seen(x={"y": 1.0}), r"`observe` returns `x="),
        (seen(x=(1.0, 2.0)), r"`observe` returns `x="),
        (seen(x=None), r"`observe` returns `x=None`"),
        (seen(x=jnp.zeros((), jnp.bfloat16)), r"`x=.*cast"),
        (lanes(observe=jax.tree_util.Partial(lambda x: [x])), "named arrays, got list"),
    ],
)
def test_observed_that_are_not_named_arrays(tmp_path: Path, build: Any, words: str) -> None:
    refused(tmp_path, build, words, TypeError)


def test_axes_of_several_lengths(tmp_path: Path) -> None:
    """In one lane and over settings; a quantity has the same axes in all."""
    pair = seen(a=np.zeros(2), b=np.zeros(3))

    def one(setting: toy.Toy, key: jax.Array) -> Any:
        return dataclasses.replace(pair(setting, key), dims=(("a", ("k",)), ("b", ("k",))))

    refused(tmp_path, one, r"several lengths `k`: \{'a': 2, 'b': 3\}")

    def other(setting: toy.Toy, key: jax.Array) -> Any:
        small = setting.size == 2
        shapes = {"a": np.zeros(2)} if small else {"a": np.zeros((3, 3))}
        return seen(**shapes)(setting, key)

    grid = toy.grid(1, size=(2, 3))
    refused(tmp_path, other, "`a`.*for another setting", grid=grid)


@pytest.mark.slow
def test_integers_booleans_and_complex_numbers(tmp_path: Path) -> None:
    """Exact, NaN for runs that rest; an integer may be watched."""
    values = {
        "large": np.int32(16777217), "small": np.array([3, 255], np.uint8),
        "flag": np.bool_(True), "wave": np.complex64(1 + 2j), "half": np.float16(0.5),
    }  # fmt: skip

    def build(setting: toy.Toy, key: jax.Array) -> Any:
        return dataclasses.replace(
            seen(**values)(setting, key), loss=jax.tree_util.Partial(steep, setting.rate)
        )

    grid = toy.grid(1, rate=(1.0, 3e38))
    for batching in ("map", "vmap"):
        out = tmp_path / batching
        toy.finish(out, grid, build=build, **SHORT | {"until_step": 20}, batching=batching)
        data = htf.load_results(out)
        assert data.status.values.tolist() == [["capped"], ["diverged"]]
        for name, value in values.items():
            kept, wanted = data[name].values, np.broadcast_to(value, data[name].shape[3:])
            assert kept.dtype == (np.float64 if value.dtype.kind in "biu" else value.dtype)
            assert (kept[0] == wanted).all()
            assert np.isnan(kept[1, 0, -2:]).all()
    words = r"`watch='wave'` is none of .*'flag', 'half', 'large'\]"
    options: Any = SHORT | {"build": build, "tolerance": 1.5}
    with pytest.raises(ValueError, match=words):
        toy.finish(tmp_path / "complex", grid, watch="wave", **options)
    toy.finish(tmp_path / "watched", grid, watch="flag", **options)
    found = htf.load_results(tmp_path / "watched").status.values
    assert found.tolist() == [["converged"], ["converged"]]


def steep(rate: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.asarray(rate, x.dtype) * jnp.sum(jnp.square(x))
