"""How local networks are before and after training: curves and spectra."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import htfjax as htf
from htfjax import locality
from sims._drive import SUFFIX

FOLDER = "measures"
IMAGES = 64
PAIRS = 8
CONTENTS = 16


def save(
    folder: Path, name: str, network: Any, states: dict[str, Any], task: Any, key: Any
) -> None:
    """Measures a network in each state, in eval mode, and writes `measures/NAME.nc`.

    - mean |cos| of input gradients against the distance of two patches, on canvases filled
      with image contents: where content is empty, swapping it changes nothing.
    - the separation spectrum between the two patches that the task draws, divided by its
      first value, beside the same of shuffled grids.
    """
    for_patches, for_task, for_null = jax.random.split(key, 3)
    x, _ = task.test.batch(jnp.arange(min(IMAGES, task.test.count)))
    p, q = task.patches(for_task)
    filled = fill(x, p)
    side = max(1, min(x.shape[1:3]) // 4)
    distances = sorted({int(d) for d in np.linspace(0, max(x.shape[1:3]) - 2 * side, 8)})
    num = min(CONTENTS, (x.shape[0] - 1) // 2)
    found: dict[str, list[Any]] = {"curve": [], "spectrum": [], "null": []}
    for params, statistics in states.values():

        def logits(x: jax.Array, params: Any = params, statistics: Any = statistics) -> Any:
            return network.apply(params, statistics, x, train=False)[0]

        curve = locality.gradient_change_by_distance(
            for_patches, logits, filled, side, distances, pairs=PAIRS
        )
        spectrum = locality.separation_spectrum(
            logits, x, p, q, num, contexts=min(16, x.shape[0]), key=for_null
        )
        found["curve"].append(np.asarray(curve.change).reshape(len(distances), -1))
        # In units of the centred grid's size: how many values share the interaction.
        for word, values in (
            ("spectrum", np.asarray(spectrum.centred)[None]),
            ("null", np.asarray(spectrum.null)),
        ):
            size = np.maximum(values[:, :1], np.finfo(np.float32).tiny)
            found[word].append(np.mean(values / size, axis=0))
    dataset = xr.Dataset(
        {
            "change": (("state", "patch_distance", "pair"), np.stack(found["curve"])),
            "spectrum": (("state", "index"), np.stack(found["spectrum"])),
            "null": (("state", "index"), np.stack(found["null"])),
        },
        coords={"state": list(states), "patch_distance": distances,
                "index": np.arange(1, num + 1)},
        attrs={"patch_size": side},
    )  # fmt: skip
    (folder / FOLDER).mkdir(exist_ok=True)
    htf.save_results(folder / FOLDER / f"{name}{SUFFIX}", dataset)


def fill(x: jax.Array, patch: locality.Patch) -> jax.Array:
    """Canvases on which contents of P, of other images each, stand side by side.

    Images that have no empty background (P smaller than a quarter of a side) stay.
    """
    height, width = x.shape[1:3]
    if patch.height * 4 < height and patch.width * 4 < width:
        return x
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
