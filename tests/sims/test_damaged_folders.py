"""Damage to every file of finished and unfinished folders, for every command."""

import collections
import contextlib
import dataclasses
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.image import imread

import htfjax as htf
from sims import (
    component_dynamics,
    flow_against_descent,
    incremental_rank,
    init_scale,
    is_same_class,
    mode_tree_shape,
    pathfinder,
    phase_diagram,
    rank_statistics,
    status,
    verify,
)
from sims.common.errors import SimError
from sims.common.settings import Config
from tests.sims.small import REPOSITORY

pytestmark = [pytest.mark.durable, pytest.mark.usefixtures("ordinary_promotion")]


@pytest.fixture(autouse=True)
def few_programs() -> Iterator[None]:
    """Forgets compiled programs: a test here runs a command once for every file.

    Some six hundred programs are what a process can hold; three tests of incremental_rank
    in a row ended it by a segmentation fault.
    """
    yield
    jax.clear_caches()


STUDY: dict[str, Any] = {
    "preset": "smoke", "workers": 1, "train_sizes": (64,), "test_size": 16,
    "coefficients": (0.0,), "measure": True,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Command:
    """A command at its smallest: `run(out, seed, amount)`.

    Amounts are of the folder that is damaged and of what is asked of an unfinished one.
    A command without a second amount computes all in one session, so that an unfinished
    folder of it holds what was asked, and nothing else.
    """

    run: Callable[[Path, int, int], Any]
    amounts: tuple[int, int] | None = None

    def finish(self, out: Path, seed: int = 0, *, more: bool = False) -> Any:
        """Runs to the end of the first amount or of the second one."""
        return self.run(out, seed, 0 if self.amounts is None else self.amounts[more])


def _incremental_rank(out: Path, seed: int, amount: int) -> Any:
    return incremental_rank.run(
        Config(
            out=out, panel="htf", mode_dims=(3,), widths=(4,), init_std=0.3, observed=60,
            target_ranks=(2,), record_every=5, tolerance=1e-12, num_steps=amount,
            seed=seed,
        )
    )  # fmt: skip


def _rank_statistics(out: Path, seed: int, amount: int) -> Any:
    return rank_statistics.run(
        rank_statistics.Config(
            out=out, models=("mf",), num_seeds=2, widths=4, num_steps=amount,
            record_every=10, init_scales=(1.0, 2.0), target_rank=2, seed=seed,
        )
    )  # fmt: skip


def _phase_diagram(out: Path, seed: int, amount: int) -> Any:
    return phase_diagram.run(
        phase_diagram.Config(
            out=out, models=("mf",), num_seeds=2, widths=4, num_steps=amount,
            record_every=10, target_ranks=(1,), ratios=(1.0, 2.0), seed=seed,
        )
    )  # fmt: skip


def _is_same_class(out: Path, seed: int, amount: int) -> Any:
    options = STUDY | {"epochs": amount, "seeds": (seed, seed + 1)}
    return is_same_class.run(is_same_class.Config(out=out, distances=(4,), **options))


def _pathfinder(out: Path, seed: int, amount: int) -> Any:
    options = STUDY | {"epochs": amount, "seeds": (seed, seed + 1)}
    return pathfinder.run(pathfinder.Config(out=out, **options))


def _component_dynamics(out: Path, seed: int, _: int) -> Any:
    return component_dynamics.run(
        component_dynamics.Config(out=out, trees=("flat",), widths=2, seed=seed)
    )


def _flow_against_descent(out: Path, seed: int, _: int) -> Any:
    return flow_against_descent.run(
        flow_against_descent.Config(
            out=out, widths=8, dim=4, observed=200, num_steps=2000, init_std=0.1,
            learning_rates=(1e-2,), rtol=1e-3, seed=seed,
        )
    )  # fmt: skip


def _init_scale(out: Path, seed: int, _: int) -> Any:
    return init_scale.run(
        init_scale.Config(out=out, stds=(0.2, 0.1), seeds=(seed,), widths=4, rank=2)
    )


def _mode_tree_shape(out: Path, seed: int, _: int) -> Any:
    return mode_tree_shape.run(
        mode_tree_shape.Config(
            out=out, widths=3, dim=3, observed=40, num_steps=300, seeds=(seed,)
        )
    )


def _verify(out: Path, seed: int, _: int) -> Any:
    return verify.run_into_folder(verify.Config(out=out, only=("A1",), seed=seed))


COMMANDS = {
    "incremental_rank": Command(_incremental_rank, (100, 600)),
    "rank_statistics": Command(_rank_statistics, (40, 80)),
    "phase_diagram": Command(_phase_diagram, (40, 80)),
    "is_same_class": Command(_is_same_class, (1, 2)),
    "pathfinder": Command(_pathfinder, (1, 2)),
    "component_dynamics": Command(_component_dynamics),
    "flow_against_descent": Command(_flow_against_descent),
    "init_scale": Command(_init_scale),
    "mode_tree_shape": Command(_mode_tree_shape),
    "verify": Command(_verify),
}
RANDOM = re.compile(r"[0-9a-f]{32}")  # names of files in checkpoints
FIGURES = (".png", ".svg")
DAMAGES = ("truncated", "emptied", "flipped", "removed", "swapped", "of a sister")
ADVICE = re.compile(
    r"restore|put back|choose|remove|move |run the same|same command|repeat the options",
    re.IGNORECASE,
)


# Folders, each computed once


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, once for the same numbers: its programs are compiled at every call."""
    known: dict[Any, Any] = {}

    def recall(*args: Any, **options: Any) -> Any:
        key = []
        for leaf in jax.tree.leaves((args, options)):
            if isinstance(leaf, np.ndarray | jax.Array):
                key.append(np.asarray(leaf).tobytes())
            elif isinstance(leaf, int | float | str):
                key.append(repr(leaf))
        key = tuple(key)
        if key not in known:
            known[key] = function(*args, **options)
        return known[key]

    return recall


@pytest.fixture(scope="module", autouse=True)
def one_computation() -> Iterator[None]:
    """Of flows and descents that no folder keeps."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("gradient_flow", "descend"):
            patch.setattr(htf, name, remembered(getattr(htf, name)))
        yield


@contextlib.contextmanager
def cheap_figures() -> Iterator[None]:
    """Whole files, but empty pictures."""
    plain = Figure(figsize=(1, 1))
    draw = plain.savefig

    def write(_: Figure, place: Any, **options: Any) -> None:
        draw(place, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", write)
        yield


Made = dict[tuple[str, str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Folders by command and kind, as tests ask for them."""
    del tmp_path_factory
    return {}


def folder_of(
    made: Made, name: str, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder not to be changed: finished, unfinished, completed or of another seed."""
    if (name, kind) not in made:
        command, out = COMMANDS[name], tmp_path_factory.mktemp(name) / "run"
        if kind == "unfinished":
            shutil.copytree(folder_of(made, name, "finished", tmp_path_factory), out)
            if command.amounts is None:
                for path in out.iterdir():
                    if path.suffix in FIGURES or path.name == "summary.json":
                        path.unlink()
        else:
            seed = 1 if kind == "sister" else 0
            command.finish(out, seed, more=kind == "completed")
        made[name, kind] = out
    return made[name, kind]


# What a folder says


def without_seconds(values: Any) -> Any:
    """JSON values without times, processes and hosts."""
    if isinstance(values, dict):
        return {
            name: without_seconds(value)
            for name, value in values.items()
            if not re.search(r"seconds|per_step|^(time|pid|host|sha256|digest)$", name)
        }
    return [without_seconds(v) for v in values] if isinstance(values, list) else values


def datasets(folder: Path) -> dict[str, xr.Dataset]:
    """All results, read to the last number."""
    found = {
        str(path.relative_to(folder)): htf.load_results(path).load()
        for path in sorted(folder.rglob("*.nc"))
    }
    for path in (folder, *sorted(p for p in folder.rglob("*") if p.is_dir())):
        if (path / "manifest.json").exists() or (path / "results.zarr").exists():
            found[str(path.relative_to(folder))] = htf.load_results(path).load()
    return found


def differences(folder: Path, whole: Path) -> list[str]:
    """In what a folder differs from another one; nothing where it does not."""
    names, more = (
        sorted({Path(RANDOM.sub("*", str(path))) for path in listed(place)})
        for place in (whole, folder)
    )
    found = [f"{name} is missing" for name in names if name not in more]
    found += [f"{name} is more" for name in more if name not in names]
    ours, theirs = datasets(folder), datasets(whole)
    for name, dataset in theirs.items():
        if name not in ours:
            continue
        drop = [v for v in dataset.variables if "seconds" in str(v)]
        one, two = ours[name].drop_vars(drop), dataset.drop_vars(drop)
        one.attrs, two.attrs = without_seconds(one.attrs), without_seconds(two.attrs)
        if not one.identical(two):
            found.append(f"{name} has other values")
    for name in set(names) & set(more):
        if name.suffix == ".png":
            imread(folder / name)
        elif name.suffix == ".svg":
            ElementTree.parse(folder / name)
        elif name.name in ("summary.json", "config.json", "images.json", "manifest.json"):
            one, two = (json.loads((x / name).read_text()) for x in (folder, whole))
            if without_seconds(one) != without_seconds(two):
                found.append(f"{name} says something else")
    return found


def listed(folder: Path) -> list[Path]:
    """All files, relative to the folder."""
    return [
        path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()
    ]


def damaged_names(folder: Path) -> list[Path]:
    """Every file; two chunks of records and of labels, one run of a study."""
    names = listed(folder)
    runs = [name.parent for name in names if name.match("runs/*/manifest.json")]
    names = [name for name in names if not any(map(name.is_relative_to, runs[1:]))]
    depths = {name: len(name.parts) - name.parts.index("results.zarr")
              for name in names if is_chunk(name)}  # fmt: skip
    records = [name for name, depth in depths.items() if depth > 5]
    labels = [name for name, depth in depths.items() if depth == 5]
    left = {*records[1:-1], *labels[1:-1]}
    return [name for name in names if name not in left]


def is_chunk(name: Path) -> bool:
    """Such as results.zarr/p000/loss/c/0/1."""
    return "c" in name.parts


def hurt(folder: Path, name: Path, kind: str, sister: Path) -> set[Path]:
    """Damages a file; the names of all that changed."""
    path = folder / name
    content = path.read_bytes()
    middle = len(content) // 2
    if kind == "truncated":
        path.write_bytes(content[:middle])
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "flipped":
        flipped = bytes([(content or b"0")[middle] ^ 4])
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    elif kind == "removed":
        path.unlink()
    elif kind == "of a sister":
        twin = sister / name
        if not twin.exists():  # names of runs and of checkpoints
            others = listed(sister)
            twin = sister / others[min(listed(folder).index(name), len(others) - 1)]
        path.write_bytes(twin.read_bytes())
    else:
        names = damaged_names(folder)
        turn = names[names.index(name) + 1 :] + names[: names.index(name)]
        kind_of = (name.suffix, is_chunk(name))
        like = [other for other in turn if (other.suffix, is_chunk(other)) == kind_of]
        other = (like or turn)[0]
        path.write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(content)
        return {name, other}
    return {name}


def complaint(work: Callable[[], Any], hurt_names: set[Path], out: Path) -> str | None:
    """The message of an error that names what was hurt and what to do; None without."""
    try:
        work()
    except (SimError, ValueError, OSError) as error:
        said = str(error)
        names = {part for name in hurt_names for part in (name.name, name.parent.name)}
        named = any(part and part in said for part in names) and str(out) in said
        assert named, f"does not name the file: {said}"
        assert ADVICE.search(said), f"does not say what to do: {said}"
        return said
    return None


def outcome(
    folder: Path, kind: str, names: set[Path], source: Path, whole: Path,
    again: Callable[[], Any], capsys: pytest.CaptureFixture,
) -> str:  # fmt: skip
    """What comes of a damaged folder, read and then run again."""
    read: dict[str, xr.Dataset] = {}
    complaint(lambda: read.update(datasets(folder)), names, folder)
    theirs = datasets(source)
    for name, dataset in read.items():
        # A whole file of another run is that run's to whoever reads this file alone.
        if kind not in ("swapped", "of a sister") or Path(name) not in names:
            assert dataset.identical(theirs[name]), f"{name} is read with other values"
    if (folder / "status.json").exists():
        complaint(lambda: status.read(folder), names, folder)
    capsys.readouterr()
    if complaint(again, names, folder) is not None:
        return "named and refused"
    said = capsys.readouterr().err
    if kind == "of a sister" and Path("manifest.json") in names:
        # This made it the sister's folder, with the seeds that were asked for now.
        assert "do not fit" in said
        ours, theirs = datasets(folder)["."], datasets(whole)["."]
        assert ours.sel(seed=theirs.seed).identical(theirs)
        return "named and mended"
    different = differences(folder, whole)
    named = any(name.name in said or name.parent.name in said for name in names)
    if source == whole and all("checkpoints" in name.parts for name in names):
        # Nothing needs the checkpoint of what is finished, until more is asked.
        different = [d for d in different if not re.match(r"(runs/[^/]*/)?checkpoints/", d)]
        assert named, f"a checkpoint is lost, and nothing says so: {said!r}"
        assert ADVICE.search(said), f"does not say what to do: {said!r}"
    assert not different, f"run to its end, but {different}; it said {said!r}"
    if not named:
        return "mended"
    again()
    assert not [d for d in differences(folder, whole) if "checkpoints/" not in d]
    return "named and mended"


CASES = [
    pytest.param(name, state, kind, id=f"{name}-{state}-{kind}")
    for name in COMMANDS
    for state in ("finished", "unfinished")
    for kind in DAMAGES
]


@pytest.mark.parametrize(("name", "state", "kind"), CASES)
def test_every_damaged_file_is_mended_or_named(
    name: str, state: str, kind: str, made: Made, tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """The same command makes the folder whole, or says which file and what to do."""
    more = state == "unfinished"
    with cheap_figures():
        source, sister, whole = (
            folder_of(made, name, one, tmp_path_factory)
            for one in (state, "sister", "completed" if more else "finished")
        )
    found, failed, folder = collections.Counter(), [], tmp_path / "run"
    for file in damaged_names(source):
        shutil.copytree(source, folder)
        with contextlib.nullcontext() if file.suffix in FIGURES else cheap_figures():
            names = hurt(folder, file, kind, sister)
            if (folder / file).exists() and filecmp.cmp(
                folder / file, source / file, shallow=False
            ):
                found["unhurt"] += 1  # the sister's is the same
                shutil.rmtree(folder)
                continue
            try:
                found[outcome(
                    folder, kind, names, source, whole,
                    lambda: COMMANDS[name].finish(folder, more=more), capsys,
                )] += 1  # fmt: skip
            except (Exception, pytest.fail.Exception) as error:
                failed.append(f"{file}: {type(error).__name__}: {error}")
        shutil.rmtree(folder)
    said = ", ".join(f"{count} {word}" for word, count in sorted(found.items()))
    print(f"{name}, {state}, {kind}: {said}, {len(failed)} failed")  # noqa: T201
    assert not failed, "\n".join(failed)
    assert sum(found.values()) >= 2


SMALLEST = {
    "rank_statistics": ["--models", "mf", "--num-seeds", "1", "--widths", "4"],
    "phase_diagram": ["--models", "mf", "--num-seeds", "1", "--widths", "4"],
    "is_same_class": ["--preset", "smoke"],
    "pathfinder": ["--preset", "smoke"],
    "verify": ["--only", "A1"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_refusal_is_one_line(name: str, tmp_path: Path) -> None:
    """Of a process of its own, with exit code 2."""
    grids = ("rank_statistics", "phase_diagram")
    file = tmp_path / ("manifest.json" if name in grids else "config.json")
    file.write_text('{"config": ')
    words = SMALLEST.get(name, [])
    done = subprocess.run(
        [sys.executable, "-m", f"sims.{name}", "--out", str(tmp_path), *words],
        cwd=REPOSITORY, text=True, capture_output=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(file) in line
    assert ADVICE.search(line)
    assert file.read_text() == '{"config": '
