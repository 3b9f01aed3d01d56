"""Words of a command line, and the options that they give: none swallowed in silence."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .missing import WRONG
from .names import typed
from .quick import reader
from .settings import flag

HELP = {"-h", "--help"}


def parsed(
    options: type, command: str, *, quick: Mapping[str, Any] | None = None,
    more: type | None = None,
) -> Any:  # fmt: skip
    """The options that the words of the command line give, of a subclass of both classes.

    Ends the process with code 2, and a message, where a word has no effect or hides
    another: an option that is empty, that is given twice or is a list without values, and
    a value that belongs to no option.

    Args:
      options: dataclass of the options.
      command: its name.
      quick: values that `--quick` puts in the place of the defaults.
      more: dataclass of options beside them.
    """
    words = sys.argv[1:]
    read = functools.partial(
        reader(options, words, quick, more), prog=typed(command), args=words
    )
    if HELP & {*words}:
        return read()
    check_empty(words)
    check_repeated(words)
    asked, surplus = read(return_unknown_args=True)
    if any(word.startswith("-") and not is_number(word) for word in surplus):
        read()  # names the nearest options, and exits
    if surplus:
        refuse(unexpected(words, surplus))
    check_lists(asked, words)
    return asked


def refuse(message: str) -> NoReturn:
    """Ends the process with an error of one line."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(WRONG)


def check_empty(words: Sequence[str]) -> None:
    """An empty word is a variable that was never set: `--out ""` is the current folder."""
    parts = [word.partition("=") for word in words]
    empty = [name for name, equals, value in parts if equals and not value]
    empty += [before for before, word in itertools.pairwise(words) if not word]
    named = [word for word in empty if word.startswith("--") and "=" not in word]
    if named:
        refuse(f"`{named[0]}` is empty; give it a value.")


def check_repeated(words: Sequence[str]) -> None:
    """Of an option that is given twice, the parser takes the later one."""
    seen: dict[str, str] = {}
    for word in filter(is_option, words):
        name = name_of(word)
        plain = name.replace("--no-", "--", 1)
        if plain in seen:
            other = "" if seen[plain] == name else f", as `{seen[plain]}` before"
            refuse(
                f"`{name}` is given twice{other}; give it once (a list takes its values in "
                "a row)."
            )
        seen[plain] = name


def check_lists(asked: Any, words: Sequence[str]) -> None:
    """A list whose values were forgotten is not an empty list."""
    given = {name_of(word) for word in words if is_option(word)}
    for field in dataclasses.fields(asked):
        if getattr(asked, field.name) == () and flag(field.name) in given:
            refuse(f"`{flag(field.name)}` has no value; give it one or several.")


def unexpected(words: Sequence[str], surplus: Sequence[str]) -> str:
    """The message about words after an option that has its value already, or has none.

    Such as a text with spaces that was not quoted.
    """
    switches = [word for word in words if word.partition("=")[2] in surplus]
    if switches and not {*surplus} & {*words}:  # `--quick=True`
        return f"`{switches[0]}` is a switch, which takes no value; leave the value out."
    first, left = len(words), [*surplus]
    while left and first:  # from the end: before it, a word may stand twice
        first -= 1
        if words[first] == left[-1]:
            left.pop()
    begun = next((i for i in range(first, -1, -1) if is_option(words[i])), None)
    if begun is None:
        return f"`{' '.join(surplus)}` is not expected; options begin with `--`."
    end = next((i for i in range(first, len(words)) if is_option(words[i])), len(words))
    after, extra = " ".join(words[begun:first]), " ".join(words[first:end])
    return f"`{extra}` is not expected after `{after}`; quote a value that has spaces."


def is_option(word: str) -> bool:
    """Whether a word is an option, with its value or without."""
    return word.startswith("--") and len(word) > 2


def is_number(word: str) -> bool:
    """Whether a word is a number, which may begin with a dash."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def name_of(word: str) -> str:
    """An option without its value, as it is listed: `--num_steps=5` is `--num-steps`."""
    return word.partition("=")[0].replace("_", "-")
