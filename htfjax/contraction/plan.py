"""Contraction plans: how the entries of factors at many indices are read, node by node.

Three ways to hold a node's values, from cheap to general: a "table" with one row for
every combination of its modes, "dedup" with one row for every distinct combination that
is observed, and "rows" with one row per observation. Tables need tables below them; the
others gather rows from tables and dedups. At the root the values are read per observation
("gather"), or the whole tensor is made ("dense"), as tables allow.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._platforms import PLATFORMS, Platform, check_platform, default_platform
from htfjax._types import Dims
from htfjax.contraction.rates import ADVICE, SHIPPED, Rates
from htfjax.trees.mode_tree import ModeTree, TreeLike, as_tree

NodeRoute = Literal["table", "dedup", "rows"]
RootRoute = Literal["gather", "dense", "masked"]
NODE_ROUTES, ROOT_ROUTES = get_args(NodeRoute), get_args(RootRoute)
# How a root that is contracted by a route reads its children.
HELD_AT_ROOT: dict[str, NodeRoute] = {"gather": "rows", "dense": "table", "masked": "table"}
LARGEST_TABLE = 2**24
# Rows, columns or terms at which a matrix product runs at half its rate.
NARROW = 48
# For every node, seconds of its alternatives.
Costs = tuple[tuple[tuple[str, float], ...], ...]
BYTES = 4  # plans are weighed in float32; float64 doubles all terms alike


@dataclasses.dataclass(frozen=True)
class Plan:
    """A way to contract, static and hashable; made by `contraction_plan`.

    Attributes:
      routes: for every node but the root "table", "dedup" or "rows".
      root: "gather", "dense", or "masked" (dense, compared in place with the mean
        targets; losses only).
      costs: for every node, predicted seconds of value and gradient of its alternatives.
      distinct: number of distinct observed sub-tuples of every node, where known.

    Example:
      >>> import htfjax as htf
      >>> rates = htf.Rates(1e11, 1e10, 2e9, 1e-6)
      >>> plan = htf.contraction_plan(htf.flat(2), 8, (4,), 20, rates=rates)
      >>> isinstance(plan, htf.Plan), len(plan.explain().splitlines())
      (True, 5)
    """

    tree: ModeTree
    mode_dims: tuple[int, ...]
    widths: tuple[int, ...]
    batch: int
    routes: tuple[str, ...]
    root: str
    costs: Costs
    distinct: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tree", as_tree(self.tree))
        count = self.tree.num_nodes
        for name, value, length in (
            ("mode_dims", self.mode_dims, self.tree.order),
            ("widths", self.widths, count - self.tree.order),
            ("routes", self.routes, count - 1),
            ("costs", self.costs, count),
            ("distinct", (0,) * count if self.distinct is None else self.distinct, count),
        ):
            if not isinstance(value, tuple) or len(value) != length:
                raise ValueError(
                    f"`{name}={_checks.spell(value)}` must be a tuple of {length}."
                )
        _checks.at_least("batch", self.batch, 0)
        for route in set(self.routes):
            _checks.one_of("routes", route, NODE_ROUTES)
        _checks.one_of("root", self.root, ROOT_ROUTES)
        _check_costs("costs", self.costs, (*self.routes, self.root))

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, with the predicted seconds of the chosen routes in place of all costs."""
        return _reprs.record(
            self,
            tree=self.tree,
            mode_dims=_reprs.sizes(self.mode_dims),
            widths=_reprs.sizes(self.widths),
            batch=self.batch,
            routes=self.routes,
            root=self.root,
            seconds=_reprs.digits(self.seconds),
        )

    @property
    def seconds(self) -> float:
        """Predicted seconds of value and gradient."""
        chosen = (*self.routes, self.root)
        return sum(
            dict(costs)[route] for costs, route in zip(self.costs, chosen, strict=True)
        )

    def width(self, node: int) -> int:
        """R_k: the mode dimension of a leaf, the width of a node inside."""
        node = _checks.node("node", self.tree, node)
        return (*self.mode_dims, *self.widths)[node]

    def count(self, node: int, route: str) -> int:
        """Rows that a node holds under a route: P_k, distinct sub-tuples, or B."""
        node = _checks.node("node", self.tree, node)
        _checks.one_of("route", route, (*NODE_ROUTES, *ROOT_ROUTES))
        if route == "dedup" and self.distinct is not None:
            return self.distinct[node]
        if route == "rows":
            return self.batch
        return math.prod(self.mode_dims[m] for m in self.tree.modes[node])

    def explain(self, measured: Costs | None = None) -> str:
        """A table: every node, its alternatives with predicted milliseconds, a * at the
        chosen one.

        Args:
          measured: seconds in the form of `costs`, to stand beside what was predicted;
            `python -m benchmarks.calibrate` measures them.
        """
        if measured is not None:
            _check_costs("measured", measured, (*self.routes, self.root))
        what = "predicted ms" if measured is None else "predicted / measured ms"
        lines = [f"{'node':>6}  {'modes':<16} alternatives, {what} (* chosen)"]
        chosen = (*self.routes, self.root)
        for k, costs in enumerate(self.costs):
            modes = ",".join(map(str, self.tree.modes[k][:5]))
            modes += ",..." if len(self.tree.modes[k]) > 5 else ""
            seen = {} if measured is None else dict(measured[k])
            options = "  ".join(
                f"{'*' if route == chosen[k] else ' '}{route} {1e3 * cost:.4f}"
                + (f" / {1e3 * seen[route]:.4f}" if route in seen else "")
                for route, cost in costs
            )
            lines.append(f"{k:>6}  {modes:<16} {options}")
        lines.append(f"in all {1e3 * self.seconds:.4f} ms predicted")
        if measured is not None:
            total = sum(dict(costs)[r] for costs, r in zip(measured, chosen, strict=True))
            lines.append(f"in all {1e3 * total:.4f} ms measured, node by node")
        return "\n".join(lines)


