"""Tables and headings of the reference, from the entries of its pages."""

import inspect
import re
from typing import Any

import htfjax as htf
from docs.tools.docstrings import summary

ENTRY = re.compile(r"^::: htfjax\.([\w.]+)$", re.MULTILINE)
PARTS = re.compile(r"^(?:## (.+)|::: htfjax\.([\w.]+))$", re.MULTILINE)


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


def with_headings(page: str) -> str:
    """Entries headed as code writes them, `htf.formats.add`, and listed by the last part."""

    def entry(found: re.Match[str]) -> str:
        name = found[1]
        return (
            f"{found[0]}\n    options:\n      heading: htf.{name}\n"
            f"      toc_label: {name.rpartition('.')[2]}\n"
        )

    return ENTRY.sub(entry, page)
