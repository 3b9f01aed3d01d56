"""Hook of mkdocs: names in code, such as `descend`, become links to the reference."""

import functools
import inspect
import re
from typing import Any

from docs.tools.reference import ENTRY, REFERENCE, value

# What stands around code that is a link or a heading already, or a listing.
SKIPPED = re.compile(r"<(a|h[1-6]|pre|autoref)\b.*?</\1>", re.DOTALL)
CODE = re.compile(r"<code>(htfjax\.|htf\.)?([A-Za-z_][\w.]*)</code>")


@functools.cache
def names() -> list[str]:
    """Public names, from the entries of the reference."""
    pages = sorted(REFERENCE.glob("*.md"))
    return [name for page in pages for name in ENTRY.findall(page.read_text("utf-8"))]


@functools.cache
def bare() -> dict[str, str]:
    """Names as docstrings write them: with their room, or the last part alone.

    The last part counts where only one name has it, no parameter or field is called so,
    and it cannot be a plain word, as `run` and `add` are.
    """
    last = [name.rpartition(".")[2] for name in names()]
    taken = {p for name in names() for p in _parameters(value(name))} | {""}
    found = {name: name for name in names() if "." in name}
    for name, short in zip(names(), last, strict=True):
        plain = "." in name and short.islower() and "_" not in short
        if last.count(short) == 1 and short not in taken and not plain:
            found[short] = name
    return found


def _parameters(found: Any) -> set[str]:
    try:
        return set(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return set()


def target(name: str, *, whole: bool) -> str | None:
    """The public name, or the method of one, that code means.

    Args:
      name: what the code says, without `htf.`.
      whole: whether it began with `htf.` or `htfjax.`.
    """
    owner, _, member = name.rpartition(".")
    if whole:
        return name if name in names() or owner in names() else None
    return bare().get(name) or (f"{bare()[owner]}.{member}" if owner in bare() else None)


def linked(html: str) -> str:
    """A page whose names in code are references."""

    def link(code: re.Match[str]) -> str:
        found = target(code[2], whole=code[1] is not None)
        if found is None:
            return code[0]
        return f'<autoref identifier="htfjax.{found}" optional>{code[0]}</autoref>'

    pieces, start = [], 0
    for skipped in SKIPPED.finditer(html):
        pieces += [CODE.sub(link, html[start : skipped.start()]), skipped[0]]
        start = skipped.end()
    return "".join([*pieces, CODE.sub(link, html[start:])])


def on_page_content(html: str, **kwargs: Any) -> str:
    """Called with every page once it is HTML, before references are resolved."""
    del kwargs
    return linked(html)
