"""Stamps: every dash that a Pathfinder image can hold, rasterized once.

A dash leaves one of 360 whole degrees (the first of a path) or ends on one of the pixels
of a circle (all others), so there are some 400 of them. Each is a list of pixel offsets
from its anchor with a value per pixel, as ink, as the mask that keeps others away, and as
that mask widened by the margin once more, where no other dash may end.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from htfjax.locality.tasks.pathfinder.settings import PathfinderSettings

NUM_DEGREES = 360
FULL = 255  # a mask byte that means 1
CROSSING = 459  # two masks cross where their sum reaches 1.8
SOLID = FULL  # a first dash keeps the pixels of its full mask free
RINGING = 8  # the overshoot of the resampling, below this, counts as nothing
NOISE = 1e-9  # of sines and cosines that should be whole numbers


class Pixels(NamedTuple):
    """One list of pixels for each of O dashes, padded by repetition of its first."""

    offset: np.ndarray  # (O, N) int64, in a flat plane, from the anchor
    value: np.ndarray  # (O, N) uint8


class Stamps(NamedTuple):
    """All that drawing looks up. Dash o < 360 has its tail as anchor, others the head."""

    stride: int  # side of a plane, a frame around the image included
    frame: int  # width of that frame
    angle: np.ndarray  # (O,) from the tail to the head
    ink: Pixels
    mask: Pixels
    halo: Pixels
    check: Pixels  # where a dash of the mask meets one of at least this value, they cross
    solid: Pixels  # (360, N): to be free under a first dash
    room: np.ndarray  # (360, 4): top, left, height, width of the places for a first seed
    pivot: np.ndarray  # (360,) from the tail of a first dash to its pivot
    step: np.ndarray  # (O,) from a pivot to the next one
    ends: np.ndarray  # (K,) from a pivot to the pixels where a dash may end
    turn: np.ndarray  # (O, K) float32 weight of an end after a dash
    seed_steps: np.ndarray  # (360,) from the first seed to the second
    marker: Pixels  # (1, N)
    empty_mask: np.ndarray  # (stride * stride,) uint8 with nothing but the edges
    empty_halo: np.ndarray


@functools.lru_cache(maxsize=8)
def make_stamps(settings: PathfinderSettings, margin: int) -> Stamps:
    """The stamps of a setting, for one of its margins."""
    length = settings.paddle_length
    reach = length + math.ceil(settings.thickness) + 2 * margin + 2
    frame = max(0, reach - min(settings.padding, settings.seed_distance - 1))
    stride = settings.size + 2 * frame

    degrees = np.deg2rad(np.arange(-180, 180))
    ends = _circle(length + margin)
    toward = np.arctan2(ends[:, 0], ends[:, 1])
    angle = np.concatenate([degrees, toward])
    # A dash that ends on the circle is drawn from its head backwards.
    drawn = np.concatenate([degrees, toward + np.pi])

    dashes, masks = _rasterize(settings, margin, drawn)
    disc = _disc(settings.marker_radius, settings.antialias)
    contrast = max(settings.path_contrast, settings.distractor_contrast)
    peak = max(dashes.max() * contrast, disc.max())
    ink = np.rint(np.maximum(dashes, 0) / peak * FULL).astype(np.uint8)
    masks = np.rint(np.clip(masks, 0, 1) * FULL).astype(np.uint8)
    masks[masks < RINGING] = 0
    halos = _dilated(np.pad(masks, ((0, 0), (margin, margin), (margin, margin))), margin)
    marker = np.rint(np.clip(disc, 0, 1) / peak * FULL).astype(np.uint8)[None]

    empty = np.full((stride, stride), FULL, np.uint8)
    edge = frame + settings.padding
    empty[edge:-edge, edge:-edge] = 0
    # The smallest mask value of a dash at which the other's full mask crosses it.
    check = _pixels(masks, stride, least=CROSSING - FULL)
    least = np.minimum(CROSSING - check.value.astype(int), FULL)
    check = Pixels(check.offset, least.astype(np.uint8))

    flat = np.array([stride, 1])
    turns = np.abs(np.angle(np.exp(1j * (angle[:, None] - toward[None, :]))))
    weight = np.cos(np.minimum(settings.continuity * turns, np.pi / 2)) ** 2
    return Stamps(
        stride=stride,
        frame=frame,
        angle=angle,
        ink=_pixels(ink, stride),
        mask=_pixels(masks, stride),
        halo=_pixels(halos, stride),
        check=check,
        solid=_pixels(masks[:NUM_DEGREES], stride, least=SOLID),
        room=_room(masks[:NUM_DEGREES], settings, frame),
        pivot=(_move(degrees, length) + _move(degrees + np.pi, length + margin)) @ flat,
        step=_move(angle, length + 2 * margin) @ flat,
        ends=ends @ flat,
        turn=np.where(weight < 1e-12, 0, weight).astype(np.float32),
        seed_steps=np.rint(settings.seed_distance * _direction(degrees)).astype(int) @ flat,
        marker=_pixels(marker, stride),
        empty_mask=empty.ravel(),
        empty_halo=_dilated(empty[None], margin)[0].ravel(),
    )


def resampling(count: int, new_count: int, kernel: str = "lanczos") -> np.ndarray:
    """Weights (new_count, count) that shrink an axis: windowed sinc, or a triangle.

    The kernel is stretched over the input, so shrinking averages; weights sum to one.
    """
    scale = count / new_count
    centre = (np.arange(new_count)[:, None] + 0.5) * scale
    x = (np.arange(count)[None, :] + 0.5 - centre) / scale
    if kernel == "lanczos":
        weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    else:
        weights = np.maximum(1 - np.abs(x), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _direction(angle: np.ndarray) -> np.ndarray:
    """(rows, columns) of unit length."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _move(angle: np.ndarray, distance: float) -> np.ndarray:
    """Whole pixels for a step of that length, rounded up."""
    return np.ceil(distance * _direction(angle) - NOISE).astype(int)


