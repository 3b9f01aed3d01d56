"""Program `python -m htfjax NAME ...`, the same as the command `htfjax NAME ...`."""

import importlib
import sys

if __name__ == "__main__":
    sys.exit(importlib.import_module("htfjax.sims.__main__").main())
