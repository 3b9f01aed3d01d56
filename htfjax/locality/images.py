"""Labelled images, as bytes: what tasks are composed from."""

import dataclasses
from typing import Any

import numpy as np

__all__ = ["Images"]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Pixels and labels of N images, and how a network wants to see them.

    A network sees (pixels / white - mean) / std, channel by channel.

    Raises:
      TypeError, ValueError: pixels that are no bytes (N, H, W, C), labels that do not go
        with them, a mean or deviation that does not fit the channels.

    Example:
      >>> import numpy as np
      >>> images = Images(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), "two squares")
      >>> images.pixels.shape, images.white
      ((2, 8, 8, 1), 255)
    """

    pixels: np.ndarray  # (N, H, W, C) uint8
    labels: np.ndarray  # (N,) uint8
    name: str  # what results on these images are labelled with
    white: int = 255  # the byte that means 1.0
    mean: tuple[float, ...] = (0.0,)  # one for all channels, or one each
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Checks what would otherwise fail far from here."""
        pixels, labels = np.asarray(self.pixels), np.asarray(self.labels)
        if pixels.dtype != np.uint8:
            raise TypeError(f"`pixels` must be uint8, got {pixels.dtype}.")
        if pixels.ndim != 4 or 0 in pixels.shape:
            raise ValueError(f"`pixels` must be (N, H, W, C), got shape {pixels.shape}.")
        if labels.shape != pixels.shape[:1]:
            raise ValueError(
                f"`labels` has shape {labels.shape}, expected one a picture: "
                f"({len(pixels)},)."
            )
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 255:
            raise ValueError("`labels` must be integers from 0 to 255.")
        if not 1 <= self.white <= 255:
            raise ValueError(f"`white={self.white}` must be a byte above zero.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, pixels.shape[3]):
                raise ValueError(
                    f"`{name}={values}` must have one entry, or one for each of the "
                    f"{pixels.shape[3]} channels."
                )
        if min(self.std) <= 0:
            raise ValueError(f"`std={self.std}` must be above zero.")
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "labels", labels.astype(np.uint8))


def take(images: Images, rows: Any, name: str) -> Images:
    """Some of the images under another name."""
    return dataclasses.replace(
        images, pixels=images.pixels[rows], labels=images.labels[rows], name=name
    )
