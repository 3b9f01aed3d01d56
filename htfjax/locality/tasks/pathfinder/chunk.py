"""A chunk of Pathfinder images from its own random stream: the unit of parallel work."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from htfjax.locality.tasks import streams
from htfjax.locality.tasks.pathfinder.ink import draw_ink
from htfjax.locality.tasks.pathfinder.paths import (
    Failures,
    Paths,
    draw_distractors,
    draw_pairs,
    join_paths,
)
from htfjax.locality.tasks.pathfinder.settings import PathfinderSettings
from htfjax.locality.tasks.pathfinder.stamps import Stamps, make_stamps

CHUNK = 128  # images; a multiple of two
LANES = (32, 512)  # pairs of paths grown at once, at least and at most
HOPELESS = 20  # times `max_attempts` pairs without one success


class Chunk(NamedTuple):
    """Some images and what is known about each."""

    pixels: np.ndarray  # (n, s, s) uint8
    labels: np.ndarray  # (n,) uint8: 1 where both marks are on one path
    marks: np.ndarray  # (n, 2, 2) int16: row and column, in pixels of the drawn image
    margins: np.ndarray  # (n,) uint8
    distractors: np.ndarray  # (n,) int16: how many found a place
    drawn: int  # pairs of long paths that came to their end
    thrown_away: int  # pairs that did not


class _Marked(NamedTuple):
    """Pairs of paths, their labels and their marks as places in a plane."""

    pairs: Paths
    labels: np.ndarray
    places: np.ndarray  # (n, 2)


def draw_chunk(settings: PathfinderSettings, words: tuple[int, ...], number: int) -> Chunk:
    """The images `number * CHUNK ...` of a key; the same wherever and whenever drawn.

    Raises:
      ValueError: pairs of paths can hardly be drawn; the constraint that fails is said.
    """
    rng = streams.stream(words, number)
    # Neighbours 2 i and 2 i + 1 share a margin: matched images come in such twos.
    choice = np.repeat(rng.integers(0, len(settings.margins), CHUNK // 2), 2)
    margins = np.array(settings.margins, np.uint8)[choice]
    size = settings.output_size
    chunk = Chunk(
        pixels=np.zeros((CHUNK, size, size), np.uint8),
        labels=np.zeros(CHUNK, np.uint8),
        marks=np.zeros((CHUNK, 2, 2), np.int16),
        margins=margins,
        distractors=np.zeros(CHUNK, np.int16),
        drawn=0,
        thrown_away=0,
    )
    for margin in settings.margins:
        rows = np.flatnonzero(margins == margin)
        if not len(rows):
            continue
        stamps = make_stamps(settings, margin)
        marked, drawn, failed = draw_marked_pairs(rng, stamps, settings, len(rows))
        placed = draw_distractors(rng, stamps, settings, marked.pairs)
        chunk.pixels[rows] = draw_ink(stamps, settings, marked.pairs, placed, marked.places)
        chunk.labels[rows] = marked.labels
        chunk.marks[rows] = np.stack(np.divmod(marked.places, stamps.stride), axis=-1)
        chunk.marks[rows] -= stamps.frame
        chunk.distractors[rows] = (placed.anchor[:, :, 0] >= 0).sum(axis=1)
        chunk = chunk._replace(
            drawn=chunk.drawn + drawn, thrown_away=chunk.thrown_away + failed
        )
    return chunk


def draw_marked_pairs(
    rng: Generator, stamps: Stamps, settings: PathfinderSettings, count: int
) -> tuple[_Marked, int, int]:
    """`count` pairs with labels and marks, and how many pairs came off and did not.

    With `match_distance`, images 2 i and 2 i + 1 have different labels and marks at one
    distance exactly: pairs of paths without such a partner are dropped. (Within intervals
    of a whole pixel a classifier of the distance still reached 58 % on length 3.)
    """
    kept: list[_Marked] = []
    waiting: _Marked | None = None
    have = drawn = thrown_away = 0
    causes: list[Failures] = []
    while have < count:
        tried = drawn + thrown_away
        limit = settings.max_attempts * (count if have else min(count, HOPELESS))
        if tried >= limit:
            raise ValueError(_why(settings, drawn, causes))
        # As many as are likely to be enough.
        lanes = 1.1 * (count - have) * (tried / have if have else 1 + tried)
        lanes = int(np.clip(lanes, *LANES))
        pairs, failures = draw_pairs(rng, stamps, settings, lanes)
        causes.append(failures)
        drawn, thrown_away = drawn + len(pairs.anchor), thrown_away + failures.total
        new = _mark(rng, pairs)
        if settings.match_distance:
            waiting = new if waiting is None else _join([waiting, new])
            new, waiting = _match(rng, stamps, waiting)
        kept.append(new)
        have += len(new.labels)
    return _rows(_join(kept), slice(0, count)), drawn, thrown_away


def _mark(rng: Generator, pairs: Paths) -> _Marked:
    """Fair coins for the label and for the path whose beginning is marked."""
    n = np.arange(len(pairs.anchor))
    labels = rng.integers(0, 2, len(n), dtype=np.uint8)
    begin = rng.integers(0, 2, len(n))
    end = np.where(labels == 1, begin, 1 - begin)
    places = np.stack([pairs.anchor[n, begin, 0], pairs.anchor[n, end, -1]], axis=1)
    return _Marked(pairs, labels, places)


def _match(rng: Generator, stamps: Stamps, marked: _Marked) -> tuple[_Marked, _Marked]:
    """Those with a partner of the other label at their distance, in twos; and the rest."""
    row, column = np.divmod(marked.places, stamps.stride)
    distance = (row[:, 0] - row[:, 1]) ** 2 + (column[:, 0] - column[:, 1]) ** 2
    order = np.lexsort((marked.labels, distance))
    group = distance[order] * 2 + marked.labels[order]
    starts = np.searchsorted(group, group)
    rank = np.arange(len(order)) - starts  # within one distance and label
    other = np.searchsorted(group, group ^ 1, side="right") - np.searchsorted(
        group, group ^ 1
    )
    paired = rank < other
    # Twos: by distance, then rank; a coin says which label comes first.
    sort = np.lexsort((marked.labels[order[paired]], rank[paired], distance[order[paired]]))
    twos = order[paired][sort].reshape(-1, 2)
    swapped = rng.integers(0, 2, len(twos)).astype(bool)
    twos[swapped] = twos[swapped, ::-1]
    rng.shuffle(twos, axis=0)
    return _rows(marked, twos.ravel()), _rows(marked, np.sort(order[~paired]))


def _rows(marked: _Marked, rows: np.ndarray | slice) -> _Marked:
    return _Marked(
        Paths(marked.pairs.anchor[rows], marked.pairs.dash[rows]),
        marked.labels[rows],
        marked.places[rows],
    )


def _join(parts: list[_Marked]) -> _Marked:
    return _Marked(
        join_paths([part.pairs for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.places for part in parts]),
    )


def _why(settings: PathfinderSettings, drawn: int, causes: list[Failures]) -> str:
    """The sentence for settings that cannot be drawn."""
    no_room = sum(c.no_room for c in causes)
    dead_end = np.sum([c.dead_end for c in causes], axis=0)
    crossing = np.sum([c.crossing for c in causes], axis=0)
    total = drawn + no_room + int(dead_end.sum() + crossing.sum())
    reasons = {
        no_room: f"no place for a first dash: `seed_distance={settings.seed_distance}` "
        f"keeps it {2 * settings.seed_distance} pixels from the edges of "
        f"`size={settings.size}`",
        int(
            dead_end.max()
        ): f"no pixel free for the end of dash {dead_end.argmax() + 1} of "
        f"`contour_length={settings.contour_length}`: the path runs into the "
        f"`padding={settings.padding}` or other dashes with "
        f"`continuity={settings.continuity}`",
        int(crossing.max()): f"dash {crossing.argmax() + 1} of `contour_length="
        f"{settings.contour_length}` crosses another in all "
        f"{settings.segment_retries + 1} tries, with `margins={settings.margins}`",
    }
    worst = max(reasons)
    if settings.match_distance and drawn > worst:
        return (
            f"{drawn} of {total} pairs of paths came off, but too few have a partner of "
            "the other label with the same distance of the marks: `match_distance` needs "
            "another `seed_distance` or `contour_length`, or more `max_attempts`."
        )
    return (
        f"only {drawn} of {total} pairs of paths came off. Most often ({worst} times) "
        f"there was {reasons[worst]}. Choose shorter paths, a larger image or a smaller "
        "margin, or allow more `max_attempts`."
    )
