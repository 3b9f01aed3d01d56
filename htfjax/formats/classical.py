"""Classical decompositions as factors: CP and Tucker, exactly."""

from collections.abc import Sequence

import jax

from htfjax import _checks
from htfjax._types import Numbers
from htfjax.factors.factors import Factors
from htfjax.formats.host import widest
from htfjax.formats.transfer_tensors import TransferTensors, check_size, joined
from htfjax.trees.builders import flat


def cp_factors(weights: Numbers | None, matrices: Sequence[Numbers]) -> Factors:
    """Factors of a CP decomposition: sum_r w_r a_r^(0) (x) ... (x) a_r^(N-1).

    Args:
      weights: w, (R,), the root's matrix; None is a root of ones.
      matrices: (D_n, R) for every mode.

    Returns:
      Factors on the flat tree, with these matrices at its leaves.

    Raises:
      TypeError, ValueError: no matrices, or others than these shapes.

    Source: law B1.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> htf.formats.cp_factors(None, [jnp.ones((2, 3)), jnp.ones((4, 3))]).tree.nested
      (0, 1)
    """
    held = _matrices("matrices", matrices)
    counts = {x.shape[1] for x in held}
    if len(counts) > 1:
        raise ValueError(
            f"`matrices` have {[x.shape[1] for x in held]} columns; all must have R."
        )
    count = held[0].shape[1]
    root = None
    if weights is not None:
        root = _checks.floating("weights", weights)
        _checks.shape("weights", root, (count,), "(R,)")
    dtype = widest(*held, *([] if root is None else [root]))
    leaves = [x.astype(dtype) for x in held]
    top = None if root is None else root.astype(dtype)[:, None]
    return Factors((*leaves, top), flat(len(held)))


def tucker_factors(core: Numbers, matrices: Sequence[Numbers]) -> Factors:
    """Factors of a Tucker decomposition: the core with a matrix on each of its modes.

    Args:
      core: (k_0, ..., k_{N-1}).
      matrices: (D_n, k_n) for every mode.

    Returns:
      Factors on the flat tree with a selector over every leaf (`from_transfer_tensors`).

    Raises:
      TypeError, ValueError: other shapes.

    Source: Tucker 1966.

    Example:
      >>> import htfjax as htf, jax.numpy as jnp
      >>> matrices = [jnp.eye(3, 1), jnp.eye(3, 2)]
      >>> tucker = htf.formats.tucker_factors(jnp.ones((1, 2)), matrices)
      >>> htf.end_tensor(tucker).tolist()[0]
      [1.0, 1.0, 0.0]
    """
    held = _matrices("matrices", matrices)
    middle = _checks.floating("core", core)
    wanted = tuple(x.shape[1] for x in held)
    if middle.shape != wanted:
        raise ValueError(
            f"`core` has shape {middle.shape}, expected {wanted}: columns of `matrices`."
        )
    dtype = widest(middle, *held)
    tensors = [x.astype(dtype) for x in (*held, middle[..., None])]
    check_size("core", middle.shape)
    return joined(TransferTensors(tuple(tensors), flat(len(held))))


def _matrices(name: str, matrices: Sequence[Numbers]) -> list[jax.Array]:
    held = [
        _checks.floating(f"{name}[{n}]", x)
        for n, x in enumerate(_checks.arrays(name, matrices))
    ]
    for n, matrix in enumerate(held):
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(
                f"`{name}[{n}]` has shape {matrix.shape}, expected a matrix (D, R)."
            )
    return held
