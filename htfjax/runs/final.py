"""Final quantities: read off the states that runs ended with, beside their records."""

from pathlib import Path

import xarray as xr

from htfjax import _checks, _digests, _files
from htfjax._types import PathLike
from htfjax.runs.netcdf import read_dataset, save_results

FINAL = "final.nc"
STAMP = "of the runs"  # attribute: how far they were


def save_final(out: PathLike, results: xr.Dataset, final: xr.Dataset) -> None:
    """Writes quantities of the ends of runs; `load_results(out)` shows them with the rest.

    They are shown until the runs go on: what is read off later states is written anew.

    Args:
      out: the folder of the runs.
      results: what `load_results(out)` gave.
      final: variables without an axis of steps.

    Raises:
      TypeError: not datasets. ValueError: the folder does not exist.

    Example:
      >>> import htfjax as htf, tempfile
      >>> grid = htf.runs.Grid(htf.runs.Completion(mode_dims=3, widths=4, observed=30), [0])
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
    if not folder.is_dir():
        raise ValueError(f"`out={folder}` does not exist; run a grid into it first.")
    save_results(folder / FINAL, final.assign_attrs({STAMP: _stamp(results)}))


def with_final(folder: Path, dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with the final quantities of its runs, where there are some.

    Raises:
      ValueError: they are damaged; the file is named.
    """
    if not (folder / FINAL).exists():
        return dataset
    final = read_dataset(folder / FINAL)
    if final.attrs.get(STAMP) != _stamp(dataset):
        return dataset
    return dataset.assign(final.data_vars)


def _stamp(dataset: xr.Dataset) -> str:
    words = [dataset[name].values.tolist() for name in ("seed", "steps", "status")]
    return _digests.json_digest([*words, dataset.attrs.get("identity", "")])[:16]
