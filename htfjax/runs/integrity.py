"""Integrity of a folder of runs: its files against the digests that list them."""

from htfjax import _checks, _digests, _files
from htfjax._types import PathLike
from htfjax.runs import folder, view
from htfjax.runs.block_files import check_checkpoint, checkpoint_of, owner_of
from htfjax.runs.final import lost_final


def check_results(out: PathLike, *, states: bool = False) -> None:
    """Looks at every file of a folder of runs, as `run` does before it goes on.

    Args:
      out: folder of the runs.
      states: also at the last states, which finished runs need only for more steps.

    Raises:
      TypeError, ValueError: not a path, a file that is damaged; it is named.
      FileNotFoundError: no runs in the folder, or a file of it is missing.
      BlockingIOError: a process works in the folder.

    Example:
      >>> import htfjax as htf, pathlib, tempfile
      >>> setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30)
      >>> out = pathlib.Path(tempfile.mkdtemp())
      >>> for _ in htf.runs.run(
      ...     htf.runs.Grid(setting, seeds=[0]), out, until_step=4, record_every=2):
      ...     pass
      >>> htf.runs.check_results(out, states=True)
      >>> (out / "status.json").unlink()
      >>> htf.runs.check_results(out)
      Traceback (most recent call last):
      FileNotFoundError: [Errno 2] no such file: ...
    """
    states = _checks.flag("states", states)
    path = _files.absolute("out", out)
    manifest = folder.read_manifest(path)
    if manifest is None:
        raise FileNotFoundError(f"no runs in {path}")
    with folder.locked_folder(path, f"`out={out}`"):
        folded = view.read_folded(path, manifest)
        for file, digest in (manifest["metadata"] | folded["files"]).items():
            view.check_file(path, file, digest)
        if lost := lost_final(path, manifest):
            raise ValueError(f"{lost}; run the same command again, which writes it anew.")
        _digests.read_sealed(path / folder.STATUS)
        identity = folder.identity_of(manifest)
        for program in manifest["programs"] if states else ():
            name = program["name"]
            for number, runs in enumerate(program["blocks"]):
                saved = folded["blocks"].get((name, number), {"saved": 0})["saved"]
                owner = owner_of(identity, name, number, runs)
                check_checkpoint(checkpoint_of(path, name, number), owner, saved)
