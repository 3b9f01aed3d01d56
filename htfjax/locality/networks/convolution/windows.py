"""Windows of images, gathered (im2col) and added up again where they overlap."""

import jax
import jax.numpy as jnp
from jax import lax


def num_windows(size: int, window: int, stride: int, padding: int) -> int:
    """The number of windows of one axis within the padded image."""
    return (size + 2 * padding - window) // stride + 1


def window_rows(
    x: jax.Array, window: tuple[int, int], stride: int, padding: int
) -> jax.Array:
    """(B, H, W, C) -> (B, h, w, high wide C), the window of each output pixel as a row."""
    h, w = (
        num_windows(n, k, stride, padding)
        for n, k in zip(x.shape[1:3], window, strict=True)
    )
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    parts = [
        lax.slice(
            x,
            (0, a, c, 0),
            (x.shape[0], a + stride * (h - 1) + 1, c + stride * (w - 1) + 1, x.shape[3]),
            (1, stride, stride, 1),
        )
        for a in range(window[0])
        for c in range(window[1])
    ]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=3)


def overlap_add(
    windows: jax.Array, sizes: tuple[int, int], stride: int, padding: int
) -> jax.Array:
    """(B, h, w, high, wide, C) -> (B, H, W, C), each pixel what all windows say of it.

    The transpose of `window_rows`, one axis after the other and phase by phase: pixels
    s i + f for one f need no zeros in between, which XLA is slow to add.
    """
    high, wide = windows.shape[3:5]
    rows = [
        _phases([windows[:, :, :, a, c] for c in range(wide)], 2, sizes[1], stride, padding)
        for a in range(high)
    ]
    grid = [
        _phases(list(part), 1, sizes[0], stride, padding)
        for part in zip(*rows, strict=True)
    ]
    # grid[f'][f]: pixels (s i + f, s j + f') of the padded image.
    x = jnp.stack([jnp.stack(phases, 2) for phases in grid], 4)
    x = x.reshape(x.shape[0], x.shape[1] * stride, x.shape[3] * stride, x.shape[5])
    ends = [padding + n for n in sizes]
    return x[:, padding : ends[0], padding : ends[1]]


def shifted(
    x: jax.Array, axis: int, window: int, stride: int, padding: int, fill: float
) -> list[jax.Array]:
    """x[s i + a - p] for each a of a window along one axis, `fill` outside of the image.

    Slices of phases (pixels s i + f for one f), whose derivatives need no zeros in between.
    """
    size = x.shape[axis]
    count = num_windows(size, window, stride, padding)
    blocks = count + (window - 1) // stride
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (padding, blocks * stride - padding - size, 0)
    x = lax.pad(x, jnp.asarray(fill, x.dtype), pads)
    x = x.reshape(*x.shape[:axis], blocks, stride, *x.shape[axis + 1 :])
    parts = lax.split(x, (1,) * stride, axis + 1)
    phases = [lax.squeeze(part, (axis + 1,)) for part in parts]
    return [
        lax.slice_in_dim(phases[a % stride], a // stride, a // stride + count, axis=axis)
        for a in range(window)
    ]


def _phases(
    parts: list[jax.Array], axis: int, size: int, stride: int, padding: int
) -> list[jax.Array]:
    """From entries a of all windows, pixels s i + f of the padded axis for each f."""
    blocks = -(-(size + 2 * padding) // stride)
    count = parts[0].shape[axis]
    phases = []
    for f in range(stride):
        moved = []
        for a in range(f, len(parts), stride):
            pads = [(0, 0)] * parts[a].ndim
            pads[axis] = (a // stride, blocks - count - a // stride)
            moved.append(jnp.pad(parts[a], pads))
        # Where the stride is longer than the window, no window reaches some pixels.
        phases.append(sum(moved[1:], moved[0]) if moved else jnp.zeros_like(phases[0]))
    return phases
