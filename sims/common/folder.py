"""The folder of a run: its lock, what was asked, and whether what it holds fits."""

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

import htfjax as htf

from .errors import FolderError, SimError
from .settings import flag

CONFIG, MANIFEST, STATUS, LOCK = "config.json", "manifest.json", "status.json", ".lock"
# Written by an earlier run, or by a user; config.json says whose it is.
RESULTS = (
    MANIFEST, f"*/{MANIFEST}", "*.nc", "checkpoints", f"runs/*/{MANIFEST}", "parts/*.nc",
    f"parts/*/{MANIFEST}", STATUS, "summary.json", "*.png", "*.svg", "factors.npz",
    "predictions.*", "ranks.csv", "history.csv",
)  # fmt: skip


@contextlib.contextmanager
def open_folder(
    out: Path, config: Any, *, may_differ: tuple[str, ...] | None, command: str = ""
) -> Iterator[Path]:
    """Makes or reopens the folder of a run, and keeps other commands out of it.

    Args:
      out: the folder.
      config: a dataclass; written to `config.json`, or compared with what stands there.
        Of files it keeps name and digest, so that other contents make another run.
      may_differ: fields that a later run of the same folder may change; None for a grid,
        whose manifest says it: `config.json` then holds what was asked for last.
      command: whose folder it is; by default the module that `config` is defined in.

    Raises:
      FolderError: the folder cannot be written, or holds the run of another command or
        another config (the fields that differ are named), or results and no config.
      BlockingIOError: another command works in it; process and host are named.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = htf.runs.locked_folder(out, f"`--out {out}`", lock=LOCK)
            folder = stack.enter_context(lock)
        except PermissionError as error:
            raise FolderError(str(error)) from error
        path, grid, wanted = folder / CONFIG, may_differ is None, as_json(config)
        present, command = _read(path), command or _command_of(config)
        if present is None:
            refuse_lost(folder, folder / MANIFEST if grid else path)
        elif present.get("command", command) != command:
            raise FolderError(
                f"`--out {out}` holds a run of {present['command']} ({CONFIG}), and this "
                f"is {command}; choose another folder."
            )
        elif may_differ is not None:
            _refuse_others(out, read_entry(path, "config"), wanted, may_differ)
        asked = (
            {"out": None} | wanted if grid else {"config": wanted, "versions": versions()}
        )
        asked["command"] = command
        if present is None or not grid:
            htf.runs.write_sealed(path, asked)
        try:
            yield folder
        except (SimError, ValueError, TypeError):
            # A command that was refused has left nothing that others would have to fit.
            ours = (CONFIG, STATUS, LOCK, LOCK[1:])
            others = [p for p in folder.iterdir() if not p.name.startswith(ours)]
            if present is None and not others:
                path.unlink()
                (folder / STATUS).unlink(missing_ok=True)
            raise
        if grid:
            htf.runs.write_sealed(path, asked)


def _command_of(config: Any) -> str:
    """Name of the command whose options these are, also where it is the main program."""
    spec = sys.modules[type(config).__module__].__spec__
    return "" if spec is None else spec.name.rpartition(".")[2]


def _read(path: Path) -> dict[str, Any] | None:
    """A sealed JSON file, None if there is none.

    Raises:
      FolderError: it is damaged.
    """
    try:
        return htf.runs.read_sealed(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise FolderError(str(error)) from error


def saved_config(folder: Path, options: type) -> Any:
    """The options that a folder was asked for, as the dataclass of its command.

    Raises:
      FileNotFoundError, ValueError: `config.json` is missing or damaged.
    """
    values = htf.runs.read_sealed(folder / CONFIG)
    values = values.get("config", values)  # of a grid they stand at the top
    names = {field.name for field in dataclasses.fields(options)} - {"out"}
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return options(out=folder, **{name: fields[name] for name in names})


def read_config(path: Path) -> dict[str, Any] | None:
    """Options of an earlier run; None in a fresh folder.

    Raises:
      FolderError: the file is damaged.
    """
    return read_entry(path, "config")


def read_entry(path: Path, name: str) -> Any:
    """One entry of a sealed JSON file; None if there is no file.

    Raises:
      FolderError: the file is damaged, or another one.
    """
    values = _read(path)
    if values is None:
        return None
    if name not in values:
        if "command" in values:
            raise FolderError(
                f"{path} is of a run of {values['command']}; choose another `--out`."
            )
        raise FolderError(
            f"{path} holds no `{name}`: it is another file; restore it from a copy, or "
            "choose another `--out`."
        )
    return values[name]


def _refuse_others(
    out: Path, present: dict[str, Any], wanted: dict[str, Any], may_differ: tuple[str, ...]
) -> None:
    differ = {
        name: (present.get(name), wanted.get(name))
        for name in {**present, **wanted}
        if name not in may_differ and present.get(name) != wanted.get(name)
    }
    if differ:
        listed = "; ".join(
            f"`{flag(name)}` was {_spell(old)}, now {_spell(new)}"
            for name, (old, new) in sorted(differ.items())
        )
        raise FolderError(
            f"`--out {out}` holds another run ({CONFIG}): {listed}. Choose another "
            "folder, or repeat the options of the first run to continue it."
        )


def refuse_lost(folder: Path, path: Path) -> None:
    """Results of which nobody knows what was asked: they would be written over.

    Raises:
      FolderError: there are some, and no file `path` that says what they are.
    """
    if path.exists():
        return
    left = [p for pattern in RESULTS for p in sorted(folder.glob(pattern))]
    if left:
        raise FolderError(
            f"{path} is missing, so nothing says which run "
            f"{left[0].relative_to(folder)} is of; restore it from a copy, or choose "
            "another `--out`."
        )


def as_json(config: Any) -> dict[str, Any]:
    """A dataclass as JSON values, without the folder it is written to.

    Of a file its name and SHA-256, of a folder its name: paths of a machine mean nothing
    elsewhere.
    """
    fields = {
        name: _place(value) if isinstance(value, Path) else value
        for name, value in dataclasses.asdict(config).items()
        if name != "out"
    }
    return json.loads(json.dumps(fields))


def run_label(name: str, config: Any, may_differ: tuple[str, ...]) -> str:
    """The name of a run and a digest of what decides its numbers."""
    return f"{name} {digest_of(config, may_differ)}"


def digest_of(config: Any, may_differ: tuple[str, ...]) -> str:
    """A digest of the options that decide the numbers of a run."""
    fields = {k: v for k, v in as_json(config).items() if k not in may_differ}
    return htf.runs.json_digest(fields)[:16]


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, replacing the file only when all is written; NaN becomes null."""
    text = json.dumps(_finite(values), indent=2, allow_nan=False) + "\n"
    with htf.runs.atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _finite(values: Any) -> Any:
    """JSON knows neither NaN nor infinity: a run must not fail over them at its end."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    lost = isinstance(values, float) and not math.isfinite(values)
    return None if lost else values


def versions() -> dict[str, str]:
    """Versions of Python and packages, and the device."""
    device = jax.devices()[0]
    return htf.runs.versions() | {"device": f"{device.platform} {device.device_kind}"}


def _place(path: Path) -> dict[str, str]:
    place = htf.runs.absolute("path", path)
    if place.is_file():
        return {"file": place.name, "sha256": htf.runs.file_digest(place)}
    return {"folder": place.name}


def _spell(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('file')} (SHA-256 {value['sha256'][:12]})"
    return repr(value)
