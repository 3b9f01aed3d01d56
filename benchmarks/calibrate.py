"""Times what a plan chose between, on the default device."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks, _numerics
from htfjax.contraction.end_tensor import contract_root, khatri_rao
from htfjax.contraction.plan import Costs, Plan
from htfjax.contraction.timing import seconds_inside, with_gradient

__all__ = ["measure_plan"]

Operands = tuple[list[jax.Array], jax.Array | None, list[jax.Array | None]]


def measure_plan(plan: Plan, *, repeats: int = 9) -> Costs:
    """Measured seconds of value and gradient of every alternative at every node.

    Each is a small program of its own on float32 operands of the sizes that the
    plan's other choices give them, so that the sum over nodes is what the plan costs up
    to overlap. Alternatives whose operands would need more than 2^24 rows are left out.

    Args:
      plan: from `contraction_plan` or `loss_plan`.
      repeats: calls of each program, of which the median counts.

    Returns:
      What `plan.costs` holds, measured; `plan.explain(measured)` prints both.

    Raises:
      TypeError, ValueError: no plan, `repeats` below 1.

    Example:
      >>> import htfjax as htf
      >>> plan = htf.contraction_plan(htf.flat(2), 8, (4,), 20)
      >>> "measured" in plan.explain(htf.measure_plan(plan, repeats=1))
      True
    """
    _checks.instance("plan", plan, Plan, "`contraction_plan` makes one")
    repeats = _checks.at_least("repeats", repeats, 1)
    return tuple(
        tuple((route, _alternative(plan, k, route, repeats)) for route, _ in costs)
        for k, costs in enumerate(plan.costs)
    )


def _alternative(plan: Plan, node: int, route: str, repeats: int) -> float:
    if node < plan.tree.order:
        return 0.0  # a leaf's table is its matrix
    function = {
        "table": _table,
        "dense": _dense,
        "masked": _masked,
    }.get(route, _rows)
    tables, weight, reads = _operands(plan, node, route)
    work = with_gradient(lambda arrays: function((arrays[0], arrays[1], reads)))
    found = seconds_inside(work, (tables, weight), repeats=repeats)
    if found < 1e-4:  # too short to be told from the call itself
        found = seconds_inside(work, (tables, weight), repeats=repeats, inner=300)
    return found


def _rows(operands: Operands) -> jax.Array:
    """Rows of the children, read where they are not per observation, times the matrix."""
    tables, weight, reads = operands
    joint = _numerics.product(
        [
            table if read is None else table[read]
            for table, read in zip(tables, reads, strict=True)
        ]
    )
    return joint if weight is None else jnp.matmul(joint, weight, precision="highest")


def _table(operands: Operands) -> jax.Array:
    tables, weight, _ = operands
    assert weight is not None
    return jnp.matmul(khatri_rao(tables), weight, precision="highest")


def _dense(operands: Operands) -> jax.Array:
    tables, weight, (read, *_) = operands
    return contract_root(tables, weight, "highest")[read]


def _masked(operands: Operands) -> jax.Array:
    tables, weight, _ = operands
    values = contract_root(tables, weight, "highest")
    return values * (values - 1)


def _operands(plan: Plan, node: int, route: str) -> Operands:
    tree = plan.tree
    columns = 1 if node == tree.root else plan.width(tree.parent[node])
    width = plan.width(node)
    count = plan.count(node, "rows" if route == "gather" else route)
    tables: list[jax.Array] = []
    reads: list[jax.Array | None] = []
    for child in tree.children[node]:
        below = plan.routes[child] if route in ("rows", "dedup", "gather") else "table"
        size = plan.count(child, below)
        tables.append(_filled(size, width))
        per_row = below == "rows" and route != "dedup"
        reads.append(None if per_row else _read(size, count))
    if route == "dense":
        size = math.prod(table.shape[0] for table in tables)
        reads = [_read(size, plan.batch)]
    return tables, _filled(width, columns), reads


def _filled(rows: int, columns: int) -> jax.Array:
    """Values of both signs; what they are does not matter for speed."""
    angles = jnp.arange(rows * columns, dtype=jnp.float32).reshape(rows, columns)
    return jnp.cos(angles)


def _read(size: int, count: int) -> jax.Array:
    """Rows out of order, as observations come."""
    return jnp.asarray(np.arange(count) * 7919 % size, jnp.int32)
