"""Draws of the two patches of a training step: pytrees that are called with a key."""

import dataclasses
from collections.abc import Callable

import jax

from htfjax import _checks, _pytrees
from htfjax._types import Array, Key
from htfjax.locality import inputs as _inputs
from htfjax.locality.regularizer import patches as _patches
from htfjax.locality.regularizer.patches import Patch, either_order, random_patches

Draw = Callable[[jax.Array], tuple[Patch, Patch]]


@_pytrees.register_checked
@dataclasses.dataclass(frozen=True)
class EitherOrder:
    """Two boxes, P and Q in an order drawn by a fair coin (IsSameClass).

    Their places are leaves: other distances retrace nothing.

    Raises:
      TypeError: not `Patch`. ValueError: patches of two sizes.

    Example:
      >>> import jax
      >>> draw = EitherOrder(Patch(0, 0, 8, 8), Patch(0, 56, 8, 8))
      >>> p, q = draw(jax.random.key(0))
      >>> sorted([int(p.left), int(q.left)])
      [0, 56]
    """

    first: Patch
    second: Patch

    def __post_init__(self) -> None:
        """Checks what would otherwise fail inside a compiled step."""
        _patches.check_one_size(self.first, self.second)

    def __call__(self, key: Key[Array, ""]) -> tuple[Patch, Patch]:
        """P and Q."""
        return either_order(key, self.first, self.second)


@_pytrees.register_checked
@dataclasses.dataclass(frozen=True)
class RandomPatches:
    """Two patches anywhere, see `random_patches` (Pathfinder).

    Raises:
      TypeError, ValueError: as `random_patches`.

    Example:
      >>> import jax
      >>> p, q = RandomPatches((32, 32), patch_size=2)(jax.random.key(0))
      >>> p.height, q.width
      (2, 2)
    """

    image_size: tuple[int, int] = dataclasses.field(metadata={"static": True})
    patch_size: int = dataclasses.field(default=2, metadata={"static": True})
    distance: int = dataclasses.field(default=0, metadata={"static": True})
    exactly: bool = dataclasses.field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks what would otherwise fail inside a compiled step."""
        size = _inputs.image_size("image_size", self.image_size)
        side, distance = _patches.check_room(size, self.patch_size, self.distance)
        exactly = _checks.flag("exactly", self.exactly)
        for name, value in (("image_size", size), ("patch_size", side),
                            ("distance", distance), ("exactly", exactly)):  # fmt: skip
            object.__setattr__(self, name, value)

    def __call__(self, key: Key[Array, ""]) -> tuple[Patch, Patch]:
        """P and Q."""
        return random_patches(
            key, self.image_size, self.patch_size, distance=self.distance,
            exactly=self.exactly,
        )  # fmt: skip