def contraction_plan(
    tree: TreeLike,
    mode_dims: Dims,
    widths: Dims,
    batch: int,
    *,
    distinct: Sequence[int] | None = None,
    masked: bool = False,
    rates: Rates | None = None,
    platform: Platform | None = None,
    force: NodeRoute | RootRoute | None = None,
) -> Plan:
    """The cheapest plan by predicted time of value and gradient.

    Seconds of a node = 3 x flops / rate of matrix products + bytes / rate of streaming +
    gathered bytes / rate of gathering + rows x cost of one + operations x cost of one.
    Products narrower than
    about 50 count their flops more than once, as they run below that rate.

    Args:
      tree, mode_dims: of the factors.
      widths: R_v: one int, one per interior node, ascending, or one per height.
      batch: number of observations B.
      distinct: number of distinct observed sub-tuples for every node, which allows
        "dedup"; None where it is not known.
      masked: whether a loss offers its targets as a dense array.
      rates: of the device; by default those of the platform.
      platform: "cpu", "cuda" or "tpu", whose `platform_rates` count; by default that of
        the default device. What contracts by itself (`entries`, losses) takes the plan of
        the platform that its program is lowered for.
      force: "rows", "table" or "dedup" to take that route wherever it is possible, or a
        root route.

    Raises:
      TypeError, ValueError: dimensions, widths or counts in the wrong number or below
        their least; an unknown platform or `force`, or one that the data or the size do
        not allow.

    Source: cost formulas of our own; `benchmarks/README.md` has predicted and measured.

    Example:
      >>> import htfjax as htf
      >>> rates = htf.Rates(
      ...     flops=1e11, stream_bytes=1e10, gather_bytes=2e9, step_seconds=1e-6)
      >>> plan = htf.contraction_plan(htf.perfect(4), 8, (512, 512, 512), 2048, rates=rates)
      >>> plan.routes[4], plan.root
      ('table', 'dense')
    """
    tree = as_tree(tree)
    dims = _checks.mode_dims(tree.order, mode_dims)
    sizes = _checks.node_widths(tree, widths)
    batch = _checks.at_least("batch", batch, 0)
    counts = None if distinct is None else _check_distinct(tree, distinct)
    masked = _checks.flag("masked", masked)
    named = None if platform is None else check_platform(platform, ADVICE)
    if rates is None:
        rates = SHIPPED[named or default_platform()]
    _checks.instance("rates", rates, Rates, "`platform_rates` has those that ship")
    if force is not None:
        _checks.one_of("force", force, (*NODE_ROUTES, *ROOT_ROUTES))
    return _plan(tree, dims, sizes, batch, counts, masked, rates, force)


