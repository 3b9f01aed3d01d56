"""Law record: the worst error of every law of `sims.verify`, stored and compared since.

`python -m tests.guards.laws --write` replaces the stored errors.
"""

import argparse
import json
import sys
from pathlib import Path

from sims import verify

STORED = Path(__file__).parent / "stored" / "laws.json"


def measure() -> dict[str, float]:
    """Worst error over the five trees, by law."""
    return {row["law"]: row["error"] for row in verify.run(verify.Config())}


def read() -> dict[str, float]:
    """The stored errors."""
    return json.loads(STORED.read_text())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(json.dumps(measure(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
