"""Folders to report on, and reports read back from their pages."""

import csv
import html.parser
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import htfjax as htf
from sims import incremental_rank, report
from sims.common import parts
from sims.common.folder import open_folder, write_json
from sims.init_scale import Config as Scales
from sims.is_same_class import Config as Networks
from tests.sims.small import small


def grid(out: Path, seeds: int = 3) -> Path:
    """Runs of a bare grid: two starts, several seeds."""
    setting = htf.problems.Completion(mode_dims=3, widths=4, observed=30, init_std=0.3)
    asked = htf.runs.Grid(setting, range(seeds), {"init_std": (0.2, 0.4)})
    for _ in htf.runs.run(asked, out, until_step=30, record_every=5):
        pass
    return out


def panel(out: Path, **changes: Any) -> Path:
    """A run of the hierarchical panel, whose figures were drawn by somebody else."""
    incremental_rank.run(small(out, num_steps=30, **changes))
    return out


def another(folder: Path, out: Path) -> Path:
    """A copy of a run of a command that says it had another start."""
    shutil.copytree(folder, out)
    values = htf.runs.read_sealed(out / "config.json")
    values["config"]["init_std"] = 0.4
    htf.runs.write_sealed(out / "config.json", values)
    return out


def flows(out: Path) -> Path:
    """Two parts of an experiment, as `init_scale` writes them."""
    config = Scales(out, stds=(0.2, 0.1), seeds=(0,))
    names = ["seed 0, std 0.2", "seed 0, std 0.1"]
    with open_folder(out, config, may_differ=()) as folder:
        for i, name in enumerate(names):
            place = parts.place_of(folder, name)
            place.parent.mkdir(exist_ok=True)
            values = np.linspace(0, 1 + i, 6).reshape(3, 2)
            part = xr.Dataset(
                {"time": ("record", [0.0, 0.5, 2.0]),
                 "singular_value": (("record", "index"), values)},
                attrs={"label": name},
            )  # fmt: skip
            htf.save_results(parts.file_of(place), part)
        parts.tell(folder, names, "finished")
        write_json(folder / "summary.json", {name: {"half_rise": [1.5]} for name in names})
    return out


def networks(out: Path) -> Path:
    """Two distances, two arms and two seeds, as a study of networks collects them."""
    dims = ("distance", "arm", "train_size", "canvas", "network", "seed")
    shape = (2, 2, 1, 1, 1, 2)
    values = np.arange(8.0).reshape(shape) / 10
    course = values[..., None] * np.ones(3)
    data = xr.Dataset(
        {"test_accuracy": (dims, values), "status": (dims, np.full(shape, "capped")),
         "train_accuracy_of_epoch": ((*dims, "epoch"), course)},
        coords={"distance": [0, 16], "arm": ["coefficient 0", "coefficient 1"],
                "train_size": [160], "canvas": ["8x20"], "network": ["tiny"],
                "seed": [0, 1], "epoch": [0, 1, 2]},
    )  # fmt: skip
    with open_folder(out, Networks(out, preset="smoke"), may_differ=()) as folder:
        htf.save_results(folder / "results.nc", data)
        row = {"distance": 0, "test_accuracy": {"mean": 0.5, "deviation": 0.125}}
        write_json(folder / "summary.json", {"rows": [row, row], "state": "finished"})
    return out


def completion(out: Path) -> Path:
    """A completion of a table of three modes, as `complete` records it."""
    out.mkdir()
    (out / "parts").mkdir()
    record = xr.Dataset(
        {"rank": ("node", [2, 1, 1, 1]),
         "singular_value": (("node", "index"), [[3.0, 1.0], [2.0, np.nan]] * 2),
         "training_error": ("stage", [0.5, 0.25])},
        coords={"node": range(4), "mode": ["station", "<hour>", "day"]},
        attrs={"tree": "((0, 1), 2)", "label": "x"},
    )  # fmt: skip
    htf.save_results(out / "parts" / "completion.nc", record)
    write_json(
        out / "summary.json", {"verdict": "exact", "nodes": [{"node": 0, "rank": 2}]}
    )
    return out


class Page(NamedTuple):
    """A report as it was read.

    Attributes:
      data: what it draws. notices: by kind. elements: names and attributes of all tags.
      tables: by title rows of texts, and of the values that a cell carries.
    """

    text: str
    data: dict[str, Any]
    notices: list[tuple[str, str]]
    elements: list[tuple[str, dict[str, str | None]]]
    tables: dict[str, list[list[str]]]

    def figure(self, title: str) -> dict[str, Any]:
        """The figure whose title begins so."""
        return next(f for f in self.data["figures"] if f["title"].startswith(title))

    def block(self, name: str) -> dict[str, list[str]]:
        """Columns of a block, as a reader of CSV gets them."""
        block = self.data["blocks"][name]
        rows = list(csv.reader(io.StringIO(block["rows"])))
        return dict(zip(block["columns"], map(list, zip(*rows, strict=True)), strict=True))

    def line(self, trace: dict[str, Any], clock: str, end: str = "") -> list[str]:
        """The numbers of a line."""
        return self.block(trace["blocks"][clock][0])[trace["column"] + end]


def reported(*folders: Path, out: Path, **options: Any) -> Page:
    """The report of folders, read back."""
    report.run(report.Options(folders, out=out, **options))
    return read(out)


def read(path: Path) -> Page:
    """A page that was written."""
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    reader.close()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found
    return Page(text, json.loads(found[1]), reader.notices, reader.elements, reader.tables)


class Reader(html.parser.HTMLParser):
    """Elements, notices and tables of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.notices: list[tuple[str, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        kind = found.get("class") or ""
        if tag == "h3":
            self.inside, self.title = "title", ""
        elif tag == "p" and kind.startswith("notice") and found.get("role"):
            self.inside = kind.removeprefix("notice ")
        elif tag == "tr":
            self.tables.setdefault(self.title, []).append([])
        elif tag in ("td", "th"):
            self.inside = "cell"
            self.tables[self.title][-1].append(found.get("data-value") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h3", "p", "td", "th"):
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "title":
            self.title += data
        elif self.inside == "cell":
            row = self.tables[self.title][-1]
            row[-1] = row[-1] or data
        elif self.inside:
            self.notices.append((self.inside, data))
