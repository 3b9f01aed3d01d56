"""Text of nested modes, such as "((0, 1), (2, 3))", read with the place of what is wrong.

It is Python's spelling of tuples and lists, and nothing else of Python: at any depth, and
with the same messages on every version.
"""

import difflib
import re
from typing import Any, NoReturn

# Brackets, commas, the words between them and the end, each after some space.
PART = re.compile(r"\s*([()\[\],]|[^\s()\[\],]+|\Z)")
CLOSING = {"(": ")", "[": "]"}
MODE = re.compile(r"0|[1-9][0-9]{0,17}")  # no tensor has more modes
MOST_QUOTED, AROUND = 80, 60  # characters of a text, of which a longer one shows a part
MOST_FOUND = 20  # characters of what stands at a place
EXAMPLE = "((0, 1), (2, 3))"
# Functions that make trees, for texts that are their names.
BUILDERS = ("caterpillar", "flat", "interleaved", "perfect", "pooled", "square_patches")


def read_nested(text: str, name: str) -> Any:
    """Nested tuples and lists of modes that a text spells.

    As in Python, "(0)" is the mode 0 and "(0,)" a tuple.

    Args:
      name: of the argument, for errors.

    Raises:
      ValueError: another text; the message has the column and what is expected there.

    Example:
      >>> read_nested("((0,), [1, 2])", "tree")
      ((0,), [1, 2])
      >>> read_nested("((0, 1) 2)", "tree")
      Traceback (most recent call last):
      ValueError: `tree='((0, 1) 2)'` is not a tree: at column 9 it has '2', where ',' or \
')' is expected; write nested modes such as '((0, 1), (2, 3))'.
    """
    # An explicit stack: a caterpillar of order 1024 is 1023 brackets deep.
    opened: list[tuple[str, int]] = []  # brackets and their places
    groups: list[list[Any]] = [[]]  # what the text and each open bracket hold so far
    before, place = "", 0  # the part before; an item is one whether mode or group
    while True:
        part = PART.match(text, place)
        assert part is not None  # the end at least
        word, at, place = part[1], part.start(1), part.end()
        if not _fits(word, before, opened[-1][0] if opened else ""):
            _refuse(text, name, at, word, before, opened)
        if not word:
            return groups[0][0]
        if word in CLOSING:
            opened.append((word, at))
            groups.append([])
        elif word in CLOSING.values():
            bracket, _ = opened.pop()
            items = groups.pop()
            alone = bracket == "(" and len(items) == 1 and before == "item"
            group = items[0] if alone else tuple(items) if bracket == "(" else items
            groups[-1].append(group)
        elif word != ",":
            groups[-1].append(int(word))
        before = word if word in CLOSING or word == "," else "item"


def _fits(word: str, before: str, inside: str) -> bool:
    """Whether a part may follow another; `inside`: the innermost open bracket or ""."""
    item = before == "item"
    if not word:
        return item and not inside
    if word in CLOSING:
        return not item
    if word in CLOSING.values():
        return word == CLOSING.get(inside) and before not in CLOSING
    if word == ",":
        return item and inside != ""
    return not item and inside != "" and MODE.fullmatch(word) is not None


def _refuse(
    text: str,
    name: str,
    at: int,
    word: str,
    before: str,
    opened: list[tuple[str, int]],
) -> NoReturn:
    found = word if len(word) <= MOST_FOUND else word[: MOST_FOUND - 3] + "..."
    has = f"has {found!r}" if word else "ends"
    why = ""
    if opened and not word:
        bracket, begun = opened[-1]
        why = f" (the {bracket!r} of {_place(text, begun)} is open)"
    advice = _builder(word) if at == 0 else ""
    raise ValueError(
        f"`{name}={_quoted(text, at)}` is not a tree: at {_place(text, at)} it {has}, "
        f"where {_expected(before, opened)} is expected{why}; write nested modes such as "
        f"{EXAMPLE!r}{advice}."
    )


def _expected(before: str, opened: list[tuple[str, int]]) -> str:
    if not opened:
        return "the end" if before else "'('"
    closing = CLOSING[opened[-1][0]]
    if before == "item":
        return f"',' or {closing!r}"
    return f"a mode, '(' or {closing!r}" if before == "," else "a mode or '('"


def _place(text: str, at: int) -> str:
    """The column, from 1, and the line where there are several."""
    *above, line = text[:at].split("\n")
    column = f"column {len(line) + 1}"
    return f"line {len(above) + 1}, {column}" if "\n" in text else column


def _quoted(text: str, at: int) -> str:
    """The text, of a long one the part around a place."""
    if len(text) <= MOST_QUOTED:
        return repr(text)
    first = max(0, min(at - AROUND // 2, len(text) - AROUND))
    begin, end = "..." * (first > 0), "..." * (first + AROUND < len(text))
    return repr(begin + text[first : first + AROUND] + end)


def _builder(word: str) -> str:
    """The function that is meant by a word like its name."""
    close = difflib.get_close_matches(word.lower(), BUILDERS, n=1)
    return f", or call `htfjax.{close[0]}`" if close else ""
