"""The folder of a run: its lock, what was asked, and whether what it holds fits."""

import contextlib
import dataclasses
import json
import math
import platform
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import htfjax as htf

from .errors import FolderError, SimError

CONFIG, LOCK, STATUS = "config.json", ".lock", "status.json"
# What an earlier run wrote, or a user; config.json says whose it is.
RESULTS = (
    "*/manifest.json", "*.nc", "checkpoints", "runs/*.nc", "parts/*.nc",
    "parts/*/manifest.json", "status.json", "summary.json", "*.png", "*.svg",
)  # fmt: skip


@contextlib.contextmanager
def locked_folder(out: Path) -> Iterator[Path]:
    """Makes a folder and keeps other commands out of it within the block.

    Raises:
      FolderError: it cannot be written. BlockingIOError: another command works in it;
        process and host are named.
    """
    folder = htf.runs.absolute("--out", out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderError(
            f"`--out {out}` cannot be written ({error.strerror}); choose another folder."
        ) from error
    with htf.runs.exclusive_lock(folder / LOCK, f"`--out {out}`"):
        yield folder


@contextlib.contextmanager
def open_folder(
    out: Path, config: Any, *, command: str, may_differ: tuple[str, ...]
) -> Iterator[Path]:
    """Makes or reopens the folder of a run, and keeps other commands out of it.

    Args:
      out: the folder.
      config: a dataclass; written to `config.json`, or compared with what stands there.
        Of files it keeps name and digest, so that other contents make another run.
      command: its name, for `plot` and `status`.
      may_differ: fields that a later run of the same folder may change.

    Raises:
      FolderError: the folder cannot be written, or holds another run's config (the
        fields that differ are named), or results and no config.
      BlockingIOError: another command works in it; process and host are named.
    """
    with locked_folder(out) as folder:
        wanted = as_json(config)
        path = folder / CONFIG
        present = read_config(path)
        if present is not None:
            _refuse_others(out, present, wanted, may_differ)
        else:
            refuse_lost(folder, path)
        values = {"command": command, "config": wanted, "versions": versions()}
        htf.runs.write_sealed(path, values)
        try:
            yield folder
        except (SimError, ValueError, TypeError):
            # A command that was refused has left nothing that others would have to fit.
            ours = (CONFIG, LOCK, STATUS)
            others = [p for p in folder.iterdir() if not p.name.startswith(ours)]
            if present is None and not others:
                path.unlink()
                (folder / STATUS).unlink(missing_ok=True)
            raise


def read_config(path: Path) -> dict[str, Any] | None:
    """What an earlier run was asked for; None in a fresh folder.

    Raises:
      FolderError: the file is damaged.
    """
    return read_entry(path, "config")


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


def read_entry(path: Path, name: str) -> Any:
    """One entry of a sealed JSON file; None if there is no file.

    Raises:
      FolderError: the file is damaged, or another one.
    """
    try:
        values = htf.runs.read_sealed(path)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise FolderError(str(error)) from error
    if name not in values:
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
            f"`{_flag(name)}` was {_spell(old)}, now {_spell(new)}"
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
            f"{path} is missing, so nothing says which run {left[0].relative_to(folder)} "
            "is of; restore "
            "it from a copy, or choose another `--out`."
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
    fields = {k: v for k, v in as_json(config).items() if k not in may_differ}
    return f"{name} {htf.runs.json_digest(fields)[:16]}"


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
    """What ran: Python, packages, device."""
    packages = ("htfjax", "jax", "jaxlib", "optax", "numpy")
    found = {name: _version(name) for name in packages}
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **found,
        "device": f"{device.platform} {device.device_kind}",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _place(path: Path) -> dict[str, str]:
    place = htf.runs.absolute("path", path)
    if place.is_file():
        return {"file": place.name, "sha256": htf.runs.file_digest(place)}
    return {"folder": place.name}


def _spell(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('file')} (SHA-256 {value['sha256'][:12]})"
    return repr(value)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
