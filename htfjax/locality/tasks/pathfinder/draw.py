"""Drawing Pathfinder images: chunk by chunk, in one process or several."""

import dataclasses
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import NamedTuple

import numpy as np

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, JsonObject, Key
from htfjax.locality import inputs as _inputs
from htfjax.locality.tasks import streams
from htfjax.locality.tasks.pathfinder.chunk import CHUNK, Chunk, draw_chunk
from htfjax.locality.tasks.pathfinder.settings import PathfinderSettings


class PathfinderImages(NamedTuple):
    """N Pathfinder images and what is known about each.

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> settings = locality.lra_pathfinder(32)
      >>> images = locality.draw_pathfinder(jax.random.key(0), settings, 4)
      >>> isinstance(images, locality.PathfinderImages), images.marks.shape
      (True, (4, 2, 2))
    """

    pixels: np.ndarray  # (N, s, s) uint8
    labels: np.ndarray  # (N,) uint8: 1 where both marks are on one path
    marks: np.ndarray  # (N, 2, 2) int16: row and column, in pixels of the drawn image
    margins: np.ndarray  # (N,) uint8: free space around a dash
    distractors: np.ndarray  # (N,) int16: distractors that found a place
    drawn: int  # pairs of long paths that came to their end, for all chunks
    thrown_away: int  # pairs that did not
    settings: PathfinderSettings

    def __repr__(self) -> str:
        return _reprs.text(self)


def draw_pathfinder(
    key: Key[Array, ""], settings: PathfinderSettings, count: int, *, processes: int = 1
) -> PathfinderImages:
    """The first `count` images of a key.

    Image i depends on the key and i alone: more images, or more processes, change none.
    Work is shared out in chunks of 128 images, so several processes pay from a few
    thousand images on. They are started afresh (spawn): a script that asks for more than
    one needs the usual `if __name__ == "__main__":`.

    Args:
      key: typed random key.
      settings: from `paper_pathfinder`, `lra_pathfinder` or your own.
      count: number of images.
      processes: worker processes; 1 draws in this one.

    Returns:
      `PathfinderImages`; `settings.match_distance` puts images of different labels whose
      marks are equally far apart next to each other (2 i and 2 i + 1).

    Raises:
      ValueError: the settings can hardly be drawn (the constraint that fails is said), or
        no images are asked for.
      TypeError: no typed key, or no `PathfinderSettings`.

    Source: Linsley et al. (2018); arXiv:2201.11729 for the parameters. One deviation: the
    last dashes of both paths keep distractors away, where the reference forgets one.

    Example:
      >>> import jax
      >>> from htfjax.locality import draw_pathfinder, paper_pathfinder
      >>> images = draw_pathfinder(jax.random.key(0), paper_pathfinder(5), 4)
      >>> images.pixels.shape, images.labels.shape
      ((4, 150, 150), (4,))
    """
    advice = "`paper_pathfinder` makes some"
    _checks.instance("settings", settings, PathfinderSettings, advice)
    count = _checks.at_least("count", count, 1)
    processes = _checks.at_least("processes", processes, 1)
    words = streams.key_words(key)
    numbers = range(-(-count // CHUNK))
    chunks = list(_chunks(settings, words, numbers, min(processes, len(numbers))))
    joined = [
        np.concatenate([getattr(chunk, name) for chunk in chunks])[:count]
        for name in ("pixels", "labels", "marks", "margins", "distractors")
    ]
    return PathfinderImages(
        *joined,
        drawn=sum(chunk.drawn for chunk in chunks),
        thrown_away=sum(chunk.thrown_away for chunk in chunks),
        settings=settings,
    )


def marker_distances(images: PathfinderImages) -> Float[np.ndarray, "N"]:
    """Distance of both marks in pixels of the drawn image.

    Raises:
      TypeError: not `PathfinderImages`. ValueError: marks that are not (N, 2, 2).

    Example:
      >>> import jax
      >>> from htfjax.locality import draw_pathfinder, marker_distances, paper_pathfinder
      >>> images = draw_pathfinder(jax.random.key(0), paper_pathfinder(3), 64)
      >>> bool((marker_distances(images)[images.labels == 1] < 30).all())
      True
    """
    check_images("images", images)
    marks = checked_marks("images.marks", images.marks)
    apart = marks[:, 0] - marks[:, 1]
    # From whole squares, so that equal distances are equal numbers.
    return np.sqrt((apart**2).sum(axis=1))


def check_images(name: str, images: object) -> None:
    """Pathfinder images."""
    advice = "`draw_pathfinder` makes some"
    _checks.instance(name, images, PathfinderImages, advice)


def checked_marks(name: str, marks: np.ndarray) -> np.ndarray:
    """Rows and columns of both marks, (N, 2, 2) int."""
    places = np.asarray(_inputs.on_host(name, _checks.integer_array(name, marks)))
    _checks.shape(name, places, (None, 2, 2), "(N, 2, 2)")
    return places.astype(int)


def _chunks(
    settings: PathfinderSettings, words: tuple[int, ...], numbers: range, processes: int
) -> Iterator[Chunk]:
    if processes == 1:
        yield from map(draw_chunk, repeat(settings), repeat(words), numbers)
        return
    # Forking a process that runs jax's threads may hang it.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        yield from pool.map(draw_chunk, repeat(settings), repeat(words), numbers)


def take_images(images: PathfinderImages, rows: slice) -> PathfinderImages:
    """Some of the images; the counts of pairs stay those of all."""
    return images._replace(
        **{
            name: getattr(images, name)[rows]
            for name in ("pixels", "labels", "marks", "margins", "distractors")
        }
    )


def settings_text(settings: PathfinderSettings) -> JsonObject:
    """The settings as what JSON can hold."""
    return dataclasses.asdict(settings) | {"margins": list(settings.margins)}
