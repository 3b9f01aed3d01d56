"""Worker of a paired comparison: calls rows with the library of one state.

Started as `python -P paired_worker.py` in the folder of a state, which PYTHONPATH names.
Requests and replies are lines of JSON; nothing else is written to standard output. The
package `benchmarks` is the one beside this file, whatever the state holds.
"""

import gc
import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

SHORTEST_TURN = 50.0  # milliseconds


def adopt_benchmarks() -> None:
    """Makes `import benchmarks` find the folder of this file."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarks"] = module
    spec.loader.exec_module(module)


def private_channel() -> Any:
    """Standard output for replies only; what anyone else prints goes to the errors."""
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    return channel


class Worker:
    """The row at hand and its call."""

    def __init__(self) -> None:
        self.row: Any = None
        self.call: Any = None

    def hello(self) -> dict[str, Any]:
        """Where the library came from, and the machine as this process sees it."""
        library = importlib.import_module("htfjax").__file__
        from benchmarks import harness

        return {"library": str(Path(str(library)).parent), **harness.machine()}

    def make(self, name: str) -> None:
        """Prepares a row and calls it once, which compiles."""
        import jax

        from benchmarks import paired_rows

        self.row = paired_rows.ROWS[name]
        self.call = self.row.make()
        jax.block_until_ready(self.call())

    def turn(self) -> float:
        """Seconds of one unit of work, or a size."""
        import jax

        from benchmarks import harness

        if self.row.unit == "bytes":
            return float(self.call())
        gc.collect()
        found = harness.turn(lambda: jax.block_until_ready(self.call()), SHORTEST_TURN)
        return 1e-3 * found / self.row.inner

    def forget(self) -> None:
        """Lets go of the row and of what it compiled."""
        import jax

        self.row = self.call = None
        jax.clear_caches()


def main() -> int:
    """Answers requests until there are no more."""
    channel, worker = private_channel(), Worker()
    adopt_benchmarks()
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            reply = {"value": getattr(worker, method)(*arguments)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(reply) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
