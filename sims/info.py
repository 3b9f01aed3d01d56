"""Which versions, devices and caches does htfjax have here?

What a report of a fault should contain. The options are read by the standard library, so
that this works where parts of htfjax are missing.
"""

import argparse
import importlib
import json
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import htfjax as htf

from .common.names import typed

CORE = ("jax", "jaxlib", "numpy", "optax", "diffrax", "equinox")
MISSING = "not installed"


def parts() -> list[str]:
    """Names of the packages that htfjax uses, those of its extras included."""
    try:
        needed = metadata.requires("htfjax") or []
    except metadata.PackageNotFoundError:  # a clone that was not installed
        return list(CORE)
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed]
    return list(dict.fromkeys(name for name in names if name != "htfjax"))


def version_of(package: str) -> str:
    """The installed version of a package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING


def devices() -> list[str]:
    """Devices of jax, equal ones counted."""
    kinds = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
    return [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]


def cache() -> str:
    """Where commands keep compiled programs, and how many there are."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder:
        try:
            programs = importlib.import_module(".common.programs", __package__)
        except ModuleNotFoundError as error:
            return f"none: {error.name} is not installed"
        folder = programs.cache_folder()
        if folder is None:
            return f"none: {programs.SWITCH}=off"
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return f"{folder} ({len(files)} files, {size / 1e6:.1f} MB)"


def read() -> dict[str, Any]:
    """Versions, devices and caches as JSON values."""
    return {
        "htfjax": htf.__version__,
        "folder": str(Path(str(sys.modules["htfjax"].__file__)).parent),
        "python": platform.python_version(),
        "system": platform.platform(),
        "parts": {name: version_of(name) for name in parts()},
        "devices": devices(),
        "float64": bool(jax.config.values["jax_enable_x64"]),
        "compiled programs": cache(),
    }


def lines(values: dict[str, Any]) -> list[str]:
    """One line per value, lists and tables indented below their names."""
    rows = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += [f"{name}:", *(f"  {key}: {text}" for key, text in value.items())]
        elif isinstance(value, list):
            rows += [f"{name}:", *(f"  {text}" for text in value)]
        else:
            rows.append(f"{name}: {value}")
    return rows


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=typed("info"),
        description="Prints versions, devices and caches, for a report of a fault.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print all as JSON")
    asked, values = parser.parse_args(), read()
    text = json.dumps(values, indent=1) if asked.json else "\n".join(lines(values))
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
