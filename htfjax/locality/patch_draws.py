"""How a training step draws its two patches: pytrees that are called with a key."""

import dataclasses

import jax

from htfjax.locality.patches import Patch, either_order, random_patches

__all__ = ["EitherOrder", "RandomPatches"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EitherOrder:
    """Two boxes, which is P and which is Q by coin (IsSameClass).

    Their places are leaves: other distances retrace nothing.

    Example:
      >>> import jax
      >>> draw = EitherOrder(Patch(0, 0, 8, 8), Patch(0, 56, 8, 8))
      >>> p, q = draw(jax.random.key(0))
      >>> sorted([int(p.left), int(q.left)])
      [0, 56]
    """

    first: Patch
    second: Patch

    def __call__(self, key: jax.Array) -> tuple[Patch, Patch]:
        """P and Q."""
        return either_order(key, self.first, self.second)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomPatches:
    """Two patches anywhere, see `random_patches` (Pathfinder).

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

    def __call__(self, key: jax.Array) -> tuple[Patch, Patch]:
        """P and Q."""
        return random_patches(
            key, self.image_size, self.patch_size, distance=self.distance,
            exactly=self.exactly,
        )  # fmt: skip
