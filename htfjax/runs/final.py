"""Final quantities: read off the states that runs ended with, beside their records."""

from pathlib import Path

import xarray as xr

from htfjax import _checks, _digests, _files
from htfjax._types import JsonObject, PathLike
from htfjax.runs.folder import locked_folder, read_manifest, write_manifest
from htfjax.runs.netcdf import read_dataset, save_results

FINAL = "final.nc"


def save_final(out: PathLike, results: xr.Dataset, final: xr.Dataset) -> None:
    """Writes quantities of the ends of runs; `load_results(out)` shows them with the rest.

    They are shown until the runs go on: what is read off later states is written anew.

    Args:
      out: the folder of the runs.
      results: what `load_results(out)` gave.
      final: variables without an axis of steps.

    Raises:
      TypeError: not datasets. ValueError: no runs in the folder, or results of none.
      BlockingIOError: the folder is in use.

    Example:
      >>> import htfjax as htf, tempfile, xarray as xr
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30)
      >>> grid = htf.runs.Grid(setting, seeds=[0])
      >>> out = tempfile.mkdtemp()
      >>> for _ in htf.runs.run(grid, out, until_step=4, record_every=2):
      ...     pass
      >>> htf.runs.save_final(
      ...     out, htf.load_results(out), xr.Dataset({"rank": ("seed", [2])}))
      >>> htf.load_results(out)["rank"].values.tolist()
      [2]
    """
    folder = _files.absolute("out", out)
    for name, value in (("results", results), ("final", final)):
        _checks.instance(name, value, xr.Dataset, "xarray.Dataset makes one of arrays")
    if "steps" not in results or "status" not in results:
        raise ValueError(
            f"`results={_checks.spell(results)}` are not of runs; give what "
            "`load_results(out)` gave."
        )
    with locked_folder(folder, f"`out={folder}`"):
        manifest = read_manifest(folder)
        if manifest is None:
            raise ValueError(f"`out={folder}` holds no runs; run a grid into it first.")
        save_results(folder / FINAL, final)
        seal = {"of": _stamp(results), "digest": _digests.file_digest(folder / FINAL)}
        write_manifest(folder, manifest | {"final": seal})


def with_final(folder: Path, manifest: JsonObject, dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with the final quantities of its runs, where there are some.

    Raises:
      FileNotFoundError: they are missing. ValueError: damaged; the file is named.
    """
    if manifest.get("final", {}).get("of") != _stamp(dataset):
        return dataset
    lost = lost_final(folder, manifest)
    if lost:
        kind = FileNotFoundError if lost.endswith("missing") else ValueError
        raise kind(f"{lost}; run the same command again, which writes it anew.")
    return dataset.assign(read_dataset(folder / FINAL).data_vars)


def lost_final(folder: Path, manifest: JsonObject) -> str:
    """The fault of the final quantities that the manifest lists, "" without one."""
    found = _digests.file_digest(folder / FINAL)
    if manifest.get("final", {}).get("digest") in (None, found):
        return ""
    return f"{folder / FINAL} is {'missing' if found == 'missing' else 'damaged'}"


def _stamp(dataset: xr.Dataset) -> str:
    words = [dataset[name].values.tolist() for name in ("seed", "steps", "status")]
    return _digests.json_digest(words)[:16]