def _circle(radius: int) -> np.ndarray:
    """The pixels of a circle, one per pixel of its length, (K, 2)."""
    arc = np.arange(0, 2 * np.pi, 1 / radius)
    return np.unique(np.floor(radius * _direction(arc) + NOISE).astype(int), axis=0)


def _rasterize(
    settings: PathfinderSettings, margin: int, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Dashes from the centre in each direction, and their masks, (O, n, n) each."""
    scale, length = settings.antialias, settings.paddle_length
    half = length + math.ceil(settings.thickness) + margin
    far = half * scale
    y, x = np.mgrid[-far : far + 1, -far : far + 1].astype(float)
    corners = _corners(_move(angles, length * scale), round(settings.thickness * scale))
    top, bottom = corners[:, :, 0].min(axis=1), corners[:, :, 0].max(axis=1)
    fine = (y >= top[:, None, None]) & (y <= bottom[:, None, None])
    for k in range(4):
        (y0, x0), (dy, dx) = corners[:, k].T, (corners[:, k - 3] - corners[:, k]).T
        side = dx[:, None, None] * (y - y0[:, None, None])
        side -= dy[:, None, None] * (x - x0[:, None, None])
        # A row is filled from the nearest pixel to the nearest pixel, halves inwards.
        reach = np.where(dy == 0, NOISE, abs(dy) / 2 - NOISE)
        fine &= side > -reach[:, None, None]
    shrink = resampling(2 * far + 1, 2 * half + 1)
    mask = _dilated(fine.astype(np.uint8), margin * scale)
    return tuple(shrink @ image.astype(float) @ shrink.T for image in (fine, mask))  # type: ignore[return-value]


def _corners(head: np.ndarray, width: int) -> np.ndarray:
    """The four corners, in order, of a line of whole sub-pixels from zero to `head` (O, 2).

    A line of even width is one sub-pixel wider on one side; corners are rounded towards
    the line, as drawing libraries do.
    """
    size = np.hypot(head[:, 0], head[:, 1])[:, None]
    across = np.stack([-head[:, 1], head[:, 0]], axis=1) / size
    narrow, wide = math.ceil((width - 1) / 2 - 0.5), math.floor((width - 1) / 2 + 0.5)

    def rounded(x: np.ndarray) -> np.ndarray:
        return np.sign(x) * np.ceil(np.abs(x) - 0.5 - NOISE)

    # (rows, columns) of the wide and the narrow side are rounded one by one.
    one = np.stack([rounded(-wide * across[:, 0]), rounded(-narrow * across[:, 1])], axis=1)
    two = np.stack([rounded(narrow * across[:, 0]), rounded(wide * across[:, 1])], axis=1)
    return np.stack([two, head + two, head + one, one], axis=1)


def _disc(radius: float, scale: int) -> np.ndarray:
    """A marker, (n, n) with its pixel in the centre."""
    half = math.ceil(radius) + 3
    y, x = np.mgrid[-half * scale : (half + 1) * scale, -half * scale : (half + 1) * scale]
    fine = (y**2 + x**2 <= (radius * scale) ** 2).astype(float)
    shrink = resampling(fine.shape[0], 2 * half + 1)
    return shrink @ fine @ shrink.T


def _dilated(images: np.ndarray, radius: int) -> np.ndarray:
    """The maximum over a disc around each pixel; nothing comes from beyond the edges."""
    height, width = images.shape[1:]
    padded = np.pad(images, ((0, 0), (radius, radius), (radius, radius)))
    result = np.zeros_like(images)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            if dy * dy + dx * dx <= radius * radius:
                top, left = radius + dy, radius + dx
                part = padded[:, top : top + height, left : left + width]
                np.maximum(result, part, out=result)
    return result


def _pixels(images: np.ndarray, stride: int, least: int = 1) -> Pixels:
    """The pixels of at least that value, as offsets from the centre."""
    centre = images.shape[1] // 2
    found = [np.nonzero(image >= least) for image in images]
    longest = max(1, max(len(rows) for rows, _ in found))
    offset = np.zeros((len(images), longest), np.int64)
    value = np.zeros((len(images), longest), np.uint8)
    for o, (rows, columns) in enumerate(found):
        # Repeated pixels are written twice with one value, which is harmless.
        order = np.minimum(np.arange(longest), len(rows) - 1)
        if len(rows):
            offset[o] = ((rows - centre) * stride + columns - centre)[order]
            value[o] = images[o][rows, columns][order]
    return Pixels(offset, value)


def _room(masks: np.ndarray, settings: PathfinderSettings, frame: int) -> np.ndarray:
    """Places at which the full mask of a first dash stays within the inner square."""
    edge = max(2 * settings.seed_distance, settings.padding)
    low, high = frame + edge, frame + settings.size - edge  # rows low ... high - 1
    centre = masks.shape[1] // 2
    room = np.zeros((len(masks), 4), np.int64)
    for o, mask in enumerate(masks):
        rows, columns = np.nonzero(mask >= SOLID)
        for axis, at in enumerate((rows - centre, columns - centre)):
            before, after = (int(at.min()), int(at.max())) if len(at) else (0, 0)
            room[o, axis] = low - min(before, 0)
            room[o, 2 + axis] = high - max(after, 0) - room[o, axis]
    return np.maximum(room, 0)
