"""Arrays of other libraries, on the host, in the dtype that they have."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from htfjax import _checks
from htfjax._integers import spell
from htfjax._types import ArrayLike, Foreign


def host_array(name: str, values: object) -> np.ndarray:
    """Real numbers of NumPy, jax, torch or SciPy's sparse matrices, as a NumPy array.

    Tensors of torch are detached and copied from their device. float32 and float64 are
    kept, half precision becomes float32, integers the default floating dtype.

    Raises:
      TypeError: complex numbers, or no array. ValueError: float64 where 64-bit numbers are
        not enabled, which would lose half of the digits.
    """
    found = _checks.seen(name, _plain(values))
    if not jnp.issubdtype(found.dtype, jnp.floating):
        return found.astype(jax.dtypes.canonicalize_dtype(float))
    if found.dtype.itemsize < 4:
        return found.astype(np.float32)
    if jax.dtypes.canonicalize_dtype(found.dtype) != found.dtype:
        raise ValueError(
            f"`{name}` holds {found.dtype} numbers, which need "
            'jax.config.update("jax_enable_x64", True); or convert it to float32 first.'
        )
    return found


def _plain(values: Foreign) -> object:
    """What NumPy reads: off the graph and the device of torch, dense, no bfloat16 of it."""
    if str(getattr(values, "dtype", "")) == "torch.bfloat16":
        values = values.float()
    for step in ("detach", "cpu", "toarray"):
        made = getattr(values, step, None)
        values = made() if callable(made) else values
    return values


def one_dtype(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays in the widest of their dtypes."""
    dtype = np.result_type(*arrays)
    return [x.astype(dtype, copy=False) for x in arrays]


def outgoing(values: ArrayLike) -> np.ndarray:
    """An array of ours as NumPy's, which other libraries may write to.

    Half precision becomes float32: bfloat16 is unknown to most.
    """
    found = _checks.seen("factors", values)
    return np.array(found, np.float32 if found.dtype.itemsize < 4 else found.dtype)


def parts(name: str, value: object, kind: str, *names: str) -> list[Foreign]:
    """Attributes of an object of another library, which is known by them.

    Raises:
      TypeError: it lacks one.
    """
    missing = [part for part in names if not hasattr(value, part)]
    if missing:
        lacks = " and ".join(f"`{part}`" for part in missing)
        raise TypeError(
            f"`{name}` must be a {kind}, got {spell(value)}, which has no {lacks}."
        )
    return [getattr(value, part) for part in names]


def listed(name: str, values: object, what: str) -> list[Foreign]:
    """A list, tuple or array of objects, at least one."""
    flat = not isinstance(values, np.ndarray) or values.ndim == 1
    if not isinstance(values, list | tuple | np.ndarray) or not flat:
        raise TypeError(f"`{name}` must be a list of {what}, got {spell(values)}.")
    if not len(values):
        raise ValueError(f"`{name}` is empty; it must hold {what}.")
    return list(values)