@functools.lru_cache(maxsize=1024)
def platform_plans(
    tree: ModeTree,
    dims: tuple[int, ...],
    widths: tuple[int, ...],
    batch: int,
    distinct: tuple[int, ...] | None = None,
    masked: bool = False,
) -> Mapping[str, Plan]:
    """The cheapest plan for every platform, for `by_platform`; all were checked before.

    Platforms with the same routes get the same plan, whatever each expects them to cost.
    """
    plans: dict[str, Plan] = {}
    first: dict[tuple, Plan] = {}
    for name in PLATFORMS:
        plan = _plan(tree, dims, widths, batch, distinct, masked, SHIPPED[name], None)
        plans[name] = first.setdefault((plan.routes, plan.root), plan)
    return plans


def _check_distinct(tree: ModeTree, distinct: object) -> tuple[int, ...]:
    counts = _checks.sequence("distinct", distinct, "counts")
    if len(counts) != tree.num_nodes:
        raise ValueError(
            f"`distinct` has {len(counts)} counts, the tree {tree.num_nodes} nodes."
        )
    return tuple(_checks.at_least("distinct", count, 0) for count in counts)


def _check_costs(name: str, costs: Costs, chosen: tuple[str, ...]) -> None:
    """Seconds of the alternatives of every node, the chosen ones among them."""
    try:
        held = [dict(node) for node in costs]
        sound = all(0 <= float(x) < math.inf for node in held for x in node.values())
    except (TypeError, ValueError):
        held, sound = [], False
    if len(held) != len(chosen) or not sound:
        raise ValueError(
            f"`{name}` must hold pairs of a route and its seconds for each of the "
            f"{len(chosen)} nodes, got {_checks.spell(costs)}."
        )
    for k, (node, route) in enumerate(zip(held, chosen, strict=True)):
        if route not in node:
            raise ValueError(f"`{name}[{k}]` has no seconds of the chosen {route!r}.")


@functools.lru_cache(maxsize=1024)
def _plan(
    tree: ModeTree,
    dims: tuple[int, ...],
    widths: tuple[int, ...],
    batch: int,
    distinct: tuple[int, ...] | None,
    masked: bool,
    rates: Rates,
    force: str | None,
) -> Plan:
    rows = (*dims, *widths)
    sizes = [math.prod(dims[m] for m in modes) for modes in tree.modes]
    work = _Work(tree, rows, sizes, batch, distinct, rates)
    node_costs = [work.node_costs(k) for k in range(tree.root)]
    root_costs = work.root_costs(masked)
    routes, root = _cheapest(work, node_costs, root_costs, force)
    return Plan(
        tree=tree,
        mode_dims=dims,
        widths=widths,
        batch=batch,
        routes=routes,
        root=root,
        costs=tuple(tuple(costs.items()) for costs in (*node_costs, root_costs)),
        distinct=distinct,
    )


