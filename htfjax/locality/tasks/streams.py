"""NumPy random streams that follow from a typed key, for data drawn on the host."""

import jax
import numpy as np
from numpy.random import Generator, Philox, SeedSequence

from htfjax import _checks
from htfjax._types import Array, Key


def key_words(key: Key[Array, ""]) -> tuple[int, ...]:
    """The words of a typed key, the same on every machine.

    Raises:
      TypeError: not a typed key, or several.

    Example:
      >>> import jax
      >>> key_words(jax.random.key(7))
      (0, 7)
    """
    _checks.key("key", key)
    return tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel())


def stream(words: tuple[int, ...], *branch: int) -> Generator:
    """The random stream of a branch; other branches of the same words are independent.

    Example:
      >>> int(stream((0, 7), 1).integers(10)) == int(stream((0, 7), 1).integers(10))
      True
    """
    return Generator(Philox(SeedSequence(entropy=words, spawn_key=branch)))
