"""Tensor trains of torchTT."""

import numpy as np

from htfjax import _extras
from htfjax._types import Foreign
from htfjax.exchange.arrays import host_array, listed, parts
from htfjax.exchange.trains import check_train, from_train, train_cores
from htfjax.factors.factors import AnyFactors, Factors

KIND = "torchtt.TT"


def from_torchtt(tensor: object) -> Factors:
    """Factors of a train of torchTT: W[i_0, ...] = G_0[:, i_0, :] ... G_N-1[:, i_N-1, :].

    Args:
      tensor: a `torchtt.TT`, known by `cores` and `is_ttm`; torchTT is not imported. Cores
        on a device or of a graph are detached and copied.

    Returns:
      Factors as `tensor_train_factors` gives them; float32 and float64 are kept.

    Raises:
      TypeError: another object, complex cores. ValueError: an operator (TT matrix), cores
        that do not chain, float64 where 64-bit numbers are not enabled.

    Source: Oseledets 2011.

    Example:
      >>> import types, htfjax as htf, numpy as np
      >>> cores = [np.ones((1, 3, 2), "f"), np.ones((2, 4, 1), "f")]  # torch's do as well
      >>> train = types.SimpleNamespace(cores=cores, is_ttm=False)
      >>> float(htf.end_tensor(htf.exchange.from_torchtt(train))[2, 3])
      2.0
    """
    cores, operator = parts("tensor", tensor, KIND, "cores", "is_ttm")
    if operator:
        raise ValueError(
            "`tensor` is a TT matrix, with two indices at a core; join them first: "
            "`torchtt.TT([c.flatten(1, 2) for c in tensor.cores])`."
        )
    held = [
        host_array(f"tensor.cores[{n}]", x)
        for n, x in enumerate(listed("tensor.cores", cores, "cores"))
    ]
    check_train("tensor.cores", held)
    return from_train(held, [None] * len(held), "tensor.cores")


def to_torchtt(factors: AnyFactors) -> Foreign:
    """The same tensor in torchTT, exactly, from a tree that adds one mode at a time.

    Returns:
      A `torchtt.TT` on the host, in the dtype of the factors.

    Raises:
      ModuleNotFoundError: torchTT is not installed.
      TypeError, ValueError: malformed or traced factors, another tree, which a train holds
        at higher ranks only.

    Source: Oseledets 2011.

    Example:
      >>> import htfjax as htf, jax
      >>> train = htf.gaussian_factors(jax.random.key(0), htf.caterpillar(4), 3, 2, 1.0)
      >>> htf.exchange.to_torchtt(train).N
      [3, 3, 3, 3]
    """
    cores = train_cores(factors, KIND)
    torchtt = _extras.load("torchtt", "htfjax.exchange.to_torchtt")
    torch = _extras.load("torch", "htfjax.exchange.to_torchtt")
    return torchtt.TT([torch.from_numpy(np.ascontiguousarray(core)) for core in cores])
