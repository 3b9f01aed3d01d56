"""End tensor of factors, by one matrix product per node."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from htfjax import _checks
from htfjax._types import Array, Float, Precision
from htfjax.contraction.plan import cheapest_cut
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout
from htfjax.factors.stacks import Stacks, children_of, opened

# Above this the dense tensor is refused: 2**31 float64 numbers are 16 GiB.
LARGEST_SIZE = 2**31


def end_tensor(
    factors: AnyFactors, *, precision: Precision = "highest"
) -> Float[Array, "..."]:
    """The tensor that the factors parametrize.

    W[i_0..i_{N-1}] = sum over (r_v) of the product of all weight matrices, leaf n at
    [i_n, r_parent(n)], an interior node v at [r_v, r_parent(v)], the root at [r, 0].

    Args:
      factors: any tree, widths and mode dimensions.
      precision: of the matrix products (`jax.lax.Precision` or its name).

    Returns:
      (D_0, ..., D_{N-1}), axes in mode order whatever the tree, dtype of the factors.

    Raises:
      TypeError, ValueError: malformed factors, or a tensor of more than 2**31 entries.

    Source: arXiv:2201.11729, section 3 (recursion of intermediate tensors); law A1.

    Example:
      >>> import htfjax as htf, jax
      >>> tree = htf.ModeTree.from_nested((0, (2, 1)))
      >>> factors = htf.gaussian_factors(jax.random.key(0), tree, (2, 3, 4), 5, 1.0)
      >>> htf.end_tensor(factors).shape
      (2, 3, 4)
    """
    layout, stacks = opened(factors)
    _checks.precision("precision", precision)
    return contracted(layout, stacks, precision)


@functools.partial(jax.jit, static_argnames=("layout", "precision"), inline=True)
def contracted(
    layout: Layout, stacks: Stacks, precision: Precision = "highest"
) -> jax.Array:
    """The end tensor of opened factors, axes in mode order."""
    values, modes = flat_end_tensor(layout, stacks, precision)
    tensor = values.reshape([layout.dims[mode] for mode in modes])
    return jnp.transpose(tensor, [modes.index(mode) for mode in range(len(modes))])


def flat_end_tensor(
    layout: Layout, stacks: Stacks, precision: Precision = "highest"
) -> tuple[jax.Array, tuple[int, ...]]:
    """The end tensor (prod D,) with its modes in tree order, and that order."""
    _check_size(layout.dims)
    tables: list[jax.Array] = []  # per group (G, P_k, R_parent(k))
    for nodes, stack in zip(layout.groups[:-1], stacks, strict=False):
        below = children_of(layout, nodes, tables)
        tables.append(
            jnp.matmul(khatri_rao(below), stack, precision=precision) if below else stack
        )
    root = None if stacks[-1] is None else stacks[-1][0]
    kids = [table[0] for table in children_of(layout, layout.groups[-1], tables)]
    axes: list[tuple[int, ...]] = [(n,) for n in range(layout.tree.order)]
    for k in layout.tree.interior:
        axes.append(tuple(m for c in layout.below(k) for m in axes[c]))
    return contract_root(kids, root, precision), axes[-1]


def khatri_rao(tables: Sequence[jax.Array]) -> jax.Array:
    """Khatri-Rao product by rows: (..., P_1, R), (..., P_2, R) -> (..., P_1 P_2, R)."""
    product = tables[0]
    for table in tables[1:]:
        joint = product[..., :, None, :] * table[..., None, :, :]
        product = joint.reshape(*joint.shape[:-3], -1, joint.shape[-1])
    return product


def contract_root(
    tables: list[jax.Array], weight: jax.Array | None, precision: Precision
) -> jax.Array:
    """sum_r w[r] prod_c T_c[., r] as one matrix product of two groups of children."""
    if len(tables) == 1:
        ones = jnp.ones((tables[0].shape[1], 1), tables[0].dtype)
        column = ones if weight is None else weight
        return jnp.matmul(tables[0], column, precision=precision)[:, 0]
    cut = cheapest_cut([table.shape[0] for table in tables])
    left, right = khatri_rao(tables[:cut]), khatri_rao(tables[cut:])
    if weight is not None and left.shape[0] <= right.shape[0]:
        left = left * weight[:, 0][None, :]
    elif weight is not None:
        right = right * weight[:, 0][None, :]
    return row_products(left, right, precision).reshape(-1)


def row_products(left: jax.Array, right: jax.Array, precision: Precision) -> jax.Array:
    """Products of all pairs of rows: (P, R), (Q, R) -> (P, Q).

    Not `left @ right.T`: XLA would fold the transpose into the product that makes `right`,
    and a CPU is slow at the product of two transposes that this becomes.
    """
    along = (((1,), (1,)), ((), ()))
    return lax.dot_general(left, right, along, precision=precision)


def _check_size(dims: tuple[int, ...]) -> None:
    size = math.prod(dims)
    if size > LARGEST_SIZE:
        raise ValueError(
            f"`factors`: the end tensor of mode dimensions {dims} has {size} entries, at "
            f"least {4 * size} bytes, and {LARGEST_SIZE} entries are allowed: read single "
            "values with `entries` or `sense`, and singular values with method='qr'."
        )
