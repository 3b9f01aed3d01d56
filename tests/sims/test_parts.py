"""Parts of the theory's commands: resumed, extended, damaged, drawn again, counted."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import htfjax as htf
from sims import (
    component_dynamics,
    flow_against_descent,
    init_scale,
    mode_tree_shape,
    plot,
    status,
)
from sims.common import folder, parts
from sims.common.errors import FolderError, SettingError

pytestmark = pytest.mark.usefixtures("ordinary_promotion")

RECORDS = np.arange(1.0, 41.0)


def rising(*words: Any) -> np.ndarray:
    """Four curves that rise one after another, others for other words."""
    rng = np.random.default_rng([*map(ord, repr(words))])
    return 1 / (1 + np.exp(rng.uniform(5, 35, 4) - RECORDS[:, None]))


def dataset(dim: str, names: tuple[str, ...], curves: Any, **attrs: Any) -> xr.Dataset:
    """Numbers along a dimension, and curves of several components."""
    numbers = {name: (dim, np.exp(-RECORDS / 10)) for name in names}
    labels = {"modes": ["0,1", "0,2"], "target_rank": ("modes", [2, 4])}
    coords = {"step": np.arange(len(RECORDS))} if dim == "step" else {}
    return xr.Dataset(
        numbers | {name: ((dim, *more), values) for name, (more, values) in curves.items()},
        coords | (labels if "spectra" in curves else {}), attrs,
    )  # fmt: skip


def scaled(*words: Any) -> xr.Dataset:
    """A flow of `init_scale`."""
    curves = {"singular_value": (("index",), rising(*words))}
    run = dataset("record", (), curves, status="stopped", evaluations=7, degree=6)
    return run.assign(time=("record", RECORDS))


def flow(*words: Any) -> xr.Dataset:
    """One of `flow_against_descent`."""
    run = dataset(
        "record", ("losses", "grads"), {"values": (("index",), rising(*words))},
        status="stopped", evaluations=7, drift=1e-3,
    )  # fmt: skip
    return run.assign(path=("record", RECORDS))


def descent(*words: Any) -> xr.Dataset:
    """One of `flow_against_descent`, which has ended."""
    names = ("loss", "grad_norm", "step_length", "chord", "duration")
    curves = {"value": (("index",), rising(*words))}
    return dataset("step", names, curves, status="converged")


def learned(*words: Any) -> xr.Dataset:
    """A descent of `mode_tree_shape`, which has ended."""
    spectra = np.stack([rising(0, *words), rising(1, *words)], 1)
    return dataset("step", ("loss", "error"), {"spectra": (("modes", "index"), spectra)})


def compared(*words: Any) -> xr.Dataset:
    """A flow of `component_dynamics`."""
    names = ("sigma", "rate", "lower", "upper", "exact", "balanced")
    errors = ("exact_law_error", "balanced_law_error", "outside_bounds", "descent_error")
    curves = {name: (("component",), rising(name, *words)) for name in names}
    run = dataset("record", (), curves, **dict.fromkeys(errors, 0.1))
    return run.assign(path=("record", RECORDS))


def converged(*words: Any) -> xr.Dataset:
    del words
    distance = ("steps", [0.4, 0.2, 0.1])
    return xr.Dataset(
        {"distance": distance}, {"steps": [1, 2, 4]}, {"span": 1.0, "order": 1.0}
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A command, what computes its parts, and options that add some."""

    module: Any
    units: dict[str, Callable[..., xr.Dataset]]
    count: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    added: int = 0

    @property
    def name(self) -> str:
        """Of the command."""
        return self.module.__name__.rpartition(".")[2]

    def run(self, out: Path, **changes: Any) -> dict[str, Any]:
        """The command into a folder."""
        return self.module.run(self.module.Config(out=out, **{**self.options, **changes}))


