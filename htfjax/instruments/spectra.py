"""Spectra: singular values of matricizations, by the cheapest accurate route."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from wadler_lindig import AbstractDoc

from htfjax import _checks, _reprs
from htfjax._types import Array, Float, Int
from htfjax.contraction.end_tensor import contracted
from htfjax.factors.factors import AnyFactors
from htfjax.factors.layout import Layout, layout_of
from htfjax.factors.node_values import NodeValues, node_values
from htfjax.factors.stacks import alike, opened
from htfjax.instruments import singular
from htfjax.instruments.core_values import (
    floor,
    gram_accuracy,
    nuclear_norm_of_core,
    values_of_cores,
    values_of_grams,
)
from htfjax.instruments.gram import gram_pairs
from htfjax.instruments.qr_sweep import Cores, read_off_cores
from htfjax.instruments.rank_bound import check_modes, min_cut
from htfjax.instruments.ranks import count_above, matricize
from htfjax.instruments.singular import NOISE
from htfjax.instruments.sweep_costs import dense_cost, gram_cost, qr_cost

Method = Literal["auto", "dense", "qr", "gram"]
METHODS = get_args(Method)
LARGEST_DENSE = 2**31  # entries
AFFORDABLE = 10**10  # operations of the dense route


class Spectrum(NamedTuple):
    """Singular values, the route that found them, and how far they can be trusted.

    A pytree whose arrays are the values and the accuracy; the route is static.

    Example:
      >>> import htfjax as htf
      >>> deep = htf.identity_factors(htf.flat(2), 3, 3, 1.0, root="ones")
      >>> values, route, accuracy = htf.spectrum(deep, 0)
      >>> values.tolist(), route
      ([1.0, 1.0, 1.0], 'dense')
    """

    values: jax.Array  # (K,) descending
    route: str  # "dense", "qr" or "gram"
    accuracy: jax.Array  # (), errors are below this times the largest value

    def __repr__(self) -> str:
        return _reprs.text(self)

    def __pdoc__(self, **_: object) -> AbstractDoc:
        """Fields, of the values the first and the last."""
        return _reprs.record(
            self,
            values=_reprs.ends(self.values),
            route=self.route,
            accuracy=self.accuracy,
        )


jax.tree_util.register_pytree_node(
    Spectrum,
    lambda s: ((s.values, s.accuracy), s.route),
    lambda route, arrays: Spectrum(arrays[0], route, arrays[1]),
)


def singular_values(
    factors: AnyFactors, node_or_modes: int | Sequence[int], method: Method = "auto"
) -> Float[Array, "K"]:
    """Singular values of a matricization of the end tensor, descending.

    Args:
      factors: any tree.
      node_or_modes: a node id (its modes are the rows), or the rows' modes, which need
        not be those of a node.
      method: "auto", "dense", "qr" or "gram", see `spectrum`.

    Returns:
      For node v, min(P_v, P_rest, R_v, R_parent(v)) values: no more can be nonzero
      (law D3). For a list of modes, min(P_rows, P_rest) by the dense route, which "auto"
      takes while it is affordable; else as for the node with these modes.

    Raises:
      TypeError, ValueError: malformed factors, an unknown node, mode or method; a tensor
        too large for the dense route.

    Source: arXiv:2201.11729, hierarchical tensor rank; laws D1-D3.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 3, 1.0)
      >>> htf.singular_values(factors, 4).shape, htf.singular_values(factors, (0, 2)).shape
      ((3,), (16,))
    """
    return spectrum(factors, node_or_modes, method=method).values


def spectrum(
    factors: AnyFactors,
    node_or_modes: int | Sequence[int],
    *,
    accuracy: float | None = None,
    method: Method = "auto",
) -> Spectrum:
    """Singular values of a matricization, the route taken and its accuracy.

    Routes: "dense" contracts the tensor and decomposes a matricization; "qr" sweeps QR
    decompositions through the tree, as accurate; "gram" sweeps Gram matrices, by far the
    fastest, but squares lose half the digits. The last two never form the tensor and need
    rows that are a node's modes, or all but those.

    First and second derivatives are finite on every route. Of values that agree to
    rounding neither is a derivative, for there is none: the first ones are those of some
    singular vectors, the second ones leave out what couples the equal values. Both are
    right for the sum of these values (see `nuclear_norm`), whose derivatives exist; smooth
    functions that bend with the values, entropies for example, have others there. Values
    that are zero have derivative zero or that of some singular vectors.

    Args:
      factors: any tree.
      node_or_modes: a node id, or the rows' modes.
      accuracy: relative to the largest value, wanted of the route; by default what the
        dtype allows. (8 + 2 sqrt(width)) sqrt(eps) or more lets "auto" consider the Gram
        route.
      method: "auto" takes the cheapest accurate route, or a route by name.

    Returns:
      Values as `singular_values`. Accuracy is an estimate that grows where the factors
      cancel; values below it times the largest are noise.

    Raises:
      TypeError, ValueError: malformed factors, an unknown node, mode or method; an
        accuracy that no route, or not the one named, reaches; a tensor too large for the
        dense route, the error says how many bytes and which other route there is.

    Source: laws D1-D4; Gram route as in Grasedyck 2010 (hierarchical SVD).

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(16), 4, 3, 0.5)
      >>> found = htf.spectrum(factors, factors.tree.root - 1)
      >>> found.values.shape, found.route
      ((3,), 'qr')
    """
    way = _way(layout_of(factors), node_or_modes, accuracy, method)
    if way.route == "dense":
        matrix = matricize(contracted(*opened(factors)), way.modes)
        values = singular.singular_values(matrix)
        return Spectrum(values[: way.num_values], way.route, floor(values))
    return _sweep(factors, way.route, [way.node])[way.node]


def spectra(
    factors: AnyFactors, *, accuracy: float | None = None, method: Method = "auto"
) -> NodeValues[Spectrum]:
    """Spectra of the matricizations by all nodes but the root, in one sweep.

    Equal nodes are decomposed together; grouped factors compile fastest.

    Args, raises: as `spectrum`.

    Returns:
      node id -> Spectrum; all by one route. A pytree, see `NodeValues`.

    Source: laws D2 and D3.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(16), 4, 8, 0.5)
      >>> found = htf.spectra(factors, accuracy=1e-2)
      >>> len(found), found[20].values.shape, found[20].route
      (30, (8,), 'gram')
    """
    layout = layout_of(factors)
    nodes = list(range(layout.tree.root))
    costs = {
        "dense": dense_cost(layout, layout.sides[:-1]),
        "qr": qr_cost(layout, nodes),
        "gram": gram_cost(layout, nodes),
    }
    route = _choose(layout, method, accuracy, costs, None, (0,))
    if route != "dense":
        return _sweep(factors, route, nodes)
    tensor, counts, found = contracted(*opened(factors)), layout.counts, []
    for v in nodes:
        matrix = matricize(tensor, layout.tree.modes[v])
        values = singular.singular_values(matrix)
        found.append(Spectrum(values[None, : counts[v]], route, floor(values)[None]))
    return node_values(found, [(v,) for v in nodes])


def nuclear_norm(
    factors: AnyFactors, node_or_modes: int | Sequence[int]
) -> Float[Array, ""]:
    """Sum of the singular values of a matricization.

    Twice differentiable wherever as many values are positive as the widths allow, equal
    ones included; elsewhere the derivatives are those of the positive ones.

    Args, raises: as `singular_values`.

    Example:
      >>> import htfjax as htf
      >>> deep = htf.identity_factors(htf.flat(2), 3, 3, 1.0, root="ones")
      >>> float(htf.nuclear_norm(deep, (0,)))
      3.0
    """
    way = _way(layout_of(factors), node_or_modes, None, "auto")
    if way.route == "dense":
        return singular.nuclear_norm(
            matricize(contracted(*opened(factors)), way.modes), way.rank_bound
        )
    ((layout, stacks),) = alike(factors)
    return read_off_cores(
        lambda cores: nuclear_norm_of_core(cores[0][1], way.rank_bound),
        layout,
        stacks,
        [way.node],
    )


def hierarchical_rank(
    factors: AnyFactors, *, rtol: float | None = None, method: Method = "auto"
) -> NodeValues[Int[Array, ""]]:
    """Numerical rank of the end tensor's matricization by every node but the root.

    Args:
      factors: any tree.
      rtol: values count above this times the largest, by default K epsilon, and never
        below the accuracy of the route.
      method: as in `spectrum`.

    Returns:
      node id -> rank, int32.

    Raises:
      TypeError, ValueError: as `spectrum`.

    Source: arXiv:2201.11729, hierarchical tensor rank.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 3, 1.0)
      >>> int(htf.hierarchical_rank(factors, rtol=1e-4)[4])
      3
    """
    if rtol is not None:
        _checks.positive("rtol", rtol)
    found = spectra(factors, method=method)
    ranks = [
        count_above(s.values, jnp.maximum(_cut(s.values, rtol), s.accuracy[:, None]))
        for s in found.stacks
    ]
    return node_values(ranks, found.groups)


def _cut(values: jax.Array, rtol: float | None) -> jax.Array:
    """Least value that counts, relative to the largest: by default K epsilon."""
    least = values.shape[-1] * float(jnp.finfo(values.dtype).eps)
    return _checks.tolerance("rtol", least if rtol is None else rtol, values.dtype)


def _choose(
    layout: Layout,
    method: str,
    accuracy: float | None,
    costs: dict[str, int],
    preferred: str | None,
    modes: tuple[int, ...],
) -> str:
    """The cheapest of the routes in `costs` that fits in memory and is accurate."""
    _checks.one_of("method", method, METHODS)
    if jnp.finfo(layout.dtype).bits < 32:
        raise TypeError(
            f"`factors` are {layout.dtype}, in which nothing can be decomposed; cast them "
            "to float32."
        )
    promised = _promises(layout)
    if accuracy is not None:
        _checks.positive("accuracy", accuracy)
        if not _checks.concrete(accuracy):
            raise TypeError("`accuracy` must be known while tracing: it picks the route.")
        best = promised["gram"] if method == "gram" else promised["qr"]
        if accuracy < best:
            raise ValueError(
                f"`accuracy={accuracy}` is beyond "
                + ("every route" if method != "gram" else "`method='gram'`")
                + f" in {layout.dtype}, which reaches {best:.1e}; use "
                + ("method='qr'" if method == "gram" else "float64")
                + " or ask for less."
            )
    if not _fits(layout) and (method == "dense" or len(costs) == 1):
        raise ValueError(_too_large(layout, modes, tree_route=len(costs) > 1))
    if method != "auto":
        if method not in costs:
            raise ValueError(
                f"`method={method!r}` needs the modes of a node of the tree (or all but "
                f"those), `node_or_modes={modes}` are not; only method='dense' can do it."
            )
        return method
    wanted = 0.0 if accuracy is None else accuracy
    able = [
        route
        for route in costs
        if (route != "gram" or promised["gram"] <= wanted)
        and (route != "dense" or _fits(layout))
    ]
    if preferred in able:
        return str(preferred)
    return min(able, key=lambda route: costs[route])


def _promises(layout: Layout) -> dict[str, float]:
    """Accuracy that a route reaches where nothing cancels."""
    dtype = layout.dtype
    eps = float(jnp.finfo(dtype).eps)
    gram = 2 * gram_accuracy(max(layout.widths), dtype)
    return {"dense": NOISE * eps, "qr": NOISE * eps, "gram": gram}


def _fits(layout: Layout) -> bool:
    return layout.size <= LARGEST_DENSE


def _too_large(layout: Layout, modes: tuple[int, ...], *, tree_route: bool) -> str:
    entries = layout.size
    size = entries * jnp.dtype(layout.dtype).itemsize
    message = f"`method='dense'` needs {size} bytes for a tensor of {entries} entries; "
    if tree_route:
        return message + "use method='qr' or 'gram', which never form it."
    bound = min_cut(layout, modes)
    return message + (
        f"`node_or_modes={modes}` are not the modes of a node of the tree (or all but "
        f"those), so no other route exists. Their rank is at most {bound} (`rank_bound`)."
    )


def _sweep(factors: AnyFactors, route: str, nodes: list[int]) -> NodeValues[Spectrum]:
    """Spectra of some nodes, those of a group together."""
    ((layout, stacks),) = alike(factors)
    twins = _twins(layout, nodes)
    once = [k for k in nodes if k not in twins[1:]]
    if route == "qr":
        found = read_off_cores(_values_of_all_cores, layout, stacks, once)
    else:
        found = [values_of_grams(pair) for _, pair in gram_pairs(layout, stacks, once)]
    places = [tuple(k for k in group if k in once) for group in layout.groups]
    groups, held = [], []
    for some, (values, accuracy) in zip(filter(None, places), found, strict=True):
        # Where the tree has narrower places elsewhere cores are smaller: the rest is zero.
        count = layout.counts[some[0]]  # equal within a group
        padded = jnp.pad(values, ((0, 0), (0, max(0, count - values.shape[1]))))
        spectrum = Spectrum(padded[:, :count], route, accuracy)
        if some == twins[:1]:
            some = twins
            spectrum = jax.tree.map(lambda x: jnp.concatenate([x, x]), spectrum)
        groups.append(some)
        held.append(spectrum)
    return node_values(held, groups)


def _values_of_all_cores(cores: Cores) -> list[tuple[jax.Array, jax.Array]]:
    return [values_of_cores(core) for _, core in cores]


def _twins(layout: Layout, nodes: list[int]) -> tuple[int, ...]:
    """Two equal children of the root: each one's matricization is the other's transpose."""
    children = set(layout.tree.children[layout.tree.root])
    if len(children) != 2 or not children <= set(nodes):
        return ()
    return next((group for group in layout.groups if set(group) == children), ())


class _Way(NamedTuple):
    """Method by which the values of a matricization are computed."""

    route: str
    node: Any  # an id; None where only the dense route is open
    modes: tuple[int, ...]
    num_values: int  # to give
    rank_bound: int  # values that can be positive


def _way(
    layout: Layout, node_or_modes: int | Sequence[int], accuracy: float | None, method: str
) -> _Way:
    node, modes, count = _resolve(layout, node_or_modes)
    sides = layout.sides_of(modes)
    by_modes = isinstance(_checks.as_sequence(node_or_modes), Sequence)
    costs = {"dense": dense_cost(layout, [sides])}
    if node is not None:
        costs["qr"], costs["gram"] = qr_cost(layout, [node]), gram_cost(layout, [node])
    # Rows given as modes keep the length of their matrix while that is affordable.
    keep = by_modes and costs["dense"] < AFFORDABLE and _fits(layout)
    route = _choose(layout, method, accuracy, costs, "dense" if keep else None, modes)
    whole = by_modes and route == "dense"
    return _Way(route, node, modes, min(sides) if whole else count, count)


def _resolve(
    layout: Layout, node_or_modes: int | Sequence[int]
) -> tuple[int | None, tuple[int, ...], int]:
    """A node whose edge is meant (if any), the rows' modes, how many values it has."""
    tree, counts = layout.tree, layout.counts
    node_or_modes = _checks.as_sequence(node_or_modes)
    if not isinstance(node_or_modes, Sequence) or isinstance(node_or_modes, str):
        node = _checks.node("node_or_modes", tree, node_or_modes)
        return node, tree.modes[node], counts[node]
    modes = check_modes("node_or_modes", node_or_modes, tree.order)
    either = {tuple(sorted(modes)), tuple(sorted(set(range(tree.order)) - set(modes)))}
    same = [k for k in range(tree.num_nodes) if tree.modes[k] in either]
    if not same:
        return None, modes, min(layout.sides_of(modes))
    node = min(same, key=lambda k: counts[k])
    return node, modes, counts[node]
