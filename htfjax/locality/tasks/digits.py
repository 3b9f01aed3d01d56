"""Handwritten digits of the UCI repository: images that come with the package."""

from pathlib import Path
from typing import Literal

from numpy.random import default_rng

from htfjax import _archives, _checks
from htfjax.locality.tasks import images as _images
from htfjax.locality.tasks.images import Images

SPLITS = ("train", "test")
WHITE = 16  # the largest value of these images
# 45 kB; its licence, CC BY 4.0, stands beside it.
FILE = Path(__file__).with_name("digits.npz")


def load_digits(split: Literal["train", "test"], *, shuffle: int = 0) -> Images:
    """1,797 digits of 8 x 8 pixels: the first 60 % of a permutation, or the rest.

    The images are split before anything is made of them, so no image of the test pairs
    occurs in a training pair. Values are divided by 16 and not normalized otherwise.

    Args:
      split: "train" (1,078 images) or "test" (719).
      shuffle: seed of the permutation; the same for both splits.

    Returns:
      (N, 8, 8, 1) images with labels 0 to 9.

    Raises:
      TypeError: not a word or an integer. ValueError: another split, a negative seed.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (test part), UCI
    Machine Learning Repository 1998, CC BY 4.0; those of scikit-learn in the same order.

    Example:
      >>> from htfjax import locality
      >>> train, test = locality.load_digits("train"), locality.load_digits("test")
      >>> train.pixels.shape, test.pixels.shape
      ((1078, 8, 8, 1), (719, 8, 8, 1))
    """
    _checks.one_of("split", split, SPLITS)
    shuffle = _checks.at_least("shuffle", shuffle, 0)
    stored = _archives.read_npz(FILE)
    everything = Images(
        stored["images"][..., None], stored["labels"], "digits", white=WHITE
    )
    count = len(everything.labels)
    order = default_rng(shuffle).permutation(count)
    cut = count * 6 // 10
    rows = order[:cut] if split == "train" else order[cut:]
    return _images.take(everything, rows, f"digits ({split} images)")
