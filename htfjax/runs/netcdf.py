"""netCDF-4 files of xarray datasets, with checksums."""

import hashlib
import io
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore

from htfjax import _checks, _files
from htfjax._types import PathLike

FORMAT = 1
SUFFIX = ".nc"
SEAL = b"htfjax sha256 digest of all before:"
# Deflate gives at most 1032 bytes for one.
RATIO, SLACK = 1032, 1024


def save_results(path: PathLike, dataset: xr.Dataset) -> None:
    """Writes a dataset to one netCDF-4 file, replacing it only when all is written.

    The file ends with a SHA-256 digest of all before it, which other readers of netCDF
    pass over; `load_results` checks it before it lets HDF5 at the file.

    Raises:
      TypeError: not a dataset. ValueError: the folder of `path` does not exist.

    Example:
      >>> import htfjax as htf, xarray as xr, tempfile, os
      >>> path = os.path.join(tempfile.mkdtemp(), "run.nc")
      >>> htf.save_results(path, xr.Dataset({"loss": ("step", [1.0, 0.5])}))
      >>> htf.load_results(path).loss.values.tolist()
      [1.0, 0.5]
    """
    _checks.instance("dataset", dataset, xr.Dataset, "xarray.Dataset makes one of arrays")
    encoding: dict[str, dict[str, Any]] = {
        str(name): {"zlib": True, "complevel": 1}
        for name, variable in dataset.variables.items()
        if variable.ndim and np.issubdtype(variable.dtype, np.number)
    }
    labelled = dataset.assign_attrs(htfjax_format=FORMAT)
    # Made in memory: HDF5 that meets a full disk ends the process with a fault.
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as netcdf:
        labelled.dump_to_store(H5NetCDFStore(netcdf), encoding=encoding)
    content = buffer.getvalue()
    with _files.atomic_write(path) as temporary:
        temporary.write_bytes(content + SEAL + hashlib.sha256(content).digest())


def _unsealed(path: Path) -> bytes:
    """The content before the digest.

    Raises:
      ValueError: it does not fit the digest.
    """
    content = path.read_bytes()
    end = len(content) - len(SEAL) - hashlib.sha256().digest_size
    if end < 0 or content[end : end + len(SEAL)] != SEAL:
        raise ValueError("its end is missing")
    if hashlib.sha256(content[:end]).digest() != content[end + len(SEAL) :]:
        raise ValueError("its digest does not fit")
    return content[:end]


def _refuse_outside(group: h5py.Group) -> None:
    """All that is read must lie in the file itself, whoever sealed it.

    Raises:
      ValueError: data in another file, or sizes without data.
    """
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to somewhere else")
        entry = group[name]
        if isinstance(entry, h5py.Group):
            _refuse_outside(entry)
        elif isinstance(entry, h5py.Dataset):
            if entry.external or entry.is_virtual:
                raise ValueError(f"the values of {name} lie in another file")
            label = entry.attrs.get("NAME", b"")
            bare = isinstance(label, bytes) and label.startswith(b"This is a netCDF dim")
            stored = entry.id.get_storage_size()
            if not bare and entry.nbytes > RATIO * stored + SLACK:
                raise ValueError(f"{name} states {entry.nbytes} bytes and takes {stored}")


def read_dataset(path: Path) -> xr.Dataset:
    """A dataset that `save_results` wrote.

    Raises:
      ValueError: a damaged file or one of a newer format; the error names it.
    """
    try:
        content = _unsealed(path)
        with h5py.File(io.BytesIO(content)) as file:
            _refuse_outside(file)
        dataset = xr.load_dataset(io.BytesIO(content), engine="h5netcdf")
        version = int(dataset.attrs["htfjax_format"])
    except Exception as error:  # HDF5, netCDF and xarray each raise their own kinds
        raise ValueError(
            f"`path={path}` is damaged or holds no results ({error}); restore it from a "
            "copy or delete it and run the same command again."
        ) from error
    if version > FORMAT:
        raise ValueError(
            f"`path={path}` has format {version}, this htfjax reads up to {FORMAT}; "
            "upgrade htfjax."
        )
    return dataset
