"""Pathfinder images as examples of a task, and as one file per setting."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _archives, _checks, _digests, _files, _reprs
from htfjax._types import Array, Float, Key, Numbers, PathLike
from htfjax.locality.tasks import streams
from htfjax.locality.tasks.examples import check_rows
from htfjax.locality.tasks.pathfinder.draw import (
    PathfinderImages,
    check_images,
    draw_pathfinder,
    settings_text,
    take_images,
)
from htfjax.locality.tasks.pathfinder.settings import PathfinderSettings

FORMAT = 1
ARRAYS = ("pixels", "labels", "marks", "margins", "distractors")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PathfinderExamples:
    """Pathfinder images on the device as bytes, normalized when a batch is asked for.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> settings = locality.lra_pathfinder(32)
      >>> images = locality.draw_pathfinder(jax.random.key(0), settings, 4)
      >>> examples = locality.pathfinder_examples(images)
      >>> isinstance(examples, locality.PathfinderExamples), examples.count
      (True, 4)
      >>> x, y = examples.batch(jnp.array([2, 0]))
      >>> x.shape, y.shape
      ((2, 32, 32, 1), (2,))
    """

    pixels: jax.Array  # (N, s, s) uint8
    labels: jax.Array  # (N,) uint8
    mean: jax.Array  # () float32, of pixels / 255
    std: jax.Array  # () float32

    def __repr__(self) -> str:
        return _reprs.text(self)

    @property
    def count(self) -> int:
        """The number of examples."""
        return self.pixels.shape[0]

    def batch(self, rows: Numbers) -> tuple[Float[Array, "*B s s 1"], Float[Array, "*B"]]:
        """Examples of the given numbers: x (B, s, s, 1), y (B,) in {0, 1}, float32.

        Works under jit, where numbers are not checked.

        Raises:
          TypeError: not integers. ValueError: numbers that are not there.
        """
        rows = check_rows(rows, self.count)
        x = self.pixels[rows].astype(jnp.float32) / jnp.float32(255)
        x = (x - self.mean) / self.std
        return x[..., None], self.labels[rows].astype(jnp.float32)


def pathfinder_examples(
    images: PathfinderImages,
    rows: slice | None = None,
    *,
    like: PathfinderExamples | None = None,
) -> PathfinderExamples:
    """Images as examples, normalized by the mean and deviation of all their pixels.

    Args:
      images: from `draw_pathfinder` or `load_pathfinder`.
      rows: which of them, for example slice(0, 10_000) for training; all by default.
        Cut at even numbers where distances are matched.
      like: the training examples, whose mean and deviation test examples take over.

    Returns:
      `PathfinderExamples`, a pytree whose arrays are leaves: `count` examples, and
      `batch(rows)` gives x (B, s, s, 1) and y (B,) in float32.

    Raises:
      ValueError: no images in `rows`. TypeError: not `PathfinderImages`, rows that are not
        a slice, a `like` that is not `PathfinderExamples`.

    Source: arXiv:2201.11729, Pathfinder (one mean and deviation, of the training set).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from htfjax import locality
      >>> settings = locality.paper_pathfinder(3)
      >>> images = locality.draw_pathfinder(jax.random.key(0), settings, 12)
      >>> train = locality.pathfinder_examples(images, slice(0, 8))
      >>> test = locality.pathfinder_examples(images, slice(8, 12), like=train)
      >>> x, y = train.batch(jnp.arange(8))
      >>> x.shape, round(abs(float(x.mean())), 2), round(float(x.std()), 2), test.count
      ((8, 150, 150, 1), 0.0, 1.0, 4)
    """
    images = _checked_bytes("images", images)
    if like is not None:
        advice = "the training examples, made by `pathfinder_examples`"
        _checks.instance("like", like, PathfinderExamples, advice)
    chosen = images if rows is None else take_images(images, _checked_slice(rows))
    if not len(chosen.labels):
        raise ValueError(f"`rows={rows}` holds none of the {len(images.labels)} images.")
    if like is None:
        counts = np.bincount(chosen.pixels.ravel(), minlength=256) / chosen.pixels.size
        levels = np.arange(256) / 255
        mean = float(counts @ levels)
        std = float(counts @ (levels - mean) ** 2) ** 0.5
        mean, std = jnp.float32(mean), jnp.float32(std or 1.0)
    else:
        mean, std = like.mean, like.std
    return PathfinderExamples(
        jnp.asarray(chosen.pixels), jnp.asarray(chosen.labels), mean, std
    )


def _checked_bytes(name: str, images: PathfinderImages) -> PathfinderImages:
    """Images whose pixels and labels are bytes, and fit each other."""
    check_images(name, images)
    pixels = _checks.integer_array(f"{name}.pixels", images.pixels)
    _checks.shape(f"{name}.pixels", pixels, (None, None, None), "(N, s, s)")
    if pixels.dtype != np.uint8 and (np.any(pixels < 0) or np.any(pixels > 255)):
        raise ValueError(f"`{name}.pixels` must be from 0 to 255.")
    labels = _checks.labels(f"{name}.labels", images.labels, len(pixels), 2)
    return images._replace(
        pixels=np.asarray(pixels, np.uint8), labels=np.asarray(labels, np.uint8)
    )


def _checked_slice(rows: slice) -> slice:
    _checks.instance("rows", rows, slice, "slice(0, 10_000) takes the first ones")
    for name in ("start", "stop", "step"):
        value = getattr(rows, name)
        if value is not None:
            _checks.at_least(f"rows.{name}", value, -(2**62))
    if rows.step == 0:
        raise ValueError("`rows.step=0` takes nothing.")
    return rows


def stored_pathfinder(
    folder: PathLike,
    settings: PathfinderSettings,
    count: int,
    *,
    key: Key[Array, ""],
    processes: int = 1,
) -> PathfinderImages:
    """`draw_pathfinder`, drawn once and then read from a file in `folder`.

    One file per setting, key and count; its name begins with size and path length.

    Raises:
      ValueError: as `draw_pathfinder`, or the file is damaged; the error names it.
      TypeError: as `draw_pathfinder`.

    Example:
      >>> import jax, tempfile
      >>> from htfjax.locality import paper_pathfinder, stored_pathfinder
      >>> folder = tempfile.mkdtemp()
      >>> first = stored_pathfinder(folder, paper_pathfinder(5), 8, key=jax.random.key(0))
      >>> again = stored_pathfinder(folder, paper_pathfinder(5), 8, key=jax.random.key(0))
      >>> bool((first.pixels == again.pixels).all())
      True
    """
    if not isinstance(settings, PathfinderSettings):
        raise TypeError(
            f"`settings` must be PathfinderSettings, got {_checks.spell(settings)}."
        )
    count = _checks.at_least("count", count, 1)
    asked = {
        "settings": settings_text(settings),
        "key": streams.key_words(key),
        "count": count,
        "format": FORMAT,
    }
    digest = _digests.json_digest(asked)
    name = f"pathfinder_{settings.output_size}_{settings.contour_length}_{digest[:12]}.npz"
    path = _files.absolute("folder", folder) / name
    if path.exists():
        images, header = _read(path)
        if header.get("asked") == digest and len(images.labels) == count:
            return images
        raise ValueError(f"{path} holds other images than its name says; delete it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    images = draw_pathfinder(key, settings, count, processes=processes)
    _write(path, images, {"asked": digest})
    return images


def save_pathfinder(path: PathLike, images: PathfinderImages) -> None:
    """Writes images to one npz file, replacing it only when all is written.

    Raises:
      TypeError: not `PathfinderImages`. ValueError: a folder that does not exist.

    Example:
      >>> import jax, os, tempfile
      >>> from htfjax import locality
      >>> settings = locality.lra_pathfinder(32)
      >>> images = locality.draw_pathfinder(jax.random.key(0), settings, 4)
      >>> path = os.path.join(tempfile.mkdtemp(), "four.npz")
      >>> locality.save_pathfinder(path, images)
      >>> locality.load_pathfinder(path).settings == images.settings
      True
    """
    if not isinstance(images, PathfinderImages):
        raise TypeError(f"`images` must be PathfinderImages, got {type(images).__name__}.")
    _write(path, images, {})


def _write(path: PathLike, images: PathfinderImages, more: dict[str, str]) -> None:
    header = more | {
        "format": FORMAT,
        "settings": settings_text(images.settings),
        "drawn": images.drawn,
        "thrown_away": images.thrown_away,
    }
    arrays: dict[str, Any] = {name: getattr(images, name) for name in ARRAYS}
    arrays["header"] = np.array(json.dumps(header))
    with _files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_pathfinder(path: PathLike) -> PathfinderImages:
    """Reads what `save_pathfinder` wrote.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a damaged file, or one of a newer format; the error names it.

    Example:
      >>> import jax, os, tempfile
      >>> from htfjax import locality
      >>> settings = locality.lra_pathfinder(32)
      >>> images = locality.draw_pathfinder(jax.random.key(0), settings, 4)
      >>> path = os.path.join(tempfile.mkdtemp(), "four.npz")
      >>> locality.save_pathfinder(path, images)
      >>> bool((locality.load_pathfinder(path).pixels == images.pixels).all())
      True
      >>> locality.load_pathfinder("missing.npz")
      Traceback (most recent call last):
      FileNotFoundError: no Pathfinder images at missing.npz
    """
    if not _files.absolute("path", path).is_file():
        raise FileNotFoundError(f"no Pathfinder images at {path}")
    return _read(path)[0]


def _read(path: PathLike) -> tuple[PathfinderImages, dict[str, Any]]:
    """Images and header of a file."""
    try:
        arrays = _archives.read_npz(_files.absolute("path", path))
        header = json.loads(str(arrays["header"]))
        newer, images = header["format"] > FORMAT, None
        if not newer:
            margins = tuple(header["settings"].pop("margins"))
            settings = PathfinderSettings(margins=margins, **header["settings"])
            images = PathfinderImages(
                *(arrays[name] for name in ARRAYS),
                drawn=header["drawn"],
                thrown_away=header["thrown_away"],
                settings=settings,
            )
            _check(images)
    except _files.DAMAGE as error:
        raise ValueError(
            f"`path={path}` is damaged or holds no Pathfinder images ({error}); restore "
            "it from a copy, or remove it and draw them again."
        ) from error
    if newer or images is None:
        raise ValueError(
            f"`path={path}` has format {header['format']}, this htfjax reads up to "
            f"{FORMAT}; upgrade htfjax."
        )
    return images, header


def _check(images: PathfinderImages) -> None:
    """Shapes and kinds fit each other."""
    count, size = len(images.labels), images.settings.output_size
    shapes = [getattr(images, name).shape for name in ARRAYS]
    expected = [(count, size, size), (count,), (count, 2, 2), (count,), (count,)]
    if shapes != expected or images.pixels.dtype != np.uint8:
        raise ValueError(f"arrays of shapes {shapes}, expected {expected}")
