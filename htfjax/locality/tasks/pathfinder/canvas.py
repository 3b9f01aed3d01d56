"""Masks of many images side by side, so that one array operation draws into all."""

from typing import NamedTuple

import numpy as np

from htfjax.locality.tasks.pathfinder.stamps import Pixels, Stamps


class Canvas(NamedTuple):
    """Masks of B images as flat planes: taken pixels, and pixels where no dash may end."""

    mask: np.ndarray  # (B * plane,) uint8
    halo: np.ndarray  # (B * plane,) uint8
    base: np.ndarray  # (B,) where each image's plane begins


def fresh_canvas(stamps: Stamps, count: int) -> Canvas:
    """`count` masks that hold nothing but their edges."""
    plane = stamps.stride**2
    return Canvas(
        np.tile(stamps.empty_mask, count),
        np.tile(stamps.empty_halo, count),
        np.arange(count) * plane,
    )


Undo = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def put(canvas: Canvas, stamps: Stamps, anchor: np.ndarray, dash: np.ndarray) -> Undo:
    """Marks the pixels of a dash per image, anchors and dashes (n,); returns the old."""
    before = []
    for plane, pixels in ((canvas.mask, stamps.mask), (canvas.halo, stamps.halo)):
        where = anchor[:, None] + pixels.offset[dash]
        old = plane.take(where)
        plane[where] = np.maximum(old, pixels.value[dash])
        before += [where, old]
    return tuple(before)


def undo(canvas: Canvas, before: Undo, rows: np.ndarray) -> None:
    """Takes back the last `put` for some of its rows."""
    where, old, halo_where, halo_old = before
    canvas.mask[where[rows]] = old[rows]
    canvas.halo[halo_where[rows]] = halo_old[rows]


def crosses(
    canvas: Canvas, pixels: Pixels, anchor: np.ndarray, dash: np.ndarray
) -> np.ndarray:
    """Whether a dash (one per image) meets a mask of at least the pixels' values, (n,)."""
    found = canvas.mask.take(anchor[:, None] + pixels.offset[dash])
    return np.asarray((found >= pixels.value[dash]).any(axis=1))
