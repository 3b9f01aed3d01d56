"""Docstrings as the site reads them: Markdown for a parser of Google's style.

The docstrings are written for terminals, closer than that parser allows: several errors
in a line, "Args, raises: as ...", one example by the heading "Example:", and mathematics
such as `<W, A_b>` and `2**31`, of which Markdown would make tags and bold letters.
"""

import html
import re
from collections.abc import Mapping

EXAMPLE = re.compile(r"^Example:(?: (see .*))?$")
# One paragraph behind a heading of its own.
PARAGRAPH = re.compile(
    r"^(Source|Args and errors|(?:Args|Returns|Raises|Warns)(?:, [a-z]+)*): (.+)$"
)
ERROR = r"(?:[A-Z]\w*(?:Error|Warning|Interrupt))"
ERRORS = re.compile(rf"(?<=[.;] )(?={ERROR}(?:, {ERROR})*: )")
SEVERAL = re.compile(rf"^{ERROR}(, {ERROR})+(?=: )")
# Names of an item, which the parser shows as code.
NAMES = re.compile(r"^  (?! )[^:]+:")
# Code between backticks stays as it is; other characters that Markdown takes as its own.
PIECES = re.compile(r"(`+[^`]+`+)")
SPECIAL = re.compile(r"[*<>_|\[\]]")


def markdown(text: str) -> str:
    r"""A docstring, without its common indentation, for griffe's parser of Google's style.

    Example:
      >>> print(markdown("<W, A>.\n\nRaises:\n  TypeError: a. OSError, KeyError: b."))
      &lt;W, A&gt;.
      <BLANKLINE>
      Raises:
        TypeError: a.
        OSError or KeyError: b.
    """
    lines = [line for block in map(_block, _blocks(text)) for line in block]
    return "\n".join(_headings(lines))


def with_fields(text: str, comments: Mapping[str, str]) -> str:
    r"""A docstring of a class that lists its fields, if it does not and they have comments.

    Args:
      text: the docstring.
      comments: what the source says behind every field.

    Example:
      >>> print(with_fields("Times.\n\nExample: see `rise_times`.", {"width": "in steps"}))
      Times.
      <BLANKLINE>
      Attributes:
        width: in steps
      <BLANKLINE>
      Example: see `rise_times`.
    """
    items = [f"  {name}: {comment}" for name, comment in comments.items() if comment]
    if not items or re.search(r"^(Attributes|Args):", text, re.MULTILINE):
        return text
    first = re.search(r"^(Raises|Returns|Source|Example)\b.*:", text, re.MULTILINE)
    at = first.start() if first else len(text)
    listed = "\n".join(["Attributes:", *items])
    return f"{text[:at].rstrip()}\n\n{listed}\n\n{text[at:]}".rstrip()


def escaped(text: str) -> str:
    """Text whose characters Markdown leaves alone; code between backticks stays.

    Example:
      >>> escaped("||W||_F <= `a_b` 2**3")
      '&#124;&#124;W&#124;&#124;&#95;F &lt;= `a_b` 2&#42;&#42;3'
    """
    pieces = PIECES.split(text)
    pieces[::2] = [SPECIAL.sub(_entity, piece) for piece in pieces[::2]]
    return "".join(pieces)


def summary(text: str) -> str:
    """The first line of a docstring, as Markdown."""
    return escaped(text.partition("\n")[0].rstrip(":"))


def _entity(found: re.Match[str]) -> str:
    return {"<": "&lt;", ">": "&gt;"}.get(found[0], f"&#{ord(found[0])};")


def _blocks(text: str) -> list[list[str]]:
    """Lines between blank ones, each blank one by itself."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            blocks[-1].append(line)
        else:
            blocks += [[""], []]
    return [block for block in blocks if block]


def _block(lines: list[str]) -> list[str]:
    """A block, escaped where it is text, with one error in a line."""
    if lines[0].startswith("    ") or lines[0].startswith("|"):
        return lines  # code, or a table
    first = next((i for i, x in enumerate(lines) if x.lstrip().startswith(">>>")), None)
    prose, code = lines[:first], [] if first is None else lines[first:]
    # A code span may go on in the next line.
    prose = escaped("\n".join(prose)).split("\n") if prose else []
    if prose and prose[0] in ("Raises:", "Warns:"):
        prose = _errors(prose)
    if prose and prose[0] in ("Returns:", "Yields:"):
        # What stands before a colon would be read as a type.
        pieces = PIECES.split("\n".join(prose[1:]))
        pieces[::2] = [piece.replace(":", "&#58;") for piece in pieces[::2]]
        prose = [prose[0], *"".join(pieces).split("\n")]
    if prose and prose[0] in ("Args:", "Attributes:"):
        prose = [NAMES.sub(_unescaped, line) for line in prose]
    return prose + code


def _unescaped(found: re.Match[str]) -> str:
    return html.unescape(found[0])


def _errors(lines: list[str]) -> list[str]:
    """A section of errors, one item each, wrapped lines joined."""
    items = re.split(r"\n  (?! )", "\n".join(lines))
    parts = [part for item in items[1:] for part in ERRORS.split(" ".join(item.split()))]
    return [items[0], *(f"  {SEVERAL.sub(_either, part.strip(' ;'))}" for part in parts)]


def _either(found: re.Match[str]) -> str:
    return found[0].replace(", ", " or ")


def _headings(lines: list[str]) -> list[str]:
    """Headings that the parser knows; the others in bold, before their text."""
    found: list[str] = []
    for line in lines:
        if match := EXAMPLE.match(line):
            found += ["Examples:"] + (
                [f"  {match[1].capitalize()}", ""] if match[1] else []
            )
        elif match := PARAGRAPH.match(line):
            found.append(f"**{match[1]}**: {match[2]}")
        elif found and found[-1].startswith("**") and line.startswith("  "):
            found[-1] += f" {line.strip()}"
        elif line.startswith(">>> ") and "Examples:" in found:
            found.append(f"  {line}")
        elif found and found[-1].startswith("  >>> ") and not line.startswith("  "):
            found.append(f"  {line}")
        else:
            found.append(line)
    return found
