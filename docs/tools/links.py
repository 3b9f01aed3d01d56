"""Hook of mkdocs: names in code, such as `descend`, become links to the reference."""

import functools
import inspect
import re
from typing import Any

from docs.tools.reference import ENTRY, REFERENCE, value

# What may stand around code that is a link or a heading already, or a listing.
SKIPPED = re.compile(r"<(a|h[1-6]|pre|autoref)\b.*?</\1>", re.DOTALL)
CODE = re.compile(r"<code>(?:htfjax\.|htf\.)?([A-Za-z_][\w.]*)(\(\))?</code>")


@functools.cache
def targets() -> dict[str, str]:
    """Names as they are written, and what they mean: full ones, and last parts.

    A last part counts if one name has it and no parameter or field is called so.
    """
    pages = sorted(REFERENCE.glob("*.md"))
    names = [n for page in pages for n in ENTRY.findall(page.read_text("utf-8"))]
    last = [name.rpartition(".")[2] for name in names]
    taken = {p for name in names for p in _parameters(value(name))}
    found = {name: f"htfjax.{name}" for name in names if name not in taken}
    for name, short in zip(names, last, strict=True):
        if last.count(short) == 1 and short not in taken and "_" in short.strip("_"):
            found[short] = f"htfjax.{name}"
        if last.count(short) == 1 and short[0].isupper():
            found[short] = f"htfjax.{name}"
    return found


def _parameters(found: Any) -> set[str]:
    try:
        return set(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return set()


def linked(html: str) -> str:
    """A page whose names in code are references."""

    def link(code: re.Match[str]) -> str:
        name = code[1]
        whole = "htf." in code[0] or "htfjax." in code[0]
        owner, _, member = name.rpartition(".")
        target = targets().get(name) or (f"htfjax.{name}" if whole else None)
        if target is None and owner in targets():  # a method
            target = f"{targets()[owner]}.{member}"
        if target is None:
            return code[0]
        return f'<autoref identifier="{target}" optional>{code[0]}</autoref>'

    pieces, start = [], 0
    for skipped in SKIPPED.finditer(html):
        pieces += [CODE.sub(link, html[start : skipped.start()]), skipped[0]]
        start = skipped.end()
    return "".join([*pieces, CODE.sub(link, html[start:])])


def on_page_content(html: str, **kwargs: Any) -> str:
    """Called with every page once it is HTML, before references are resolved."""
    del kwargs
    return linked(html)