@dataclasses.dataclass(frozen=True)
class _Work:
    """Predicted seconds of each alternative of each node."""

    tree: ModeTree
    rows: tuple[int, ...]  # R_k of every node
    sizes: list[int]  # P_k of every node
    batch: int
    distinct: Sequence[int] | None
    rates: Rates

    def count(self, node: int, route: str) -> int:
        """Rows held under a route."""
        if route == "table":
            return self.sizes[node]
        if route == "dedup":
            assert self.distinct is not None
            return self.distinct[node]
        return self.batch

    def node_costs(self, node: int) -> dict[str, float]:
        """A leaf's table is its matrix; inside, Hadamard products and one GEMM."""
        tree, columns = self.tree, self.rows[self.tree.parent[node]]
        if not tree.children[node]:
            return {"table": 0.0}
        costs = {}
        for route in NODE_ROUTES:
            if route == "dedup" and self.distinct is None:
                continue
            count = self.count(node, route)
            if count > LARGEST_TABLE:
                continue
            flops = product_flops(count, self.rows[node], columns)
            moved = (
                BYTES
                * count
                * (6 * self.rows[node] * len(tree.children[node]) + 4 * columns)
            )
            costs[route] = self._seconds(flops, moved, 8)
        return costs

    def gather(self, child: int, count: int) -> float:
        """Reading `count` rows of a table or dedup, and adding back their cotangents."""
        moved = 4 * BYTES * count * self.rows[self.tree.parent[child]]
        return moved / self.rates.gather_bytes + count * self.rates.row_seconds

    def root_costs(self, masked: bool) -> dict[str, float]:
        """Per observation, or one GEMM of two groups of children."""
        tree, width = self.tree, self.rows[self.tree.root]
        kids, size = tree.children[tree.root], self.sizes[tree.root]
        moved = 6 * BYTES * self.batch * width * len(kids)
        costs = {"gather": self._seconds(0, moved, 2)}
        if size <= LARGEST_TABLE:
            sizes = [self.sizes[c] for c in kids]
            left = math.prod(sizes[: cheapest_cut(sizes)])
            flops = product_flops(left, width, size // left)
            dense = self._seconds(flops, 4 * BYTES * size, 4)
            read = self.batch * self.rates.row_seconds
            costs["dense"] = dense + read
            if masked:
                costs["masked"] = dense + 4 * BYTES * size / self.rates.stream_bytes
        return costs

    def _seconds(self, flops: float, moved: float, steps: int) -> float:
        rates = self.rates
        return flops / rates.flops + moved / rates.stream_bytes + steps * rates.step_seconds


def product_flops(rows: int, terms: int, columns: int) -> float:
    """Flops of a product and its two derivatives, more for a narrow one, which is slow."""
    return 6 * rows * terms * columns * (1 + NARROW / min(rows, terms, columns))


def cheapest_cut(sizes: list[int]) -> int:
    """Split of the root's children into two groups with fewest rows."""
    if len(sizes) == 1:
        return 1
    cuts = range(1, len(sizes))
    return min(cuts, key=lambda c: math.prod(sizes[:c]) + math.prod(sizes[c:]))


def _cheapest(
    work: _Work,
    node_costs: list[dict[str, float]],
    root_costs: dict[str, float],
    force: str | None,
) -> tuple[tuple[str, ...], str]:
    """Dynamic programming from the leaves: best[k][route] is the cost of k's subtree."""
    tree = work.tree
    best: list[dict[str, float]] = []
    below: list[dict[str, list[str]]] = []  # the children's routes that go with it
    totals: dict[str, float] = {}
    for k, costs in enumerate((*node_costs, root_costs)):
        totals, picks = {}, {}
        for route, cost in costs.items():
            held = HELD_AT_ROOT.get(route, route)
            parts = [_best_child(work, best, c, held, work.count(k, held))
                     for c in tree.children[k]]  # fmt: skip
            if all(part is not None for part in parts):
                totals[route] = cost + sum(part[0] for part in parts if part)
                picks[route] = [part[1] for part in parts if part]
        totals = _only(totals, force, ROOT_ROUTES if k == tree.root else NODE_ROUTES)
        best.append(totals)
        below.append(picks)
    if force is not None and force not in NODE_ROUTES and force not in totals:
        raise ValueError(f"`force={force!r}` is not possible here: {sorted(totals)} are.")
    root = min(totals, key=lambda route: totals[route])
    routes = [""] * tree.root
    pending = list(zip(tree.children[tree.root], below[tree.root][root], strict=True))
    while pending:
        node, route = pending.pop()
        routes[node] = route
        pending.extend(zip(tree.children[node], below[node][route], strict=True))
    return tuple(routes), root


def _best_child(
    work: _Work, best: list[dict[str, float]], child: int, parent_route: str, count: int
) -> tuple[float, str] | None:
    """The cheapest route of a child that a parent's route can read from."""
    options = {}
    for route, cost in best[child].items():
        if parent_route == "table":
            if route == "table":
                options[route] = cost
        elif route != "rows":
            options[route] = cost + work.gather(child, count)
        elif parent_route == "rows":
            options[route] = cost
    if not options:
        return None
    route = min(options, key=lambda r: options[r])
    return options[route], route


def _only(
    totals: dict[str, float], force: str | None, kinds: tuple[str, ...]
) -> dict[str, float]:
    if force in kinds and force in totals:
        return {force: totals[force]}
    return totals
