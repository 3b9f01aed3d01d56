"""Labelled images, as bytes, from which tasks are composed."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from htfjax import _checks, _reprs
from htfjax.locality import inputs as _inputs


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Pixels and labels of N images, and how a network wants to see them.

    A network sees (pixels / white - mean) / std, channel by channel.

    Pixels and labels are taken as any integers or whole floats from 0 to 255.

    Raises:
      TypeError: pixels or labels that are not numbers, a name that is not text.
      ValueError: pixels that are not whole numbers from 0 to 255 of shape (N, H, W, C),
        labels that do not go with them, a mean or deviation that does not fit the channels.

    Example:
      >>> import numpy as np
      >>> from htfjax import locality
      >>> pixels, labels = np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1])
      >>> images = locality.Images(pixels, labels, "two squares")
      >>> images.pixels.shape, images.white
      ((2, 8, 8, 1), 255)
    """

    pixels: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray  # (N,) uint8
    name: str  # what results on these images are labelled with
    white: int = 255  # the byte that means 1.0
    mean: tuple[float, ...] = (0.0,)  # one for all channels, or one each
    std: tuple[float, ...] = (1.0,)

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __post_init__(self) -> None:
        """Checks what would otherwise fail far from here."""
        pixels = _bytes("pixels", self.pixels)
        if pixels.ndim != 4 or 0 in pixels.shape:
            raise ValueError(f"`pixels` must be (N, H, W, C), got shape {pixels.shape}.")
        labels = _bytes("labels", self.labels)
        if labels.shape != pixels.shape[:1]:
            raise ValueError(
                f"`labels` has shape {labels.shape}, expected one per image: "
                f"({len(pixels)},)."
            )
        if not isinstance(self.name, str):
            raise TypeError(f"`name` must be text, got {_checks.spell(self.name)}.")
        white = _checks.at_least("white", self.white, 1)
        _checks.real("white", white, most=255)
        values = {
            "pixels": pixels,
            "labels": labels,
            "white": white,
            "mean": _per_channel("mean", self.mean, pixels.shape[3]),
            "std": _per_channel("std", self.std, pixels.shape[3]),
        }
        if min(values["std"]) <= 0:
            raise ValueError(f"`std={self.std}` must be above zero.")
        for field, value in values.items():
            object.__setattr__(self, field, value)


def take(images: Images, rows: np.ndarray | slice, name: str) -> Images:
    """Some of the images under another name."""
    return dataclasses.replace(
        images, pixels=images.pixels[rows], labels=images.labels[rows], name=name
    )


def check_images(name: str, value: object) -> None:
    """Labelled images."""
    _checks.instance(name, value, Images, "`load_digits` gives some")


def _bytes(name: str, values: object) -> np.ndarray:
    """Whole numbers from 0 to 255 as uint8."""
    exact = _inputs.on_host(name, values)
    if exact.dtype == np.uint8:
        return exact
    if exact.dtype == bool:
        raise TypeError(f"`{name}` must be numbers from 0 to 255, got {exact.dtype}.")
    with np.errstate(invalid="ignore"):
        cast = exact.astype(np.uint8)
    if not np.array_equal(cast.astype(np.float64), exact.astype(np.float64)):
        raise ValueError(
            f"`{name}` must be whole numbers from 0 to 255 (uint8), got {exact.dtype} from "
            f"{exact.min()} to {exact.max()}; scale and round images in [0, 1]."
        )
    return cast


def _per_channel(
    name: str, values: float | Sequence[float], channels: int
) -> tuple[float, ...]:
    """One number for all channels, or one for each."""
    given: Any = _checks.as_sequence(values)
    numbers = given if isinstance(given, tuple | list) else (given,)
    if len(numbers) not in (1, channels):
        raise ValueError(
            f"`{name}={_checks.spell(numbers)}` must have one entry, or one for each of "
            f"the {channels} channels."
        )
    for value in numbers:
        _checks.real(name, value)
    return tuple(float(value) for value in numbers)
