"""A contact sheet: what the examples of a task look like, and where the patches lie."""

from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from .legends import legend_below

EACH = 3  # examples of a label in a row
LOOK_AT = 64  # the first test examples, of which the shown ones are taken
ACROSS = 2.0  # inches of an example
BOXES = (("P", "-"), ("Q", (0, (2, 1))))
SEEN = 0.09  # of the height: smaller outlines are drawn larger than the patch


def sheet(tasks: dict[int, Any], axis: str, words: tuple[str, str]) -> Any:
    """The first test examples of both labels, one row for each distance or path length.

    Args:
      tasks: distance or path length -> `Task`.
      axis: "distance" or "path_length".
      words: what label 0 and label 1 mean.
    """
    height, width = next(iter(tasks.values())).test.batch(jnp.arange(2))[0].shape[1:3]
    down = ACROSS * height / width + 0.42
    fig, axes = plt.subplots(
        len(tasks), 2 * EACH, figsize=(2 * EACH * ACROSS + 1.0, len(tasks) * down + 0.7),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for row, (value, task) in zip(axes, tasks.items(), strict=True):
        pixels, labels = _first(task)
        boxes = task.patches(jax.random.key(0))
        for ax, image, label in zip(row, pixels, labels, strict=False):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_title(words[int(label)], fontsize=9)
            for box, (_, style) in zip(boxes, BOXES, strict=True):
                pad = max(0.0, (SEEN * height - box.height) / 2)  # tiny ones are ringed
                corner = float(box.left) - 0.5 - pad, float(box.top) - 0.5 - pad
                outline: dict[str, Any] = {"fill": False, "ec": "#e08214", "ls": style}
                sides = box.width + 2 * pad, box.height + 2 * pad
                ax.add_patch(Rectangle(corner, *sides, lw=1.3, clip_on=False, **outline))
        for ax in row:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_frame_on(False)
        words_of_row = f"{axis.replace('_', ' ')}\n{value}"
        row[0].set_ylabel(words_of_row, fontsize=10, rotation=0, ha="right", va="center")
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, ec="#e08214", ls=style, label=f"patch {name}")
        for name, style in BOXES
    ]
    legend_below(fig, handles, [box.get_label() for box in handles], most=2)
    box = next(iter(tasks.values())).patches(jax.random.key(0))[0]
    tiny = (
        f", {box.height} x {box.width} in the middle" if box.height < SEEN * height else ""
    )
    fig.suptitle(f"test examples, {height} x {width} pixels; patches of one step{tiny}")
    return fig


def _first(task: Any) -> tuple[np.ndarray, np.ndarray]:
    """Some of label 1, then some of label 0, as grey or RGB between 0 and 1."""
    x, labels = map(np.asarray, task.test.batch(jnp.arange(min(LOOK_AT, task.test.count))))
    rows = np.concatenate([np.flatnonzero(labels == k)[:EACH] for k in (1, 0)])
    shown = x[rows]
    shown = (shown - shown.min()) / max(float(np.ptp(shown)), 1e-12)
    return (shown[..., 0] if shown.shape[3] == 1 else shown), labels[rows]
