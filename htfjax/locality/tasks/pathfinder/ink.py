"""Pixels from dashes and marks: stamping, scaling to the brightest, shrinking."""

import numpy as np

from htfjax.locality.tasks.pathfinder.paths import Paths
from htfjax.locality.tasks.pathfinder.settings import PathfinderSettings
from htfjax.locality.tasks.pathfinder.stamps import FULL, Stamps


def draw_ink(
    stamps: Stamps,
    settings: PathfinderSettings,
    pairs: Paths,
    distractors: Paths,
    marks: np.ndarray,
) -> np.ndarray:
    """Pictures of n pairs with distractors and marks at (n, 2) places, (n, side, side)."""
    count, plane = len(marks), stamps.stride**2
    ink = np.zeros(count * plane, np.uint8)
    base = np.arange(count) * plane
    brightest = max(settings.path_contrast, settings.distractor_contrast)
    for paths, contrast in (
        (pairs, settings.path_contrast),
        (distractors, settings.distractor_contrast),
    ):
        values = np.rint(stamps.ink.value * (contrast / brightest)).astype(np.uint8)
        anchors = paths.anchor.reshape(count, -1).T
        dashes = paths.dash.reshape(count, -1).T
        for anchor, dash in zip(anchors, dashes, strict=True):
            there = np.flatnonzero(anchor >= 0)
            at, kind = base[there] + anchor[there], dash[there]
            _brighten(ink, at[:, None] + stamps.ink.offset[kind], values[kind])
    for s in range(2):
        at = (base + marks[:, s])[:, None] + stamps.marker.offset
        _brighten(ink, at, stamps.marker.value)
    inside = slice(stamps.frame, stamps.frame + settings.size)
    pictures = ink.reshape(count, stamps.stride, stamps.stride)[:, inside, inside]
    return shrink(pictures, settings.size // settings.output_size)


def shrink(pictures: np.ndarray, factor: int) -> np.ndarray:
    """(n, s, s) bytes scaled to full brightness and shrunk by a triangle filter.

    The filter is two new pixels wide, as in bilinear shrinking with antialiasing. What
    lies beyond an edge counts as black.
    """
    count, side = pictures.shape[:2]
    bright = np.maximum(pictures.max(axis=(1, 2)), 1)
    if factor == 1:
        scaled = pictures * (FULL / bright.astype(np.float32))[:, None, None]
        return np.rint(scaled).astype(np.uint8)
    # Almost everything is black, so pixels are handed out, not collected: each one to its
    # two nearest new pixels along either axis.
    size = side // factor
    place = (np.arange(side) + 0.5) / factor - 0.5
    low = np.floor(place).astype(int)
    share = np.stack([1 - (place - low), place - low]) / factor
    share[0][low < 0] = 0
    share[1][low + 1 >= size] = 0
    # Shares of zero go wherever the index stays legal.
    index = np.stack([np.maximum(low, 0), np.minimum(low + 1, size - 1)])
    result = np.empty((count, size, size), np.uint8)
    # One picture at a time stays in the cache.
    for picture, gain, small in zip(pictures, FULL / bright, result, strict=True):
        flat = np.ascontiguousarray(picture).ravel()
        lit = np.flatnonzero(flat.view(bool))
        row, column = np.divmod(lit, side)
        down = share[:, row] * (flat[lit] * gain)
        where = index[:, None, row] * size + index[None, :, column]
        weight = down[:, None] * share[None, :, column]
        new = np.bincount(where.ravel(), weight.ravel(), size * size)
        small[:] = np.rint(new).reshape(size, size)
    return result


def _brighten(ink: np.ndarray, where: np.ndarray, values: np.ndarray) -> None:
    ink[where] = np.maximum(ink.take(where), values)