CASES = [
    Case(init_scale, {"_flow": scaled}, 2, {"stds": (0.2, 0.1), "seeds": (0,)},
         {"stds": (0.2, 0.1, 0.05)}, 1),
    Case(mode_tree_shape, {"_learn": learned}, 2, {"seeds": (0,)}, {"seeds": (0, 3)}, 2),
    Case(flow_against_descent,
         {"_flow": flow, "_descent": descent, "_convergence": converged}, 4,
         {"learning_rates": (1e-2,)}, {"learning_rates": (1e-2, 1e-3)}, 1),
    Case(component_dynamics, {"_compare": compared}, 2, {"trees": ("flat",)},
         {"trees": ("flat", "arity 3")}, 2),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    """Each command."""
    return request.param


def experiment(case: Case) -> parts.Experiment:
    """Behind the command."""
    return case.module.redraw.args[0]


def no_figures(*_: Any) -> dict[str, Any]:
    """Drawing takes longer than these parts."""
    return {}


class Computed(list):
    """Calls of what computes a part; the one numbered `stop` is interrupted."""

    stop: int | None = None


@pytest.fixture
def computed(case: Case, monkeypatch: pytest.MonkeyPatch) -> Computed:
    """Quick flows and descents, counted; figures are not drawn."""
    calls = Computed()

    def counted(unit: str, quick: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
        def compute(config: Any, *words: Any) -> xr.Dataset:
            if len(calls) == calls.stop:
                raise KeyboardInterrupt
            calls.append((unit, *words))
            return quick(unit, *words)

        return compute

    for unit, quick in case.units.items():
        monkeypatch.setattr(case.module, unit, counted(unit, quick))
    quick_run = functools.partial(parts.run, experiment(case)._replace(draw=no_figures))
    monkeypatch.setattr(case.module, "run", quick_run)
    return calls


def test_an_interrupted_command_resumes(
    case: Case, computed: Computed, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """After the first part; the same command computes the others, and the same summary."""
    whole = case.run(tmp_path / "whole")
    computed.clear()
    computed.stop, out = 1, tmp_path / "run"
    said = (
        f"^1 of {case.count} parts are saved; the same command resumes, .* from its start$"
    )
    with pytest.raises(KeyboardInterrupt, match=said):
        case.run(out)
    found = status.read(out)
    assert (len(found["parts"]), len(found["missing"])) == (case.count, case.count - 1)
    assert status.sentence(found) == "interrupted: the same command resumes"
    status.report(found, status.Options(out), Console(width=500))
    said = capsys.readouterr().out
    assert f"missing: {found['missing'][0]}" in said
    assert f"1 of {case.count} parts done, last heard" in said
    assert not (out / "summary.json").exists()
    with pytest.raises(FolderError, match=f"lacks {found['missing'][0]}"):
        plot.run(plot.Options(folders=(out,)))
    computed.stop = None
    assert case.run(out) == whole
    assert len(computed) == len(set(computed)) == case.count
    texts = [(x / "summary.json").read_text() for x in (out, tmp_path / "whole")]
    assert texts[0] == texts[1]
    assert status.read(out)["missing"] == []
    assert status.sentence(status.read(out)) == "finished"


def test_an_extended_command_computes_what_is_new(
    case: Case, computed: Computed, tmp_path: Path
) -> None:
    whole = case.run(tmp_path / "whole", **case.more)
    case.run(tmp_path / "run")
    computed.clear()
    assert case.run(tmp_path / "run", **case.more) == whole
    assert len(computed) == case.added
    case.run(tmp_path / "run")  # fewer are of the same folder
    assert len(computed) == case.added
    if case.options:
        name = next(iter(case.options))
        with pytest.raises(SettingError, match=f"`--{name.replace('_', '-')}` is empty"):
            case.run(tmp_path / "run", **{name: ()})
    with pytest.raises(FolderError, match=r"holds another run.*`--widths` was"):
        case.run(tmp_path / "run", widths=3)


def test_damaged_parts_are_computed_anew_and_foreign_ones_refused(
    case: Case, computed: Computed, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole = case.run(tmp_path)
    first, second, *_ = sorted((tmp_path / "parts").iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    computed.clear()
    assert case.run(tmp_path) == whole
    assert f"{first} is damaged and is computed anew" in capsys.readouterr().err
    assert len(computed) == 1
    first.write_bytes(second.read_bytes())
    for work in (case.run, lambda out: plot.run(plot.Options(folders=(out,)))):
        with pytest.raises(FolderError, match=f"{first} holds a part of another run"):
            work(tmp_path)
    assert len(computed) == 1
    (tmp_path / "config.json").unlink()
    with pytest.raises(FolderError, match=r"config.json is missing.* parts/"):
        case.run(tmp_path)


def test_plot_draws_without_computing(
    case: Case, computed: Computed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = case.run(tmp_path / "run")
    computed.stop = len(computed)
    again: dict[str, Any] = {}
    monkeypatch.setattr(plot, "save_figures", lambda figures, out: again.update(figures))
    options = plot.Options(folders=(tmp_path / "run",), out=tmp_path / "drawn")
    written = plot.run(options)
    assert case.name in {path.stem for path in written} == set(again)
    assert all(figure.axes[0].lines for figure in again.values())
    assert experiment(case).draw is case.module.draw
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    plt.close("all")
    with pytest.raises(SettingError, match=f"`{case.name}`: .*--window"):
        plot.run(dataclasses.replace(options, window=(0.0, 1.0)))


# Commands that are not experiments, and experiments with descents


@contextlib.contextmanager
def stop_at_once() -> Iterator[Callable[[], bool]]:
    """As if a signal had come."""
    yield lambda: True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "options"),
    [
        (mode_tree_shape, {"widths": 2, "dim": 3, "observed": 60, "num_steps": 800,
                           "seeds": (0,)}),
        (flow_against_descent, {"widths": 4, "dim": 3, "observed": 60, "init_std": 0.3,
                                "stop_loss": 20.0, "learning_rates": (1e-3,),
                                "num_steps": 200, "chord_steps": 2}),
    ],
)  # fmt: skip
def test_descents_resume_where_they_were(
    module: Any, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after a chunk; the summary equals that of an unbroken command."""
    monkeypatch.setattr(parts, "save_figures", lambda figures, out: plt.close("all"))
    whole = module.run(module.Config(out=tmp_path / "whole", **options))
    config = module.Config(out=tmp_path / "run", **options)
    with monkeypatch.context() as patch:
        patch.setattr(htf.runs, "stop_requested", stop_at_once)
        with pytest.raises(KeyboardInterrupt, match="where it was"):
            module.run(config)
    assert status.read(config.out)["missing"]
    descents = sorted((config.out / "parts").glob("*/status.json"))
    assert status.sentence(status.read(descents[0].parent)).startswith("interrupted")
    with pytest.raises(FolderError, match="lacks"):
        module.redraw(config.out)
    assert module.run(config) == whole


def test_a_command_that_is_none_is_named(tmp_path: Path) -> None:
    """Of another htfjax, for example; nothing is imported."""
    for name, words in (
        ("os", "`os`, which is no command"),
        ("verify", "`verify` draws no"),
    ):
        values = {"command": name, "config": {}}
        htf.runs.write_sealed(tmp_path / folder.CONFIG, values)
        with pytest.raises((FolderError, SettingError), match=words):
            plot.run(plot.Options(folders=(tmp_path,)))
    assert json.loads((tmp_path / folder.CONFIG).read_text())["command"] == "verify"
