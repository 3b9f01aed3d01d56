"""Patches of an image, and random pairs of them, drawn inside a jitted step."""

import dataclasses
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from htfjax import _checks, _pytrees
from htfjax._types import Array, Key, Numbers, Shaped
from htfjax.locality import inputs as _inputs

Tree = TypeVar("Tree")
Place: TypeAlias = int | jax.Array  # ()


@_pytrees.register_checked
@dataclasses.dataclass(frozen=True)
class Patch:
    """A box of pixels: rows top ... top + height - 1, columns left ... left + width - 1.

    `top` and `left` are leaves, so they may be drawn inside jit; the size is static.

    Raises:
      TypeError: not integers. ValueError: a place below zero, a side below one.

    Example:
      >>> from htfjax import locality
      >>> locality.Patch(0, 4, height=2, width=2).left
      4
    """

    top: Place
    left: Place
    height: int = dataclasses.field(metadata={"static": True})
    width: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks whole numbers; those of NumPy become Python's."""
        for name in ("top", "left"):
            object.__setattr__(self, name, _place(name, getattr(self, name)))
        for name in ("height", "width"):
            side = _checks.at_least(name, getattr(self, name), 1)
            object.__setattr__(self, name, side)


def traced_places(tree: Tree) -> Tree:
    """A pytree whose patches have places that compiled programs trace.

    A Python integer would be static, and every other place another program.
    """

    def traced(node: object) -> object:
        if not isinstance(node, Patch):
            return node
        return jax.tree.map(lambda at: np.int32(at) if type(at) is int else at, node)

    return jax.tree.map(traced, tree, is_leaf=lambda node: isinstance(node, Patch))


def crop(x: jax.Array, patch: Patch) -> jax.Array:
    """The content of a patch: (B, H, W, C) -> (B, height, width, C)."""
    sizes = (x.shape[0], patch.height, patch.width, x.shape[3])
    return lax.dynamic_slice(x, _corner(patch), sizes)


def embed(content: jax.Array, patch: Patch, like: jax.Array) -> jax.Array:
    """Zeros of the shape of `like` (B, H, W, C) with `content` in the patch."""
    return lax.dynamic_update_slice(jnp.zeros_like(like), content, _corner(patch))


def insert(x: jax.Array, content: jax.Array, patch: Patch) -> jax.Array:
    """`x` (B, H, W, C) with `content` (B, height, width, C) in the patch."""
    return lax.dynamic_update_slice(x, content, _corner(patch))


def swap_patch(x: Numbers, patch: Patch) -> Shaped[Array, "B H W C"]:
    """Each image with the content that the next image of the batch has in the patch.

    x'_i = x_i outside Q, x'_i = x_{i+1 mod B} inside Q.

    Args:
      x: (B, H, W, C).
      patch: Q.

    Raises:
      ValueError: the patch does not lie in the image, `x` is not (B, H, W, C).
      TypeError: not a `Patch`, or not real numbers.

    Source: arXiv:2201.11729, regularizer (a cyclic shift by one within the batch).

    Example:
      >>> import jax.numpy as jnp
      >>> from htfjax import locality
      >>> x = jnp.arange(6.0).reshape(2, 1, 3, 1)
      >>> patch = locality.Patch(0, 2, height=1, width=1)
      >>> locality.swap_patch(x, patch)[:, 0, :, 0].tolist()
      [[0.0, 1.0, 5.0], [3.0, 4.0, 2.0]]
    """
    x = _inputs.numbers("x", x)
    check_images("x", x)
    check_inside("patch", patch, x.shape)
    moved = jnp.roll(crop(x, patch), -1, axis=0)
    return insert(x, moved, patch)


