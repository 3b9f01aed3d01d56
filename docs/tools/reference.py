"""Tables and headings of the reference, from the entries of its pages."""

import inspect
import re
from pathlib import Path
from typing import Any

import htfjax as htf
from docs.tools.docstrings import summary

REFERENCE = Path(__file__).parents[1] / "reference"
# Pages in the order in which data flows, that of `htfjax/__init__.pyi`.
STAGES = (
    "trees", "factors", "contraction", "instruments", "losses", "data", "motion",
    "completion", "runs", "formats", "exchange", "theory", "problems", "networks",
    "regularizer", "tasks", "measures", "plot",
)  # fmt: skip
ENTRY = re.compile(r"^::: htfjax\.([\w.]+)$", re.MULTILINE)
PARTS = re.compile(r"^(?:## (.+)|::: htfjax\.([\w.]+))$", re.MULTILINE)

TERM = re.compile(r"^(?![#{ ])(.+?) \{ #([\w-]+) \}$", re.MULTILINE)


def value(name: str) -> Any:
    """What a public name is, such as `formats.add`."""
    found: Any = htf
    for part in name.split("."):
        found = getattr(found, part)
    return found


def line(name: str) -> str:
    """The first line of a name's docstring, as Markdown."""
    return summary(inspect.getdoc(value(name)) or "")


def table(page: str) -> str:
    """The names of a page and what they are, one table for each of its sections.

    Args:
      page: its Markdown, in which entries are lines `::: htfjax.NAME`.
    """
    lines = ['<div class="names" markdown="1">', ""]
    rows = 0
    for heading, name in PARTS.findall(page):
        if heading:
            lines += ["", f"**{heading}**", ""]
            rows = 0
            continue
        if rows == 0:
            lines += ["| name | what it is |", "|---|---|"]
        lines.append(f"| [`{name}`][htfjax.{name}] | {line(name)} |")
        rows += 1
    return "\n".join([*lines, "", "</div>"])


def stages() -> str:
    """A table of the pages, in the order of `STAGES`, with the names of each."""
    lines = ['<div class="names" markdown="1">', "", "| stage | names |", "|---|---|"]
    for stage in STAGES:
        page = (REFERENCE / f"{stage}.md").read_text("utf-8")
        title = next(x[2:] for x in page.splitlines() if x.startswith("# "))
        names = [f"[`{x.rpartition('.')[2]}`][htfjax.{x}]" for x in ENTRY.findall(page)]
        lines.append(f"| [{title}]({stage}.md) | {', '.join(names)} |")
    return "\n".join([*lines, "", "</div>"])


def terms(page: str) -> str:
    """Links to the terms of a glossary, in alphabetical order.

    Args:
      page: its Markdown, in which terms are lines `Term { #anchor }`.
    """
    found = sorted(TERM.findall(page), key=lambda term: term[0].strip("`-").lower())
    return " · ".join(f"[{term}](#{anchor})" for term, anchor in found)


def with_headings(page: str) -> str:
    """Entries headed as code has them, `htf.formats.add`, and listed by the last part."""

    def entry(found: re.Match[str]) -> str:
        name = found[1]
        return (
            f"{found[0]}\n    options:\n      heading: htf.{name}\n"
            f"      toc_label: {name.rpartition('.')[2]}\n"
        )

    return ENTRY.sub(entry, page)
