"""The folder of a run: what was asked, what came out, and whether the two fit."""

import dataclasses
import json
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from sims._errors import FolderError


def open_folder(out: Path, config: Any, *, may_differ: tuple[str, ...]) -> Path:
    """Makes or reopens the folder of a run.

    Args:
      out: the folder.
      config: a dataclass; written to `config.json`, or compared with what stands there.
      may_differ: fields that a later run of the same folder may change.

    Raises:
      FolderError: the folder cannot be written, or holds another run's config (the
        fields that differ are named).
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise FolderError(
            f"`--out {out}` cannot be written ({error.strerror}); choose another folder."
        ) from error
    wanted = as_json(config)
    path = out / "config.json"
    if path.exists():
        found = read_json(path, "config")
        differ = {
            name: (found.get(name), wanted.get(name))
            for name in {**found, **wanted}
            if name not in may_differ and found.get(name) != wanted.get(name)
        }
        if differ:
            listed = "; ".join(
                f"`{_flag(name)}` was {old!r}, now {new!r}"
                for name, (old, new) in sorted(differ.items())
            )
            raise FolderError(
                f"`--out {out}` holds another run: {listed}. Choose another folder, or "
                "repeat the options of the first run to continue it."
            )
    write_json(path, {"config": wanted, "versions": versions()})
    return out


def as_json(config: Any) -> dict[str, Any]:
    """A dataclass as JSON values, without the folder it is written to."""
    fields = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    fields.pop("out", None)
    return fields


def read_json(path: Path, name: str) -> Any:
    """One entry of a JSON file.

    Raises:
      FolderError: the file holds no such thing.
    """
    try:
        return json.loads(path.read_text())[name]
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(
            f"{path} is damaged ({error}); choose another `--out`."
        ) from error


def write_json(path: Path, values: Any) -> None:
    """Writes JSON, replacing the file only when all is written."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n")
    os.replace(temporary, path)


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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
