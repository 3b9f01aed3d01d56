"""Results on disk, of any command: folders of runs and netCDF files, as one dataset."""

from pathlib import Path

import numpy as np
import xarray as xr

from htfjax import _checks, _files
from htfjax._types import PathLike
from htfjax.runs import view
from htfjax.runs.netcdf import SUFFIX, read_dataset


def load_results(path: PathLike, group: str | None = None) -> xr.Dataset:
    """Reads the results of a run.

    Dimensions are named (seed, step, node, component, ...). Sizes that differ between
    nodes or panels are padded with NaN beside a `width` coordinate. Of runs only what is
    used is read, when it is used; every file is compared with its digest, which finds
    what a checksum of zarr's would, and more. A node is labelled by its modes, such as
    "0,1", in `node`, or in `node_label` where trees differ; arrays have `long_name` and
    `units`. Runs may be read while they are at work: what is on disk is shown, and of
    a file that was written anew since the error says to open the results again.

    Args:
      path: a folder of runs, a results file, or a folder that holds some of either.
      group: which of several, by its name without ending (a panel, for example).
        By default all of them: a single one as it is, several along a new dimension
        `panel`.

    Raises:
      TypeError: not a path, `group` not a name.
      FileNotFoundError: nothing at `path`, or no such group (the others are listed).
      ValueError: a damaged file or one of a newer format; the error names it.

    Example:
      >>> import htfjax as htf, os, tempfile, xarray as xr
      >>> path = os.path.join(tempfile.mkdtemp(), "run.nc")
      >>> htf.save_results(path, xr.Dataset({"loss": ("step", [1.0, 0.5])}))
      >>> htf.load_results(path).loss.sizes["step"]
      2
      >>> htf.load_results("missing")
      Traceback (most recent call last):
      FileNotFoundError: no results at missing
    """
    given, path = path, _files.absolute("path", path)
    if group is not None and not isinstance(group, str):
        raise TypeError(f"`group` must be a name, got {_checks.spell(group)}.")
    if view.is_ensemble(path):
        return view.open_records(path, group)
    if path.is_file():
        if group is not None:
            raise FileNotFoundError(f"{path} is one file and has no `group={group}`")
        return _read(path)
    files = _parts(path)
    if not files:
        raise FileNotFoundError(f"no results at {given}")
    if group is not None:
        if group not in files:
            raise FileNotFoundError(f"no `group={group}` in {path}, only {list(files)}")
        return _read(files[group])
    datasets = {name: _read(file) for name, file in files.items()}
    if len(datasets) == 1:
        return next(iter(datasets.values()))
    datasets = {name: _with_coordinates(x) for name, x in datasets.items()}
    return xr.concat(
        list(datasets.values()),
        dim=xr.Variable("panel", list(datasets)),
        data_vars="all",
        coords="different",
        compat="equals",
        join="outer",
        combine_attrs="drop_conflicts",
    )


def _with_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Numbers every dimension that has no labels, so that sizes can be padded."""
    bare = [dim for dim in dataset.dims if dim not in dataset.coords]
    return dataset.assign_coords({dim: np.arange(dataset.sizes[dim]) for dim in bare})


def _parts(folder: Path) -> dict[str, Path]:
    """Results files, and folders of runs, by name."""
    inside = [p for p in sorted(folder.glob("*")) if not p.name.startswith(".")]
    files = {p.stem: p for p in inside if p.suffix == SUFFIX}
    return files | {p.name: p for p in inside if p.is_dir() and view.is_ensemble(p)}


def _read(path: Path) -> xr.Dataset:
    return view.open_records(path) if path.is_dir() else read_dataset(path)