def patch_gap(patch: Patch, other: Patch) -> Place:
    """Free pixels between two patches along the axis where they are farthest apart.

    Zero for touching patches, negative for overlapping ones.

    Raises:
      TypeError: not `Patch`.

    Example:
      >>> from htfjax import locality
      >>> locality.patch_gap(locality.Patch(0, 0, 2, 2), locality.Patch(1, 5, 2, 2))
      3
    """
    check_patch("patch", patch)
    check_patch("other", other)
    axes = (
        (patch.top, patch.height, other.top, other.height),
        (patch.left, patch.width, other.left, other.width),
    )
    gaps = [side for a, m, b, n in axes for side in (b - a - m, a - b - n)]
    largest = max if all(_checks.concrete(gap) for gap in gaps) else _maximum
    return largest(gaps)


def either_order(key: Key[Array, ""], first: Patch, second: Patch) -> tuple[Patch, Patch]:
    """Two preset patches of one size, in an order drawn by a fair coin.

    Args:
      key: typed random key.
      first: a patch.
      second: another one of the same size.

    Raises:
      ValueError: the sizes differ. TypeError: not `Patch`, or not a typed key.

    Source: arXiv:2201.11729, IsSameClass (P is one of the two image boxes, Q the other).

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> first, second = locality.Patch(0, 0, 8, 8), locality.Patch(0, 56, 8, 8)
      >>> p, q = locality.either_order(jax.random.key(0), first, second)
      >>> sorted([int(p.left), int(q.left)])
      [0, 56]
    """
    _checks.key("key", key)
    check_one_size(first, second)
    coin = jax.random.bernoulli(key)

    def pick(a: Patch, b: Patch) -> Patch:
        top, left = jnp.where(coin, a.top, b.top), jnp.where(coin, a.left, b.left)
        return Patch(top, left, first.height, first.width)

    return pick(first, second), pick(second, first)


def random_patches(
    key: Key[Array, ""],
    image_size: tuple[int, int],
    patch_size: int,
    *,
    distance: int = 0,
    exactly: bool = False,
) -> tuple[Patch, Patch]:
    """Two square patches with at least (or exactly) `distance` free pixels between them.

    P is uniform over the positions that leave room for another patch, Q uniform over the
    positions whose `patch_gap` to P is allowed. Works inside jit.

    Args:
      key: typed random key.
      image_size: (H, W).
      patch_size: side of both patches.
      distance: free pixels between the patches along the axis where they are farthest
        apart; 0 only forbids overlap.
      exactly: draw Q from the ring at that distance only.

    Returns:
      P and Q.

    Raises:
      ValueError: no two patches of that size and distance fit (the error names the
        largest distance), numbers out of range.
      TypeError: not integers, or not a typed key.

    Source: arXiv:2201.11729, Pathfinder (patch size 2, distance 0).

    Example:
      >>> import jax
      >>> from htfjax import locality
      >>> p, q = locality.random_patches(jax.random.key(0), (32, 32), 2, distance=20)
      >>> int(locality.patch_gap(p, q)) >= 20
      True
    """
    _checks.key("key", key)
    image_size = _inputs.image_size("image_size", image_size)
    side, distance = check_room(image_size, patch_size, distance)
    exactly = _checks.flag("exactly", exactly)
    rows = np.arange(image_size[0] - side + 1, dtype=np.int32)
    columns = np.arange(image_size[1] - side + 1, dtype=np.int32)
    # How far a position is from the farther end of its axis.
    reach = np.maximum.outer(
        np.maximum(rows, rows[::-1]), np.maximum(columns, columns[::-1])
    )
    allowed = np.flatnonzero(reach >= side + distance)
    for_p, for_q = jax.random.split(key)
    chosen = jax.random.randint(for_p, (), 0, allowed.size, jnp.int32)
    place = jnp.asarray(allowed, jnp.int32)[chosen]
    top, left = jnp.divmod(place, columns.size)
    steps = jnp.maximum(jnp.abs(rows - top)[:, None], jnp.abs(columns - left)[None, :])
    free = (steps == side + distance) if exactly else (steps >= side + distance)
    count = jnp.cumsum(free.reshape(-1), dtype=jnp.int32)
    drawn = jax.random.randint(for_q, (), 0, count[-1], jnp.int32)
    # A binary search would be a loop of 15 rounds, a launch or more each on accelerators.
    found = jnp.searchsorted(count, drawn, side="right", method="compare_all")
    other_top, other_left = jnp.divmod(found, columns.size)
    return Patch(top, left, side, side), Patch(other_top, other_left, side, side)


