"""CP, Tucker and tensor-train tensors of tensorly."""

import contextlib
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from htfjax import _extras
from htfjax._integers import spell
from htfjax._types import Foreign
from htfjax.contraction.end_tensor import end_tensor
from htfjax.exchange.arrays import host_array, listed, outgoing
from htfjax.exchange.canonical import components
from htfjax.exchange.trains import check_train, from_train, train_cores
from htfjax.exchange.trees import check_order, to_transfer_tree
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.formats.classical import cp_factors, tucker_factors
from htfjax.formats.transfer_tensors import TransferTensors, check_size, joined
from htfjax.trees.builders import flat

KINDS = "a CPTensor, TuckerTensor or TTTensor of tensorly, or the pair that makes one"


def from_tensorly(tensor: object) -> Factors:
    """Factors of a CP, Tucker or tensor-train tensor of tensorly, exactly.

    Args:
      tensor: a `CPTensor` or (weights, factors) with weights (R,) or None and factors
        (D_n, R); a `TuckerTensor` or (core, factors) with factors (D_n, k_n); a `TTTensor`.
        Arrays are of NumPy, torch or jax; tensorly is not imported.

    Returns:
      Factors as `cp_factors`, `tucker_factors` and `tensor_train_factors` give them;
      float32 and float64 are kept.

    Raises:
      TypeError: another object, complex arrays. ValueError: shapes that do not fit, a ring,
        float64 where 64-bit numbers are not enabled.

    Source: Kossaifi et al. 2019 (tensorly).

    Example:
      >>> import htfjax as htf, numpy as np
      >>> pair = np.ones(2, "f"), [np.ones((3, 2), "f"), np.ones((4, 2), "f")]
      >>> factors = htf.exchange.from_tensorly(pair)
      >>> factors.tree.nested, float(htf.end_tensor(factors)[2, 3])
      ((0, 1), 2.0)
    """
    kind = type(tensor).__name__
    if kind == "TTTensor":
        cores = listed("tensor.factors", getattr(tensor, "factors", None), "cores")
        held = [host_array(f"tensor.factors[{n}]", x) for n, x in enumerate(cores)]
        check_train("tensor.factors", held)
        return from_train(held, [None] * len(held), "tensor.factors")
    if kind not in ("CPTensor", "TuckerTensor", "tuple", "list"):
        raise TypeError(f"`tensor` must be {KINDS}, got {spell(tensor)}.")
    first, others = _pair(tensor, kind)
    matrices = [
        host_array(f"tensor[1][{n}]", x)
        for n, x in enumerate(listed("tensor[1]", others, "matrices"))
    ]
    core = None if first is None else host_array("tensor[0]", first)
    _check_pair(core, matrices)
    if core is None or core.ndim == 1:
        return cp_factors(core, matrices)
    return tucker_factors(core, matrices)


def _pair(tensor: Foreign, kind: str) -> tuple[Foreign, Foreign]:
    """Weights or core, and the matrices."""
    if kind == "CPTensor":
        return tensor.weights, tensor.factors
    if kind == "TuckerTensor":
        return tensor.core, tensor.factors
    if len(tensor) != 2:
        raise ValueError(f"`tensor` is a {kind} of {len(tensor)}, expected {KINDS}.")
    return tensor[0], tensor[1]


def _check_pair(core: np.ndarray | None, matrices: Sequence[np.ndarray]) -> None:
    """Matrices whose columns are those of the weights, or of the axes of the core."""
    for n, matrix in enumerate(matrices):
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(
                f"`tensor[1][{n}]` has shape {matrix.shape}, expected a matrix (D, R)."
            )
    columns = tuple(matrix.shape[1] for matrix in matrices)
    if core is not None and core.ndim != 1:
        fits = core.shape == columns
    else:
        fits = len({*columns, *(() if core is None else core.shape)}) == 1
    if not fits:
        shape = None if core is None else core.shape
        raise ValueError(
            f"`tensor[0]` has shape {shape} and the matrices of `tensor[1]` have {columns} "
            "columns; weights (R,) ask for R columns in all, a core for those of its axes."
        )


