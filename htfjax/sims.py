"""Commands of a clone under their name in a wheel, `htfjax.sims`.

A clone keeps them in the folder `sims` beside this package; a wheel holds that folder here
instead of this file. Neither depends on what else is named `sims` on the import path.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

NAME = "htfjax.sims"


def _load() -> None:
    """Puts the folder in the place of this module, with its own `__init__`.

    The import system hands out what stands in `sys.modules` once a module has run, so this
    holds in every process, worker processes included.

    Raises:
      ImportError: the folder is missing.
    """
    folder = Path(__file__).parents[1] / "sims"
    init = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        NAME, init, submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not init.is_file():
        raise ImportError(
            f"the commands of htfjax are missing: there is no {init}; use a whole clone, "
            "or install a wheel."
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)


_load()

if __name__ == "__main__":
    sys.exit(importlib.import_module(f"{NAME}.__main__").main())
