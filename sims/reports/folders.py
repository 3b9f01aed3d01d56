"""Folders of runs, read as far as they can be, with what cannot be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import xarray as xr

import htfjax as htf

from .. import status
from ..common import parts
from ..common.errors import FolderError, SimError
from ..common.folder import CONFIG, LOCK, MANIFEST, STATUS

T = TypeVar("T")
JsonObject = dict[str, object]
RECORDS, SUMMARY, COLLECTED = "results.zarr", "summary.json", "results.nc"
HIDDEN = ("final.nc",)  # shown with the records that it belongs to
# Whatever reading damaged files may raise.
DAMAGE = (SimError, OSError, ValueError, TypeError, KeyError, IndexError, RecursionError,
          ArithmeticError, AttributeError, MemoryError, ImportError)  # fmt: skip


class Part(NamedTuple):
    """Results under one name: a panel, a part of an experiment, or a grid ("")."""

    name: str
    path: Path
    dataset: xr.Dataset
    manifest: JsonObject


class Folder(NamedTuple):
    """A folder as it was found.

    Attributes:
      name: of it, for legends.
      command: that wrote it, "" for a bare grid.
      config: what was asked of the command; `versions` and `digests`: by name.
      summary: of the command, empty without.
      state: how it stands, in words; `at_work`: whether a process works in it.
      problems: sentences about what cannot be read. It grows while values are read.
    """

    path: Path
    name: str
    command: str
    config: JsonObject
    versions: dict[str, str]
    digests: dict[str, str]
    summary: JsonObject
    parts: list[Part]
    state: str
    at_work: bool
    problems: list[str]

    def attempt(self, read: Callable[[], T], default: T) -> T:
        """What a reading gives, the default and a problem where it fails."""
        return attempted(read, default, self.problems)


def attempted(read: Callable[[], T], default: T, problems: list[str]) -> T:
    """What a reading gives; where it fails the default, and a sentence more."""
    try:
        return read()
    except DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if said not in problems:
            problems.append(said)
        return default


def read_folder(path: Path, name: str) -> Folder:
    """A folder of any command, or of `htfjax.runs.run`.

    Raises:
      FileNotFoundError: no such folder, or a file.
      FolderError: nothing in it is of htfjax, or it may not be read.
    """
    if path.is_file():
        raise FileNotFoundError(f"{path} is a file; give the folder of a run")
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give the folder of a run")
    try:
        places = places_of(path)
        known = places or any((path / file).exists() for file in (CONFIG, SUMMARY, STATUS))
    except OSError as error:
        raise FolderError(
            f"{path} cannot be read ({error.strerror or error}); ask its owner for access."
        ) from error
    if not known:
        raise FolderError(
            f"{path} holds no run of htfjax (no {CONFIG}, {MANIFEST} or results); give the "
            "folder that a command wrote by `--out`, or `htfjax.runs.run`."
        )
    return _read(path, name, places)


def _read(path: Path, name: str, places: dict[str, Path]) -> Folder:
    problems: list[str] = []
    sealed: JsonObject = {}
    if (path / CONFIG).exists():
        sealed = attempted(lambda: htf.runs.read_sealed(path / CONFIG), {}, problems)
    found = [_part(part, place, problems) for part, place in places.items()]
    if not any(part.dataset.sizes for part in found):  # what they were collected from
        runs = {_stem(run): run for run in _results(path / "runs")}
        found += [_part(part, run, problems) for part, run in runs.items()]
    manifests = [part.manifest for part in found if part.manifest]
    versions = table_of(sealed.get("versions")) or {}
    for manifest in manifests:
        versions = table_of(manifest.get("versions")) | {
            "device": str(manifest.get("device", ""))
        } | versions  # fmt: skip
    state, at_work = _state(path, places, problems)
    config = sealed.get("config", sealed)
    summary = attempted(lambda: _summary(path / SUMMARY), {}, problems)
    command = str(sealed.get("command", ""))
    return Folder(
        path=path, name=name, command=command,
        config=dict(config) if isinstance(config, dict) else {},
        versions={key: str(value) for key, value in versions.items()},
        digests=_digests(path, found), summary=summary,
        parts=[part for part in found if part.dataset.sizes],
        state=state or ("finished" if summary and not problems else "not known"),
        at_work=at_work, problems=problems,
    )  # fmt: skip


def author_of(folder: Folder) -> str:
    """The command that wrote a folder, as it is typed; that of a grid is a function."""
    if folder.command:
        return folder.command.replace("_", "-")
    bare = is_ensemble(folder.path) and not (folder.path / CONFIG).exists()
    return "htfjax.runs.run" if bare else "command not known"


def table_of(value: object) -> JsonObject:
    """A JSON object, empty where there is another value."""
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def is_ensemble(path: Path) -> bool:
    """Whether a folder holds records, or what is left of them."""
    return path.is_dir() and any((path / name).exists() for name in (MANIFEST, RECORDS))


def places_of(folder: Path) -> dict[str, Path]:
    """Folders of records and results files by the names of their parts."""
    if is_ensemble(folder):
        return {"": folder}
    inside = _results(folder)
    if COLLECTED in {path.name for path in inside}:
        return {"": folder / COLLECTED}
    names = _part_names(folder)
    inside += _results(folder / "parts") + _results(folder / "runs")
    return {names.get(path, _stem(path)): path for path in inside}


def _results(folder: Path) -> list[Path]:
    """Results in a folder; nothing of one that is missing."""
    listed = sorted(folder.iterdir()) if folder.is_dir() else []
    return [
        path
        for path in listed
        if not path.name.startswith(".")
        and (is_ensemble(path) or (path.suffix == ".nc" and path.name not in HIDDEN))
    ]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".nc")


def _part_names(folder: Path) -> dict[Path, str]:
    """Names of the parts of an experiment by their places."""
    try:
        listed = htf.runs.read_sealed(folder / STATUS).get("parts", [])
    except (OSError, ValueError):
        return {}
    places: dict[Path, str] = {}
    for name in listed if isinstance(listed, list) else []:
        place = parts.place_of(folder, str(name))
        places |= {place: str(name), parts.file_of(place): str(name)}
    return places


def _part(name: str, path: Path, problems: list[str]) -> Part:
    manifest: JsonObject = {}
    if path.is_dir() and (path / MANIFEST).exists():
        manifest = _quietly(lambda: htf.runs.read_sealed(path / MANIFEST), {})
    dataset = attempted(lambda: htf.load_results(path), xr.Dataset(), problems)
    return Part(name, path, dataset, manifest)


def _quietly(read: Callable[[], T], default: T) -> T:
    """What a reading gives where its failure is told by another one."""
    return attempted(read, default, [])


def _summary(path: Path) -> JsonObject:
    """What a command summarized; nothing before its end.

    Raises:
      ValueError: it is damaged.
    """
    if not path.exists():
        return {}
    try:
        return table_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); the same command again writes it anew."
        ) from error


def _state(path: Path, places: dict[str, Path], problems: list[str]) -> tuple[str, bool]:
    """How a folder stands, in words, and whether a process works in it."""
    at_work = False
    for place in [path / LOCK, *(p / "lock" for p in (path, *places.values()))]:
        if place.exists():
            held = _quietly(
                lambda place=place: htf.runs.lock_holder(place) is not None, False
            )
            at_work = at_work or held
    told: list[str] = []
    try:
        found = status.read(path)
        told = [status.sentence(found), *_lines(found)]
    except FileNotFoundError:  # of a command without parts, such as verify
        pass
    except DAMAGE as error:
        said = " ".join(str(error).split())
        if not any(said[:40] == other[:40] for other in problems):
            problems.append(said)
    if at_work:
        told = ["at work", *told[1:]]
    return "; ".join(told), at_work


def _lines(found: JsonObject) -> list[str]:
    """How far it is, without its speed, which is that of another day."""
    lines = status.lines(found)
    if "parts" in found:
        return lines
    return [f"{found['done']} of {found['runs']} runs done", *lines[1:]]


def _digests(path: Path, found: list[Part]) -> dict[str, str]:
    """SHA-256 of settings and results files, and identities of grids."""
    files = [path / CONFIG, path / SUMMARY, path / MANIFEST]
    files += [part.path for part in found if part.path.suffix == ".nc"]
    digests = {
        f"{file.relative_to(path)}": _quietly(
            lambda file=file: htf.runs.file_digest(file), ""
        )
        for file in files
        if file.exists()
    }
    for part in found:
        if "identity" in part.dataset.attrs:
            name = f"identity of {part.name or 'the grid'}"
            digests[name] = str(part.dataset.attrs["identity"])
    return digests
