"""Type checks, by pyright, of htfjax as a user has it: from a wheel.

`python -m tests.type_checks` prints the share of public names whose types are known, and
the others with what is not known about them.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
COMMANDS = "htfjax.sims"  # not for import by users


class Names(NamedTuple):
    """Public names of htfjax, without the commands, and of those some.

    Attributes:
      known: number of names whose types are known.
      others: names whose types are not -> what is not known about them.
    """

    known: int
    others: dict[str, str]

    @property
    def share(self) -> float:
        """Share of the names whose types are known."""
        return self.known / max(self.known + len(self.others), 1)


def install(folder: Path) -> Path:
    """A folder in `folder` that holds the contents of a wheel built from this clone."""
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def pyright(site: Path, *options: str, folder: Path) -> dict[str, Any]:
    """Pyright's report on `folder`, where `site` comes before this environment.

    With `--verifytypes` pyright takes the first python of PATH, whatever `--pythonpath`
    says; it asks that one for its import path, which begins with PYTHONPATH.
    """
    bin_folder = str(Path(sys.executable).parent)
    places = {
        "PATH": os.pathsep.join([bin_folder, os.environ.get("PATH", "")]),
        "PYTHONPATH": str(site),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", *options],
        cwd=folder, env=os.environ | places, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"pyright gave no report: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def public_names(site: Path) -> Names:
    """What pyright knows of the public names of the package in `site`."""
    options = ("--verifytypes", "htfjax", "--ignoreexternal")
    report = pyright(site, *options, folder=site)
    found = report["typeCompleteness"]
    if Path(found["packageRootDirectory"]) != site / "htfjax":
        raise RuntimeError(f"pyright read another package: {report['generalDiagnostics']}")
    names = [
        symbol for symbol in found["symbols"]
        if symbol["isExported"] and not f"{symbol['name']}.".startswith(f"{COMMANDS}.")
    ]  # fmt: skip
    others = [symbol for symbol in names if not symbol["isTypeKnown"]]
    return Names(len(names) - len(others), {s["name"]: _messages(s) for s in others})


def _messages(symbol: dict[str, Any]) -> str:
    """What pyright says about a name; nothing where it only uses such names."""
    return "; ".join(" ".join(x["message"].split()) for x in symbol["diagnostics"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        names = public_names(install(Path(place).resolve()))
    for name, message in names.others.items():
        sys.stdout.write(f"{name}: {message or 'uses names of this list'}\n")
    count = names.known + len(names.others)
    sys.stdout.write(f"the types of {names.share:.1%} of {count} public names are known\n")
