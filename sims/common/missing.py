"""Packages that are not installed: one line for a command that needs one."""

import sys
from pathlib import Path
from types import TracebackType

from .names import PACKAGE, typed

WRONG = 2  # exit code, as that of wrong options


def needs(command: str, error: ModuleNotFoundError) -> str | None:
    """What to install for a command, None where a module of ours is missing.

    The library says it for what it needs itself.
    """
    package = (error.name or "htfjax").partition(".")[0]
    if package in ("htfjax", PACKAGE.partition(".")[0]):  # a fault of ours
        return None
    text = str(error)
    if "pip install" in text:
        return f"`{command}`: {text}"
    return f"`{command}` needs {package}; install it by `pip install 'htfjax[studies]'`."


def watch() -> None:
    """Lets this process end with that line, where it would with a traceback.

    A command imports its packages at its top, before any line of its own runs.
    """
    usual = sys.excepthook

    def said(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        missing = isinstance(error, ModuleNotFoundError)
        line = needs(typed(Path(sys.argv[0]).stem), error) if missing else None
        if line is None:
            usual(kind, error, trace)
        else:
            sys.stderr.write(f"error: {line}\n")
            sys.exit(WRONG)  # this hook's own exit code becomes that of the process

    sys.excepthook = said
