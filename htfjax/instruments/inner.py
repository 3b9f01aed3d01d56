"""Inner products, norms and distances of end tensors that are never formed."""

import dataclasses
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from htfjax import _checks, _numerics
from htfjax._types import Array, Float, Precision
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import layout_of
from htfjax.factors.stacks import Opened, alike, with_ones
from htfjax.instruments.gram import scaled_inner_product
from htfjax.instruments.qr_sweep import Core, read_off_cores

Method = Literal["auto", "qr", "gram"]
METHODS = get_args(Method)
Scaled = tuple[jax.Array, jax.Array]  # mantissa (), exponent () int32


def squared_norm(
    factors: AnyFactors, *, precision: Precision = "highest"
) -> Float[Array, ""]:
    """||W||_F^2 without the tensor, from Gram matrices: R^3 per node, not prod D.

    Args:
      factors: any tree; grouped ones compile by levels, not by nodes.
      precision: of the matrix products.

    Raises:
      TypeError, ValueError: malformed factors.

    Source: law D2 (W = Phi E^T at every node).

    Example:
      >>> import htfjax as htf
      >>> cube = htf.identity_factors(htf.flat(64), 3, 3, 1.0, root="ones")
      >>> round(float(htf.squared_norm(cube)), 4)
      3.0
    """
    (held,) = alike(factors)
    _checks.precision("precision", precision)
    return _numerics.shifted(*scaled_inner_product(held, held, precision=precision))


def inner_product(
    one: AnyFactors, other: AnyFactors, *, precision: Precision = "highest"
) -> Float[Array, ""]:
    """<W, W'> of two factorizations on one tree, without the tensors.

    Args:
      one, other: the same tree, mode dimensions and dtype; widths may differ.
      precision: of the matrix products.

    Raises:
      TypeError, ValueError: malformed factors, other trees, dimensions or dtypes.

    Source: law D2.

    Example:
      >>> import htfjax as htf
      >>> small = htf.identity_factors(htf.flat(64), 3, 2, 1.0, root="ones")
      >>> large = htf.identity_factors(htf.flat(64), 3, 3, 1.0, root="ones")
      >>> round(float(htf.inner_product(small, large)), 4)
      2.0
    """
    check_pair(one, other)
    _checks.precision("precision", precision)
    return _numerics.shifted(*scaled_inner_product(*alike(one, other), precision=precision))


def distance(
    one: AnyFactors,
    other: AnyFactors,
    *,
    method: Method = "auto",
    precision: Precision = "highest",
) -> Float[Array, ""]:
    """||W - W'||_F of two factorizations on one tree, without the tensors.

    "qr" joins the components of both into one factorization of W - W' and sweeps QR
    decompositions: errors are eps (||W|| + ||W'||). "gram" takes three inner products:
    cheaper, but they cancel, so that distances below sqrt(eps) times the norms are noise.

    Args:
      one, other: the same tree, mode dimensions and dtype; widths may differ.
      method: "qr" or "gram"; "auto" is the accurate one, "qr".
      precision: of the matrix products.

    Returns:
      A distance, with derivative zero where it is zero.

    Raises:
      TypeError, ValueError: malformed factors, other trees, dimensions or dtypes, an
        unknown method.

    Source: law D2; exact population error.

    Example:
      >>> import htfjax as htf
      >>> small = htf.identity_factors(htf.flat(64), 3, 2, 1.0, root="ones")
      >>> large = htf.identity_factors(htf.flat(64), 3, 3, 1.0, root="ones")
      >>> round(float(htf.distance(small, large)), 4)
      1.0
    """
    check_pair(one, other)
    _checks.one_of("method", method, METHODS)
    _checks.precision("precision", precision)
    first, second = alike(one, other)
    square, exponent = scaled_squared_distance(first, second, method, precision=precision)
    odd = exponent % jnp.int32(2)
    square = square * _numerics.two_to(odd, square.dtype)
    zero = square == 0
    root = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square)))
    return _numerics.shifted(root, (exponent - odd) // jnp.int32(2))


def scaled_squared_distance(
    one: Opened, other: Opened, method: Method, *, precision: Precision = "highest"
) -> Scaled:
    """||W - W'||^2 of a pair in the same groups: mantissa, zero or more, and exponent."""
    if method != "gram":
        layout, stacks = difference(one, other)
        root = [layout.tree.root]
        return read_off_cores(_squared_core, layout, stacks, root, precision=precision)
    parts = [
        scaled_inner_product(a, b, precision=precision)
        for a, b in ((one, one), (one, other), (other, other))
    ]
    # A zero has exponent 0, which must not hide the others.
    low = jnp.int32(-(2**20))
    tops = [jnp.where(x == 0, low, e) for x, e in parts]
    top = jnp.maximum(jnp.maximum(tops[0], tops[1] + jnp.int32(1)), tops[2])
    top = jnp.where(top == low, jnp.int32(0), top)
    mine, both, theirs = (_numerics.shifted(x, e - top) for x, e in parts)
    square = mine - 2 * both + theirs
    # Rounding may leave less than nothing; the derivative is the exact one all the same.
    return square + jax.lax.stop_gradient(jnp.maximum(square, 0) - square), top


def difference(one: Opened, other: Opened) -> Opened:
    """Factors of W - W': components side by side, matrices block by block.

    Matrices fixed in both stay fixed; a node that is fixed in one only carries no
    derivative for that one.
    """
    layout, last = one[0], len(one[0].groups) - 1
    stacks = []
    pairs = zip(with_ones(*one), with_ones(*other), strict=True)
    for g, (a, b) in enumerate(pairs):
        if g == last:
            stacks.append(jnp.concatenate([a, -b], axis=1))
        elif g not in layout.inner_groups:
            stacks.append(jnp.concatenate([a, b], axis=2))
        else:
            upper = jnp.pad(a, ((0, 0), (0, b.shape[1]), (0, 0)))
            lower = jnp.pad(b, ((0, 0), (a.shape[1], 0), (0, 0)))
            stacks.append(jnp.concatenate([upper, lower], axis=2))
    both = zip(layout.inner_widths, other[0].inner_widths, strict=True)
    joined = dataclasses.replace(
        layout,
        widths=(*layout.dims, *(a + b for a, b in both)),
        fixed=tuple(sorted(set(layout.fixed) & set(other[0].fixed))),
        has_root=True,
    )
    return joined, tuple(stacks)


def _squared_core(cores: list[tuple[tuple[int, ...], Core]]) -> Scaled:
    """The square of the one value of the root's core."""
    ((_, core),) = cores
    squares = [jnp.square(side[0, 0, 0]) for side in (core.left, core.right)]
    if core.left_excess is not None:
        squares[0] += core.left_excess[0, 0, 0]
        squares[1] += core.right_excess[0, 0, 0]
    return squares[0] * squares[1], 2 * core.exponents[0]


def check_pair(
    one: object, other: object, names: tuple[str, str] = ("one", "other")
) -> None:
    """Two factorizations on one tree, with the same mode dimensions and dtype."""
    here, there = layout_of(one, names[0]), layout_of(other, names[1])
    both = f"`{names[0]}` and `{names[1]}`"
    if (here.tree, here.dims) != (there.tree, there.dims):
        raise ValueError(
            f"{both} must have one tree and the same mode dimensions, got "
            f"{here.dims} on the tree\n{here.tree}\nand "
            f"{there.dims} on the tree\n{there.tree}"
        )
    if here.dtype != there.dtype:
        raise TypeError(
            f"{both} must have one dtype, got {here.dtype} and "
            f"{there.dtype}; cast one of them."
        )
