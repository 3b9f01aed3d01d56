"""Generators that are closed when the process ends, so that what they hold is saved.

Left to the interpreter, a generator is closed when modules are already gone and jax would
start a new backend. Python's thread pools are shut even before the handlers here run, so
what a generator does when it is closed must not need one.
"""

import atexit
import weakref
from collections.abc import Generator
from inspect import GEN_RUNNING, getgeneratorstate
from typing import TypeVar

Opened = TypeVar("Opened", bound=Generator)

# Weak: a generator that nobody holds any more closes at once.
_opened: weakref.WeakSet[Generator] = weakref.WeakSet()


def closed_at_exit(generator: Opened) -> Opened:
    """The generator itself, to be closed before jax and zarr end."""
    # Handlers run last in, first out: this one must come after those of both.
    atexit.unregister(_close_all)
    atexit.register(_close_all)
    _opened.add(generator)
    return generator


def _close_all() -> None:
    """Closes every generator, whatever happens to the others; raises the first error."""
    errors = []
    for generator in list(_opened):
        # One at work belongs to a daemon thread, which ends with the process.
        if getgeneratorstate(generator) != GEN_RUNNING:
            try:
                generator.close()
            except Exception as error:
                errors.append(error)
    if errors:
        raise errors[0]
