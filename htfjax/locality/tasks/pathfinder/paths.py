"""Dashed paths, grown on many masks at once and dash by dash."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from htfjax.locality.tasks.pathfinder import canvas as _canvas
from htfjax.locality.tasks.pathfinder.canvas import Canvas
from htfjax.locality.tasks.pathfinder.settings import PathfinderSettings
from htfjax.locality.tasks.pathfinder.stamps import FULL, NUM_DEGREES, Stamps

FREE = 76  # a first dash lies on mask values of at most 0.3
SEED_TRIES = 64  # places tried for a first dash before the image counts as full
DEAD_END = 1e-4  # of the total weight of ends


class Paths(NamedTuple):
    """Dashes as anchors in a plane and numbers of stamps; anchor -1 where there is none."""

    anchor: np.ndarray  # (n, paths, dashes) int64
    dash: np.ndarray  # (n, paths, dashes) int64


class Failures(NamedTuple):
    """Numbers of discarded pairs of paths, by reason."""

    no_room: int  # the first dash has no place
    dead_end: np.ndarray  # (dashes,) every pixel where dash k may end is taken
    crossing: np.ndarray  # (dashes,) dash k crosses another in every trial

    @property
    def total(self) -> int:
        """The number of pairs that were thrown away."""
        return int(self.no_room + self.dead_end.sum() + self.crossing.sum())


class _Extended(NamedTuple):
    """The outcome of one more dash, on a path of each image."""

    dead_end: np.ndarray  # (n,) bool
    found: np.ndarray  # (n,) bool
    pivot: np.ndarray
    anchor: np.ndarray
    dash: np.ndarray


def draw_pairs(
    rng: Generator, stamps: Stamps, settings: PathfinderSettings, attempts: int
) -> tuple[Paths, Failures]:
    """Two long paths on an empty image, `attempts` times; those that came to their end."""
    dashes = settings.contour_length
    failures = Failures(0, np.zeros(dashes, int), np.zeros(dashes, int))
    first, anchor = _first_seeds(rng, stamps, attempts)
    second = rng.integers(0, NUM_DEGREES, len(first))
    beside = anchor + stamps.seed_steps[rng.integers(0, NUM_DEGREES, len(first))]
    failures = failures._replace(no_room=attempts - len(first))
    masks = _canvas.fresh_canvas(stamps, len(first))
    base = masks.base.copy()
    paths = Paths(
        np.full((len(first), 2, dashes), -1), np.zeros((len(first), 2, dashes), int)
    )
    for s, (tail, dash) in enumerate(((anchor, first), (beside, second))):
        paths.anchor[:, s, 0], paths.dash[:, s, 0] = tail, dash
    pivots = paths.anchor[:, :, 0] + stamps.pivot[paths.dash[:, :, 0]]
    alive = np.arange(len(first))
    for k in range(1, dashes):
        for s in (0, 1):
            last = paths.dash[alive, s, k - 1]
            new = _extend(rng, masks, stamps, base[alive], pivots[alive, s], last, settings)
            failures.dead_end[k] += new.dead_end.sum()
            failures.crossing[k] += (~new.found & ~new.dead_end).sum()
            alive, last = alive[new.found], last[new.found]
            # The last dash keeps others away only from now on: the next begins at it.
            at = base[alive] + paths.anchor[alive, s, k - 1]
            _canvas.put(masks, stamps, at, last)
            paths.anchor[alive, s, k] = new.anchor[new.found] - base[alive]
            paths.dash[alive, s, k] = new.dash[new.found]
            pivots[alive, s] = new.pivot[new.found] - base[alive]
    return Paths(paths.anchor[alive], paths.dash[alive]), failures


def draw_distractors(
    rng: Generator, stamps: Stamps, settings: PathfinderSettings, pairs: Paths
) -> Paths:
    """Short paths beside the long ones, (n, num_distractors, distractor_length).

    One that finds no place in all its tries is left out.
    """
    count = len(pairs.anchor)
    masks = _canvas.fresh_canvas(stamps, count)
    for s in range(pairs.anchor.shape[1]):
        for k in range(pairs.anchor.shape[2]):
            at = masks.base + pairs.anchor[:, s, k]
            _canvas.put(masks, stamps, at, pairs.dash[:, s, k])
    shape = (count, settings.num_distractors, settings.distractor_length)
    placed = Paths(np.full(shape, -1), np.zeros(shape, int))
    for j in range(settings.num_distractors):
        todo = np.arange(count)
        for _ in range(settings.distractor_retries + 1):
            if not todo.size:
                break
            anchor, dash, found = _one_path(rng, masks, stamps, settings, todo)
            rows = todo[found]
            placed.anchor[rows, j] = anchor[found] - masks.base[rows, None]
            placed.dash[rows, j] = dash[found]
            todo = todo[~found]
    return placed


def join_paths(parts: list[Paths]) -> Paths:
    """Several draws as one."""
    return Paths(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _first_seeds(
    rng: Generator, stamps: Stamps, attempts: int
) -> tuple[np.ndarray, np.ndarray]:
    """A direction and a place each, where the direction leaves any."""
    dash = rng.integers(0, NUM_DEGREES, attempts)
    top, left, height, width = stamps.room[dash].T
    u = rng.random((2, attempts))
    row = top + (u[0] * height).astype(int)
    column = left + (u[1] * width).astype(int)
    roomy = (height > 0) & (width > 0)
    return dash[roomy], (row * stamps.stride + column)[roomy]


def _extend(
    rng: Generator,
    masks: Canvas,
    stamps: Stamps,
    base: np.ndarray,
    pivot: np.ndarray,
    last: np.ndarray,
    settings: PathfinderSettings,
) -> _Extended:
    """One more dash a path, ending at a free pixel of the circle about the new pivot."""
    pivot = base + pivot + stamps.step[last]
    ends = pivot[:, None] + stamps.ends
    weight = (FULL - masks.halo.take(ends)) * stamps.turn[last]
    total = np.cumsum(weight, axis=1)
    dead_end = total[:, -1] < DEAD_END * FULL
    found = np.zeros(len(pivot), bool)
    anchor, dash = np.zeros(len(pivot), int), np.zeros(len(pivot), int)
    trying = np.flatnonzero(~dead_end)
    for _ in range(settings.segment_retries + 1):
        if not trying.size:
            break
        u = rng.random(len(trying), np.float32) * total[trying, -1]
        chosen = (total[trying] <= u[:, None]).sum(axis=1)
        # Rounding may reach the very end, where the last pixel with weight stands.
        chosen = np.minimum(chosen, (total[trying] < total[trying, -1:]).sum(axis=1))
        anchor[trying] = ends[trying, chosen]
        dash[trying] = NUM_DEGREES + chosen
        bad = _canvas.crosses(masks, stamps.check, anchor[trying], dash[trying])
        found[trying[~bad]] = True
        trying = trying[bad]
    return _Extended(dead_end, found, pivot, anchor, dash)


def _one_path(
    rng: Generator,
    masks: Canvas,
    stamps: Stamps,
    settings: PathfinderSettings,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A short path on each of some images: anchors, dashes (n, length), and which came off.

    The masks of those that did not are as before.
    """
    length, base = settings.distractor_length, masks.base[rows]
    anchor, dash = np.full((len(rows), length), -1), np.zeros((len(rows), length), int)
    dash[:, 0] = rng.integers(0, NUM_DEGREES, len(rows))
    anchor[:, 0], alive = _free_places(rng, masks, stamps, settings, base, dash[:, 0])
    pivot = anchor[:, 0] - base + stamps.pivot[dash[:, 0]]
    taken: list[tuple[_canvas.Undo, np.ndarray]] = []
    for k in range(1, length + 1):
        now = np.flatnonzero(alive)
        if k < length:
            last = dash[now, k - 1]
            new = _extend(rng, masks, stamps, base[now], pivot[now], last, settings)
            alive[now[~new.found]] = False
            now = now[new.found]
            anchor[now, k], dash[now, k] = new.anchor[new.found], new.dash[new.found]
            pivot[now] = new.pivot[new.found] - base[now]
        before = _canvas.put(masks, stamps, anchor[now, k - 1], dash[now, k - 1])
        taken.append((before, now))
    for before, which in reversed(taken):
        _canvas.undo(masks, before, ~alive[which])
    return anchor, dash, alive


def _free_places(
    rng: Generator,
    masks: Canvas,
    stamps: Stamps,
    settings: PathfinderSettings,
    base: np.ndarray,
    dash: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """A uniform place for a first dash among those free, by trying; and whether one was."""
    edge, inner = settings.padding + stamps.frame, settings.size - 2 * settings.padding
    anchor, trying = base.copy(), np.arange(len(base))
    for _ in range(SEED_TRIES):
        row, column = rng.integers(edge, edge + inner, (2, len(trying)))
        anchor[trying] = base[trying] + row * stamps.stride + column
        where = anchor[trying, None] + stamps.solid.offset[dash[trying]]
        taken = masks.mask.take(where).max(axis=1) > FREE
        trying = trying[taken]
        if not trying.size:
            break
    free = np.ones(len(base), bool)
    free[trying] = False
    return anchor, free
