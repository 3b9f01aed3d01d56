"""Labelled arrays: tensors with the names and levels of their modes, as xarray has them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def labelled_array(
    values: np.ndarray, names: Sequence[str], levels: Sequence[np.ndarray], name: str
) -> "xr.DataArray":
    """A tensor whose dimensions are the modes and whose coordinates are the levels.

    Raises:
      ImportError: xarray is not installed.
    """
    try:
        import xarray as xr
    except ImportError as error:
        raise ImportError(
            "`decode` gives a whole tensor as an xarray DataArray; install xarray by `pip "
            "install 'htfjax[studies]'`, or give `indices`, whose labels and values need "
            "NumPy alone."
        ) from error
    coords = dict(zip(names, levels, strict=True))
    return xr.DataArray(values, dims=tuple(names), coords=coords, name=name)
