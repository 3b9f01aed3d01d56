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
      >>> from htfjax import locality
      >>> left, right = locality.Patch(0, 0, 8, 8), locality.Patch(0, 56, 8, 8)
      >>> draw = locality.EitherOrder(left, right)
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
      >>> from htfjax import locality
      >>> p, q = locality.RandomPatches((32, 32), patch_size=2)(jax.random.key(0))
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


def check_draw(patches: Draw, shape: tuple[int, ...]) -> None:
    """Patches that are drawn lie in images of shape (B, H, W, C), apart from each other.

    A function is traced once: places that do not depend on its key are seen.

    Raises:
      TypeError: a function that does not give two patches. ValueError: other places.
    """
    if isinstance(patches, RandomPatches):
        _check_size(patches.image_size, shape)
    elif isinstance(patches, EitherOrder):
        both = patches.first, patches.second
        _check_places(both, ("patches.first", "patches.second"), shape)
    else:

        def draw(key: jax.Array) -> None:
            both = check_pair("patches(key)", patches(key))
            _check_places(both, ("patches(key)[0]", "patches(key)[1]"), shape)

        jax.eval_shape(draw, jax.eval_shape(jax.random.key, 0))


def check_pair(name: str, both: object) -> tuple[Patch, Patch]:
    """Two patches (P, Q).

    Raises:
      TypeError: anything else.
    """
    if not isinstance(both, tuple | list) or len(both) != 2:
        raise TypeError(f"`{name}` must be two patches (P, Q), got {_checks.spell(both)}.")
    return both[0], both[1]


def _check_places(
    both: tuple[Patch, Patch], names: tuple[str, str], shape: tuple[int, ...]
) -> None:
    for name, patch in zip(names, both, strict=True):
        _patches.check_inside(name, patch, shape)
    _patches.check_apart(*both, names)


def _check_size(image_size: tuple[int, int], shape: tuple[int, ...]) -> None:
    """Images at least as large as those that places are drawn in."""
    if image_size[0] > shape[1] or image_size[1] > shape[2]:
        raise ValueError(
            f"`patches.image_size={image_size}` exceeds the images, which are "
            f"{shape[1:3]}: patches would be drawn outside of them."
        )
