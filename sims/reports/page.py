"""The page of a report: one HTML file that needs nothing else."""

import html
import json
import re
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

import htfjax as htf

from ..common.errors import SettingError
from ..common.names import questions, typed
from . import settings, tables
from .curves import Recorded, figure_json
from .data import as_json
from .folders import Folder, author_of
from .trees import View, views_of
from .words import CLOCKS, MODES, counted

GENERATOR = "htfjax report"
MARK = re.compile(rb'<meta name="generator" content="htfjax report [^"]*">')
MOST_BYTES = 8_000_000
HEAD = 4096  # bytes of a file that tell whose it is


def is_ours(path: Path) -> bool:
    """Whether a file is a report that this command wrote."""
    with open(path, "rb") as file:
        return MARK.search(file.read(HEAD)) is not None


def check_out(out: Path) -> None:
    """A report may be written there.

    Raises:
      SettingError: something else stands there, or there is no such folder.
    """
    if out.is_dir():
        raise SettingError(f"`--out {out}` is a folder; give the name of a file.")
    if not out.parent.is_dir():
        raise SettingError(
            f"`--out {out}`: the folder {out.parent} does not exist; make it, or choose "
            "another place."
        )
    if not out.exists():
        return
    try:
        ours = is_ours(out)
    except OSError as error:
        raise SettingError(
            f"`--out {out}` exists and cannot be read ({error.strerror or error}); choose "
            "another name."
        ) from error
    if not ours:
        raise SettingError(
            f"`--out {out}` exists and is no report of htfjax; move it away, or choose "
            "another name."
        )


def notices_of(folders: list[Folder], found: Recorded) -> list[tuple[str, str]]:
    """Sentences for the top of the page, each with its kind: "bad", "now" or "note"."""
    notices: list[tuple[str, str]] = []
    for folder in folders:
        notices += [("bad", f"{folder.name} cannot be read in full: {problem}")
                    for problem in folder.problems]  # fmt: skip
        if folder.at_work:
            notices.append(
                ("now", f"{folder.name} is {folder.state}. This page shows what was on the "
                 "disk; make it again for more.")
            )  # fmt: skip
        elif folder.state.startswith(("dead", "interrupted")):
            notices.append(("now", f"{folder.name} is {folder.state}."))
        written = folder.versions.get("htfjax", htf.__version__)
        if written != htf.__version__:
            notices.append(
                ("note", f"{folder.name} was written by htfjax {written}; this page was "
                 f"made by htfjax {htf.__version__}.")
            )  # fmt: skip
    return notices + [("note", note) for note in found.notes]


def page_of(folders: list[Folder], found: Recorded) -> str:
    """The page as text."""
    views, listed = views_of(folders, found), tables.tables_of(folders, found)
    title = f"Report of {' and '.join(folder.name for folder in folders)}"
    return Template(_file("page.html")).substitute(
        version=html.escape(f"{GENERATOR} {htf.__version__}"),
        title=html.escape(title),
        style=_file("page.css"),
        about=_about(folders),
        notices=_notices(notices_of(folders, found)),
        tables="".join(tables.as_html(table, i) for i, table in enumerate(listed)),
        settings=settings.as_html(folders),
        command=html.escape(typed("report")),
        data=_embedded(_data(folders, found, views)),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        script=_file("page.js"),
    )


def write_page(text: str, out: Path) -> None:
    """Writes a page, replacing an older one only when all is written.

    Raises:
      SettingError: the place cannot be written. OSError: the disk is full.
    """
    try:
        with htf.runs.atomic_write(out, "--out") as temporary:
            temporary.write_text(text, encoding="utf-8")
    except PermissionError as error:
        raise SettingError(
            f"`--out {out}` cannot be written ({error.strerror or error}); choose another "
            "place by `--out`."
        ) from error


def _file(name: str) -> str:
    """A file beside this module."""
    return Path(__file__).with_name(name).read_text("utf-8")


def _about(folders: list[Folder]) -> str:
    """A line for each folder: its command's question, and how it stands."""
    lines: list[str] = []
    for folder in folders:
        question, command = questions().get(folder.command, ""), author_of(folder)
        lines.append(
            f"<li><b>{html.escape(folder.name)}</b> <code>{html.escape(command)}</code> "
            f"{html.escape(question)} <i>{html.escape(folder.state)}</i></li>"
        )
    return "".join(lines)


def _notices(notices: list[tuple[str, str]]) -> str:
    return "".join(
        f'<p class="notice {kind}" role="{"alert" if kind == "bad" else "note"}">'
        f"{html.escape(text)}</p>"
        for kind, text in notices
    )


def _data(folders: list[Folder], found: Recorded, views: list[View]) -> dict[str, object]:
    """Everything that the page draws, as JSON values."""
    blocks = {block.name: as_json(block) for block in found.blocks}
    blocks |= {view.block.name: as_json(view.block) for view in views}
    return {
        "folders": [folder.name for folder in folders],
        "clocks": MODES,
        "axes": CLOCKS,
        "figures": [figure_json(figure, i) for i, figure in enumerate(found.figures)],
        "trees": [
            {
                "folder": view.folder, "case": view.case, "svg": view.svg,
                "tree": view.text, "block": view.block.name, "nodes": view.nodes,
            }
            for view in views
        ],
        "blocks": blocks,
    }  # fmt: skip


def _embedded(values: dict[str, object]) -> str:
    """JSON that may stand within a script element."""
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def said_of(folders: list[Folder], found: Recorded) -> str:
    """A page's content in a few words."""
    figures = counted(len(found.figures), "figure")
    listed = counted(len(tables.tables_of(folders, found)), "table")
    return f"{figures}, {listed}" if found.figures else listed
