"""Extras of the package: parts that need packages which a plain install does not bring."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import lazy_loader

# Package as it is imported, and the extra of `pyproject.toml` that brings it.
EXTRAS = {
    "filelock": "studies",
    "flax": "networks",
    "h5netcdf": "studies",
    "h5py": "studies",
    "matplotlib": "studies",
    "numcodecs": "studies",
    "orbax": "studies",
    "psutil": "studies",
    "rich": "studies",
    "scipy": "studies",
    "sklearn": "baselines",
    "tqdm": "studies",
    "xarray": "studies",
    "zarr": "studies",
}

# Libraries whose tensors are exchanged: those who have one have installed it, so that no
# extra brings them. Module as it is imported, and the package of the index.
EXCHANGED = {
    "hiepy": "hiepy",
    "quimb": "quimb",
    "tensap": "tensap",
    "tensorly": "tensorly",
    "tntorch": "tntorch",
    "torch": "torch",
    "torchtt": "torchTT",
}

Lookup = Callable[[str], Any]


def attach(package: str, file: str) -> tuple[Lookup, Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, from the table in its stub.

    A name is imported at first use; if that fails because an extra is not installed, the
    error names the extra.
    """
    lookup, listed, names = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        try:
            return lookup(name)
        except ModuleNotFoundError as error:
            _refuse(f"{package}.{name}", error)
            raise

    return get, listed, names


def load(module: str, needed_by: str) -> ModuleType:
    """Imports a module of an extra, or of a library of `exchange`, inside of a function.

    Args:
      module: such as "sklearn.ensemble".
      needed_by: the public function, for the error.

    Raises:
      ModuleNotFoundError: it is not installed; the extra or the package is named.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        _refuse(needed_by, error)
        raise


def _refuse(what: str, error: ModuleNotFoundError) -> None:
    """Raises the error again with what to install, if that is known."""
    missing = (error.name or "").partition(".")[0]
    install = None
    if missing in EXTRAS:
        install = f"pip install 'htfjax[{EXTRAS[missing]}]'"
    elif missing in EXCHANGED:
        install = f"pip install {EXCHANGED[missing]}"
    if install is not None:
        text = f"`{what}` needs {missing}; install it by `{install}`."
        raise ModuleNotFoundError(text, name=error.name) from error
