"""Values that tests of files store, and how they are compared."""

from pathlib import Path

import jax
import numpy as np
import xarray as xr

import htfjax as htf


def factors_for(key, tree: htf.ModeTree | None = None, **options) -> htf.Factors:
    tree = htf.perfect(4) if tree is None else tree
    return htf.gaussian_factors(key, tree, 3, 2, 1.0, **options)


def bits(array) -> bytes:
    return np.asarray(array).tobytes()


def assert_bit_equal(first, second) -> None:
    a, b = jax.tree.flatten(first), jax.tree.flatten(second)
    assert a[1] == b[1]
    for x, y in zip(a[0], b[0], strict=True):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert bits(x) == bits(y)


def hidden_files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


class Interrupted(Exception):
    pass


def results(seed: int = 0, seeds: int = 2, steps: int = 5) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "losses": (("seed", "step"), rng.random((seeds, steps))),
            "rank": (("step", "node"), rng.integers(0, 9, (steps, 3)).astype(np.int32)),
            "small": ("step", rng.random(steps).astype(np.float32)),
            "grown": ("seed", rng.random(seeds) > 0.5),
            "scale": ((), 0.25),
        },
        coords={
            "seed": np.arange(seeds),
            "step": 10 * np.arange(steps),
            "node": [4, 5, 6],
            "label": ("node", ["left", "right", "root"]),
        },
        attrs={"tree": "((0, 1), (2, 3))"},
    )


def assert_same_results(loaded: xr.Dataset, saved: xr.Dataset) -> None:
    xr.testing.assert_identical(loaded.drop_attrs(deep=False), saved.drop_attrs(deep=False))
    assert loaded.attrs["tree"] == saved.attrs["tree"]
    for name, variable in saved.variables.items():
        assert loaded[name].dtype == variable.dtype, name
