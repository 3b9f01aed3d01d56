"""Extension of griffe: docstrings are read as `docs.tools.docstrings` writes them.

Fields of a class that its docstring does not list are listed with the comments that stand
behind them.
"""

import inspect
import re
from typing import Any

import griffe

from docs.tools.docstrings import markdown, with_fields

COMMENT = re.compile(r"\s# (.+)$")
DONE = "htfjax"


class Docstrings(griffe.Extension):
    """Rewrites every docstring once, before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute of a package."""
        del kwargs
        if obj.docstring is None or obj.extra[DONE]:
            return
        obj.extra[DONE]["read"] = True
        text = inspect.cleandoc(obj.docstring.value)
        if isinstance(obj, griffe.Class):
            text = with_fields(text, fields(obj))
        obj.docstring.value = markdown(text)


def fields(cls: griffe.Class) -> dict[str, str]:
    """Annotated fields of a class, with the comments behind them."""
    found = {}
    for name, member in cls.attributes.items():
        if (
            name.startswith("_")
            or member.annotation is None
            or member.labels & {"property"}
        ):
            continue
        if not (member.lineno and member.endlineno and cls.lineno):
            continue
        first, last = member.lineno - cls.lineno, member.endlineno - cls.lineno
        comments = [m[1] for x in cls.lines[first : last + 1] if (m := COMMENT.search(x))]
        for line in cls.lines[last + 1 :]:
            if not (comments and line.strip().startswith("# ")):
                break
            comments.append(line.strip()[2:])
        found[name] = " ".join(comments)
    return found
