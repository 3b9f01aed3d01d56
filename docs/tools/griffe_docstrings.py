"""Extension of griffe: docstrings are read as `docs.tools.docstrings` writes them."""

import inspect
from typing import Any

import griffe

from docs.tools.docstrings import markdown


class Docstrings(griffe.Extension):
    """Rewrites every docstring once, before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = markdown(inspect.cleandoc(obj.docstring.value))
