"""Contract: what the folders of the commands hold."""

import json
from pathlib import Path
from typing import Any

import htfjax as htf
from tests.guards import commands

KEPT = Path(__file__).parent / "data" / "contract.json"
ABOUT = (
    "What the folders of the commands hold. Additions are allowed, removals are not; "
    "only names under `data_files` may be changed, with the format of the data."
)


def folder_facts(folder: Path) -> dict[str, Any]:
    """Names of files, keys of JSON files, and the layout of the records."""
    names = {
        path.name + "/" * path.is_dir()
        for path in folder.iterdir()
        if not path.name.startswith(".")
    }
    names |= {
        path.relative_to(folder).as_posix()
        for kind in ("*.nc", "*.npz")
        for path in folder.rglob(kind)
    }
    files = {n for n in names if n.endswith((".png", ".svg"))}
    files |= names & {"config.json", "summary.json"}
    facts: dict[str, Any] = {
        "files": sorted(files),
        "data_files": sorted(names - files),
        "summary": _keys(folder / "summary.json"),
    }
    if "config.json" in files:
        facts["config"] = _keys(folder / "config.json")
        nested = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if isinstance(nested.get("config"), dict):
            facts["config"] += sorted(f"config/{key}" for key in nested["config"])
    return facts


def _keys(path: Path) -> list[str]:
    return sorted(json.loads(path.read_text(encoding="utf-8")))


def record_facts(folder: Path) -> dict[str, Any]:
    """Variables with their dimensions, and coordinates with their values."""
    data = htf.load_results(folder)
    return {
        "sizes": {str(dim): int(size) for dim, size in data.sizes.items()},
        "variables": {str(k): list(v.dims) for k, v in sorted(data.data_vars.items())},
        "coordinates": {str(k): list(v.dims) for k, v in sorted(data.coords.items())},
        "labels": {
            str(k): v.values.tolist()
            for k, v in sorted(data.coords.items())
            if v.dims == (k,) and v.size <= 32
        },
    }


def facts(name: str, base: Path) -> dict[str, Any]:
    """What is kept of a job, or of a command that reads the folder of one."""
    if name == "plot":
        drawn = base / "plot"
        source = commands.finished("incremental_rank", base)
        commands.execute("sims.plot", str(source), "--out", str(drawn))
        return {"files": sorted(path.name for path in drawn.iterdir())}
    if name == "status":
        source = commands.finished("rank_statistics", base)
        said = commands.execute("sims.status", str(source), "--json")
        return {"keys": sorted(json.loads(said))}
    folder = commands.finished(name, base)
    found = folder_facts(folder)
    return found if commands.JOBS[name].values else found | record_facts(folder)


NAMES = (*commands.JOBS, "plot", "status")


def broken(found: Any, kept: Any, where: str) -> list[str]:
    """What was kept and is not found; more may be found."""
    if isinstance(kept, dict):
        lost = [f"{where}/{key} is lost" for key in kept if key not in found]
        return lost + [
            line
            for key in kept.keys() & found.keys()
            for line in broken(found[key], kept[key], f"{where}/{key}")
        ]
    ordered = where.split("/")[1] in ("sizes", "variables", "coordinates", "labels")
    if ordered:
        return [] if found == kept else [f"{where} was {kept}, is {found}"]
    return [f"{where}: {name} is lost" for name in kept if name not in found]


def kept() -> dict[str, Any]:
    """The facts kept, by job."""
    return json.loads(KEPT.read_text(encoding="utf-8"))["jobs"]