def to_tensorly_cp(factors: AnyFactors) -> Foreign:
    """The same tensor as a CP tensor: sum_r w_r a_r^(0) (x) ... (x) a_r^(N-1).

    Returns:
      A `tensorly.cp_tensor.CPTensor` of NumPy arrays in the dtype of the factors: the
      matrices of the leaves, the root's as weights. One-child nodes are multiplied out.

    Raises:
      ModuleNotFoundError: tensorly is not installed.
      TypeError, ValueError: malformed or traced factors, a tree that is not flat, a Tucker
        tensor.

    Source: law B1.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.flat(3), 4, 2, 1.0)
      >>> htf.exchange.to_tensorly_cp(factors).rank
      2
    """
    found = components(factors)
    if found is None:
        raise ValueError(
            f"`factors` are of the tree {factors.tree.nested}, and a CP tensor has a flat "
            "one whose components are multiplied one by one; `to_tensorly_tucker` takes "
            "any, and `tensorly.decomposition.parafac` of its end tensor fits a CP tensor."
        )
    with _numpy_backend("htfjax.exchange.to_tensorly_cp") as tensorly:
        return tensorly.cp_tensor.CPTensor(found)


def to_tensorly_tucker(factors: AnyFactors) -> Foreign:
    """The same tensor as a Tucker tensor: a core with a matrix on each of its modes.

    The core is the end tensor of the transfer tensors inside, of prod_n k_n entries, where
    k_n is the number of columns of leaf n.

    Returns:
      A `tensorly.tucker_tensor.TuckerTensor` of NumPy arrays in the dtype of the factors.

    Raises:
      ModuleNotFoundError: tensorly is not installed.
      TypeError, ValueError: malformed or traced factors, those of order 1, a core of more
        than 2**31 entries.

    Source: Tucker 1966.

    Example:
      >>> import htfjax as htf, jax
      >>> factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 4, 2, 1.0)
      >>> htf.exchange.to_tensorly_tucker(factors).core.shape
      (2, 2, 2, 2)
    """
    tree, tensors = to_transfer_tree(factors)
    check_order(tree, "TuckerTensor")
    leaves, inner = tensors[: tree.order], tensors[tree.order :]
    check_size("factors", [u.shape[1] for u in leaves])
    core = inner[0]
    if len(inner) > 1:
        # Identities in place of the leaves' matrices.
        ranks = [np.eye(u.shape[1], dtype=u.dtype) for u in leaves]
        held = [*ranks, *inner[:-1], inner[-1][..., None]]
        arrays = tuple(map(jnp.asarray, held))
        core = outgoing(end_tensor(joined(TransferTensors(arrays, tree))))
    elif tree.children[-1] != flat(tree.order).children[-1]:
        core = core.transpose(np.argsort(tree.children[-1]))
    with _numpy_backend("htfjax.exchange.to_tensorly_tucker") as tensorly:
        return tensorly.tucker_tensor.TuckerTensor((core, leaves))


def to_tensorly_tt(factors: AnyFactors) -> Foreign:
    """The same tensor as a tensor train, exactly, from a tree that adds a mode at a time.

    Returns:
      A `tensorly.tt_tensor.TTTensor` of NumPy arrays in the dtype of the factors.

    Raises:
      ModuleNotFoundError: tensorly is not installed.
      TypeError, ValueError: malformed or traced factors, another tree, which a train holds
        at higher ranks only.

    Source: Oseledets 2011.

    Example:
      >>> import htfjax as htf, jax
      >>> train = htf.gaussian_factors(jax.random.key(0), htf.caterpillar(4), 3, 2, 1.0)
      >>> htf.exchange.to_tensorly_tt(train).rank
      (1, 2, 2, 2, 1)
    """
    cores = train_cores(factors, "TTTensor")
    with _numpy_backend("htfjax.exchange.to_tensorly_tt") as tensorly:
        return tensorly.tt_tensor.TTTensor(cores)


@contextlib.contextmanager
def _numpy_backend(needed_by: str) -> Iterator[Foreign]:
    """tensorly, which reads NumPy arrays inside, whatever its backend is outside.

    Its jax backend would switch on 64-bit numbers for the whole process.
    """
    tensorly = _extras.load("tensorly", needed_by)
    with tensorly.backend_context("numpy"):
        yield tensorly
