"""Locality measures of networks before and after training: curves and spectra."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import htfjax as htf
from htfjax import locality

FOLDER = "measures"
IMAGES = 64
PAIRS = 8
CONTENTS = 16


def path_of(folder: Path, name: str) -> Path:
    """The file of a run's measures."""
    return folder / FOLDER / f"{name}.nc"


def label(run: str) -> str:
    """Label of a run's measures, unlike that of its records."""
    return f"{run} measures"


def save(
    folder: Path, name: str, label: str, network: Any, states: dict[str, Any], task: Any,
    key: Any,
) -> None:  # fmt: skip
    """Measures a network in each state, in eval mode, and writes `measures/NAME.nc`.

    - mean |cos| of input gradients against the distance of two patches, on canvases filled
      with image contents: where content is empty, swapping it changes nothing.
    - the separation spectrum between the two patches that the task draws, divided by its
      first value, beside the same of shuffled grids.
    """
    for_patches, for_task, for_null = jax.random.split(key, 3)
    x, _ = task.test.batch(jnp.arange(min(IMAGES, task.test.count)))
    p, q = task.patches(for_task)
    # Pathfinder has ink everywhere; two images on a canvas leave most of it empty.
    filled = fill(x, p) if isinstance(task.patches, locality.EitherOrder) else x
    side = max(1, min(x.shape[1:3]) // 4)
    distances = sorted({int(d) for d in np.linspace(0, max(x.shape[1:3]) - 2 * side, 8)})
    num = min(CONTENTS, (x.shape[0] - 1) // 2)
    each = [
        jax.device_get(
            _measure(
                state,
                filled,
                x,
                (p, q),
                for_patches,
                for_null,
                apply=network.apply,
                side=side,
                distances=tuple(distances),
                num=num,
            )
        )
        for state in states.values()
    ]
    curves, spectra, nulls = (np.stack(values) for values in zip(*each, strict=True))
    dataset = xr.Dataset(
        {
            "change": (("state", "patch_distance", "pair"), curves),
            "spectrum": (("state", "index"), spectra),
            "null": (("state", "index"), nulls),
        },
        coords={"state": list(states), "patch_distance": distances,
                "index": np.arange(1, num + 1)},
        attrs={"patch_size": side, "label": label},
    )  # fmt: skip
    (folder / FOLDER).mkdir(exist_ok=True)
    htf.save_results(path_of(folder, name), dataset)


@functools.partial(jax.jit, static_argnames=("apply", "side", "distances", "num"))
def _measure(
    state: Any, filled: Any, x: Any, patches: Any, for_patches: Any, for_null: Any, *,
    apply: Any, side: int, distances: tuple[int, ...], num: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:  # fmt: skip
    def logits(x: jax.Array) -> jax.Array:
        return apply(*state, x, train=False)[0]

    curve = locality.gradient_change_by_distance(
        for_patches, logits, filled, side, distances, pairs=PAIRS
    )
    spectrum = locality.separation_spectrum(
        logits,
        x,
        patches[0],
        patches[1],
        num=num,
        contexts=min(16, x.shape[0]),
        key=for_null,
    )

    def in_units(values: jax.Array) -> jax.Array:
        """Divided by the first: how many values share the interaction."""
        first = values[:, :1]
        return jnp.mean(values / jnp.where(first > 0, first, 1), axis=0)

    return curve.change, in_units(spectrum.centred[None]), in_units(spectrum.null)


def fill(x: jax.Array, patch: locality.Patch) -> jax.Array:
    """Canvases on which contents of P, of other images each, stand side by side."""
    height, width = x.shape[1:3]
    content = jax.lax.dynamic_slice(
        x, (0, patch.top, patch.left, 0), (len(x), patch.height, patch.width, x.shape[3])
    )
    down, across = -(-height // patch.height), -(-width // patch.width)
    rows = [
        jnp.concatenate(
            [jnp.roll(content, i * across + j, axis=0) for j in range(across)], axis=2
        )
        for i in range(down)
    ]
    return jnp.concatenate(rows, axis=1)[:, :height, :width]
