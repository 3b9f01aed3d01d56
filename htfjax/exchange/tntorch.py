"""Tensors of tntorch: trains, CP, and both with Tucker matrices."""

import numpy as np

from htfjax import _extras
from htfjax._types import Foreign
from htfjax.exchange.arrays import host_array, listed, parts
from htfjax.exchange.canonical import components
from htfjax.exchange.trains import from_train, train_cores
from htfjax.factors.factors import AnyFactors, Factors
from htfjax.formats.classical import cp_factors

KIND = "tntorch.Tensor"


def from_tntorch(tensor: object) -> Factors:
    """Factors of a tensor of tntorch, exactly.

    W[i_0, ...] = sum over bonds of the product of G_n[:, i_n, :], where a core (r, S, r')
    may have a matrix (D, S) on its middle axis and a core (D, R) stands for diagonal
    slices.

    Args:
      tensor: a `tntorch.Tensor`, known by `cores` and `Us`; tntorch is not imported.
        Tensors on a device or of a graph are detached and copied.

    Returns:
      Factors on the flat tree where all cores are (D, R), else on the caterpillar tree in
      the form of `tensor_train_factors`; float32 and float64 are kept.

    Raises:
      TypeError: another object, complex cores. ValueError: a batch of tensors, cores that
        do not chain, float64 where 64-bit numbers are not enabled.

    Source: Ballester-Ripoll 2018 (tntorch).

    Example:
      >>> import types, htfjax as htf, numpy as np
      >>> cores = [np.ones((1, 3, 2), "f"), np.ones((2, 4, 1), "f")]  # torch's do as well
      >>> train = types.SimpleNamespace(cores=cores, Us=[None, None])
      >>> float(htf.end_tensor(htf.exchange.from_tntorch(train))[2, 3])
      2.0
    """
    cores, matrices = parts("tensor", tensor, KIND, "cores", "Us")
    if getattr(tensor, "batch", False):
        raise ValueError(
            "`tensor` is a batch of tensors; convert them one by one: `tensor[i]`."
        )
    held = [
        host_array(f"tensor.cores[{n}]", x)
        for n, x in enumerate(listed("tensor.cores", cores, "cores"))
    ]
    given = [*matrices] if isinstance(matrices, list | tuple) else [None] * len(held)
    if len(given) != len(held):
        raise ValueError(
            f"`tensor.Us` has {len(given)} matrices or None, expected {len(held)}: one for "
            "every core."
        )
    tucker = [
        None if u is None else host_array(f"tensor.Us[{n}]", u) for n, u in enumerate(given)
    ]
    _check_cores(held)
    for n, (core, u) in enumerate(zip(held, tucker, strict=True)):
        if u is not None and (u.ndim != 2 or u.shape[1] != core.shape[-2]):
            raise ValueError(
                f"`tensor.Us[{n}]` has shape {u.shape}, expected (D, {core.shape[-2]}) for "
                f"the core of shape {core.shape}."
            )
    if all(core.ndim == 2 for core in held):
        both = zip(held, tucker, strict=True)
        return cp_factors(None, [c if u is None else u @ c for c, u in both])
    return from_train([_slices(core) for core in held], tucker, "tensor.cores")


def _check_cores(cores: list[np.ndarray]) -> None:
    """Cores of two or three axes whose bonds match."""
    bond = cores[0].shape[1 if cores[0].ndim == 2 else 0] if cores[0].ndim else 0
    for n, core in enumerate(cores):
        found = core.shape[1:] if core.ndim == 2 else core.shape[:1]
        if core.ndim not in (2, 3) or found != (bond,) or 0 in core.shape:
            raise ValueError(
                f"`tensor.cores[{n}]` has shape {core.shape}, expected ({bond}, D, r) or, "
                f"for CP, (D, {bond}): bonds must match."
            )
        bond = core.shape[-1]


def _slices(core: np.ndarray) -> np.ndarray:
    """A core (r, D, r') as it is, (D, R) as diagonal slices (R, D, R)."""
    if core.ndim == 3:
        return core
    return np.einsum("dr,rs->rds", core, np.eye(core.shape[1], dtype=core.dtype))


def to_tntorch(factors: AnyFactors) -> Foreign:
    """The same tensor in tntorch: a train, or a CP tensor where the tree is flat.

    Returns:
      A `tntorch.Tensor` on the host, in the dtype of the factors. The root's matrix is in
      the last core.

    Raises:
      ModuleNotFoundError: tntorch is not installed.
      TypeError, ValueError: malformed or traced factors; a tree that adds several modes at
        a node and is not flat, which a train holds at higher ranks only.

    Source: Oseledets 2011 (tensor trains).

    Example:
      >>> import htfjax as htf, jax
      >>> train = htf.gaussian_factors(jax.random.key(0), htf.caterpillar(4), 3, 2, 1.0)
      >>> tuple(htf.exchange.to_tntorch(train).shape)
      (3, 3, 3, 3)
    """
    found = components(factors)
    if found is None or len(found[1]) <= 2:
        cores = train_cores(factors, KIND)
    else:
        weights, cores = found
        cores[-1] = cores[-1] * weights
    tntorch = _extras.load("tntorch", "htfjax.exchange.to_tntorch")
    torch = _extras.load("torch", "htfjax.exchange.to_tntorch")
    return tntorch.Tensor([torch.from_numpy(np.ascontiguousarray(core)) for core in cores])
