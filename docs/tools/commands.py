"""Commands of `htfjax`: what `--help` of each says, as Markdown."""

import contextlib
import functools
import importlib
import io
import os
import re
import sys
from collections.abc import Iterator
from unittest import mock

from docs.tools.docstrings import escaped
from sims.common.names import dashed, durations, questions

WIDE = {"COLUMNS": "4000", "NO_COLOR": "1", "TERM": "dumb"}  # a line for each paragraph
FRAME = re.compile(r"^[│╭╰][\s─]?|[│╮╯]$")
OPTION = re.compile(r"^\s{0,2}(\S.*?)(?:\s{2,}(\S.*))?$")


@functools.cache
def help_text(name: str) -> str:
    """What `htfjax NAME --help` prints, on a wide terminal."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, WIDE),
        mock.patch.object(sys, "argv", [name, "--help"]),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        importlib.import_module(f"sims.{name}").main()
    return printed.getvalue().replace(f"python -m sims.{name}", f"htfjax {dashed(name)}")


def parts(name: str) -> tuple[str, list[str], list[tuple[str, str]]]:
    """Usage, paragraphs, and options with what they are, of a command's help."""
    lines = [FRAME.sub("", line).rstrip() for line in help_text(name).splitlines()]
    usage = lines[0].removeprefix("usage: ")
    first = next(i for i, x in enumerate(lines) if re.match(r"\W*(options|positional)", x))
    paragraphs = [" ".join(p.split()) for p in "\n".join(lines[1:first]).split("\n\n")]
    return usage, [p for p in paragraphs if p], list(_options(lines[first:]))


def _options(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Names and values of options, and the text beside or below."""
    name, text = "", []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not line.strip("─- ") or re.fullmatch(r"\W*(options|positional \w+)\W*", line):
            continue
        if indent > 2:
            text.append(line.strip())
            continue
        if name:
            yield name, " ".join(text)
        found = OPTION.match(line)
        assert found, line
        name, text = found[1], [found[2]] if found[2] else []
    if name:
        yield name, " ".join(text)


def page() -> str:
    """Every command: question, duration, usage and options."""
    return "\n".join(map(section, questions()))


def listing() -> str:
    """A table of the commands."""
    rows = ["| command | question |", "|---|---|"]
    for name, question in questions().items():
        label = dashed(name)
        rows.append(f"| [`{label}`](#{label}) | {escaped(question)} |")
    return "\n".join(['<div class="names" markdown="1">', "", *rows, "", "</div>"])


def section(name: str) -> str:
    """One command."""
    usage, paragraphs, options = parts(name)
    lines = [f"## {dashed(name)} {{ #{dashed(name)} }}", "", f"*{questions()[name]}*", ""]
    if name in durations():
        whole, small = durations()[name]
        lines += [f"Takes {whole} on two cores, {small} with `--quick`.", ""]
    lines += ["```", usage, "```", ""]
    for paragraph in [x for x in paragraphs if x != questions()[name]]:
        lines += [escaped(paragraph), ""]
    for option, text in options:
        if option == "-h, --help":
            continue
        text = text.replace("(default: )", "(default: none)")
        lines += [f"`{option}`", "", f":   {escaped(text)}", ""]
    return "\n".join(lines)