def check_patch(name: str, patch: object) -> None:
    """A `Patch` of one place."""
    advice = "Patch(top, left, height, width) makes one"
    _checks.instance(name, patch, Patch, advice)
    for edge in ("top", "left"):
        if np.ndim(getattr(patch, edge)):
            raise ValueError(
                f"`{name}.{edge}` has shape {np.shape(getattr(patch, edge))}: these are "
                "several patches; use jax.vmap over them."
            )


def check_one_size(first: Patch, second: Patch) -> None:
    """Two patches of equal height and width."""
    check_patch("first", first)
    check_patch("second", second)
    if (first.height, first.width) != (second.height, second.width):
        raise ValueError(
            f"`second` is {second.height} x {second.width}, `first` is {first.height} x "
            f"{first.width}; a random order needs patches of one size."
        )


def check_room(image_size: tuple[int, int], side: int, distance: int) -> tuple[int, int]:
    """Side and distance of two square patches that fit an image."""
    side = _checks.at_least("patch_size", side, 1)
    distance = _checks.at_least("distance", distance, 0)
    largest = max(image_size) - 2 * side
    if min(image_size) < side or largest < 0:
        raise ValueError(
            f"`patch_size={side}`: two such patches do not fit an image of "
            f"{image_size[0]} x {image_size[1]}."
        )
    if distance > largest:
        raise ValueError(
            f"`distance={distance}` between two {side} x {side} patches does not fit an "
            f"image of {image_size[0]} x {image_size[1]}; the maximum is {largest}."
        )
    return side, distance


def check_images(name: str, x: jax.Array) -> None:
    """Images (B, H, W, C)."""
    if x.ndim != 4:
        raise ValueError(f"`{name}` must be images (B, H, W, C), got shape {x.shape}.")


def check_inside(name: str, patch: Patch, shape: tuple[int, ...]) -> None:
    """A patch lies in images of shape (B, H, W, C), as far as that is visible."""
    check_patch(name, patch)
    axes = (
        ("height", "top", patch.top, patch.height, shape[1]),
        ("width", "left", patch.left, patch.width, shape[2]),
    )
    for extent, edge, start, size, limit in axes:
        if size > limit:
            raise ValueError(f"`{name}.{extent}={size}` exceeds the image's {limit}.")
        if _checks.concrete(start) and not 0 <= int(start) <= limit - size:
            raise ValueError(
                f"`{name}.{edge}={int(start)}` puts a patch of {extent} {size} outside "
                f"the image of {extent} {limit}; the range is 0 to {limit - size}."
            )


def check_apart(
    patch: Patch, other: Patch, names: tuple[str, str] = ("patch", "other_patch")
) -> None:
    """Two patches do not overlap, as far as that is visible."""
    gap = patch_gap(patch, other)
    if _checks.concrete(gap) and int(gap) < 0:
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` overlap: {patch} and {other}. The content of "
            "one is swapped, so the other must lie outside it."
        )


def _place(name: str, value: object) -> Place:
    """A row or column as Python integer, or an integer array of jax as it is."""
    if not isinstance(value, jax.Array):
        return _checks.at_least(name, value, 0)
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"`{name}` must be an integer, got {value.dtype}.")
    if _checks.concrete(value) and value.size and int(value.min()) < 0:
        raise ValueError(f"`{name}={int(value.min())}` must be at least 0.")
    return value


def _corner(patch: Patch) -> tuple[jax.Array, ...]:
    top, left = (jnp.asarray(at).astype(jnp.int32) for at in (patch.top, patch.left))
    return (jnp.int32(0), top, left, jnp.int32(0))


def _maximum(values: list[Place]) -> jax.Array:
    return jnp.max(jnp.stack([jnp.asarray(value).astype(jnp.int32) for value in values]))
