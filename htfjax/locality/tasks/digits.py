"""Scikit-learn's handwritten digits: images that are there without a download."""

from typing import Literal

import numpy as np
from numpy.random import default_rng

from htfjax import _checks
from htfjax.locality.tasks import images as _images
from htfjax.locality.tasks.images import Images

SPLITS = ("train", "test")
WHITE = 16  # the largest value of these images


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
      ModuleNotFoundError: scikit-learn is not installed.

    Source: UCI optical recognition of handwritten digits (test part), as in scikit-learn.

    Example:
      >>> load_digits("train").pixels.shape, load_digits("test").pixels.shape
      ((1078, 8, 8, 1), (719, 8, 8, 1))
    """
    _checks.one_of("split", split, SPLITS)
    shuffle = _checks.at_least("shuffle", shuffle, 0)
    from sklearn import datasets

    values, labels = datasets.load_digits(return_X_y=True)
    everything = Images(
        np.asarray(values).reshape(-1, 8, 8, 1).astype(np.uint8),
        np.asarray(labels),
        "digits",
        white=WHITE,
    )
    order = default_rng(shuffle).permutation(len(labels))
    cut = len(labels) * 6 // 10
    rows = order[:cut] if split == "train" else order[cut:]
    return _images.take(everything, rows, f"digits ({split} images)")
