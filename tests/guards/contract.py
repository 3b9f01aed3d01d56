"""Contract: names, calls, results and folders that scripts elsewhere rely on.

`python -m tests.guards.contract [DIR]` checks all of it, `--write [DIR]` keeps what the
folders of the commands look like now; DIR as in `tests.guards.commands`. Only public
names and commands are used, so that the file can stay as it is while everything behind
them changes.
"""

import json
import sys
from collections.abc import Callable

import jax

from tests.guards import commands, contract_folders, contract_motion, contract_values

CHECKS: dict[str, Callable[[], None]] = {
    name.removeprefix("check_"): check
    for part in (contract_values, contract_motion)
    for name, check in vars(part).items()
    if name.startswith("check_")
}


def main() -> int:
    """Checks everything, or writes what the folders hold."""
    jax.config.update("jax_enable_x64", True)
    given = sys.argv[1:]
    writing = given[:1] == ["--write"]
    for name, check in {} if writing else CHECKS.items():
        check()
        sys.stdout.write(f"{name}: holds\n")
    found = {}
    with commands.kept_or_passing(given[1:] if writing else given) as base:
        for name in contract_folders.NAMES:
            found[name] = contract_folders.facts(name, base)
            sys.stdout.write(f"{name}: ran\n")
            sys.stdout.flush()
    if writing:
        text = json.dumps({"about": contract_folders.ABOUT, "jobs": found}, indent=1)
        contract_folders.KEPT.write_text(text + "\n", encoding="utf-8")
        return 0
    lines = [
        line
        for name in contract_folders.NAMES
        for line in contract_folders.broken(
            found[name], contract_folders.kept()[name], name
        )
    ]
    sys.stdout.write("\n".join([*lines, f"{len(lines)} broken"]) + "\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
