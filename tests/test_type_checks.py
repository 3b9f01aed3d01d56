"""Types in an editor: those of public names are known, and mistakes are underlined."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_readme import SNIPPETS
from tests.type_checks import Names, install, public_names, pyright


class Mistake(NamedTuple):
    """A line of a user's script.

    Attributes:
      wrong, right: the line with a mistake, and without it.
      rule: pyright's name for the mistake.
    """

    wrong: str
    right: str
    rule: str = "reportArgumentType"


START = """\
import htfjax as htf, jax, jax.numpy as jnp

key = jax.random.key(0)
tree = htf.flat(2)
factors = htf.gaussian_factors(key, tree, 4, 2, 1.0)
indices = htf.random_indices(key, 4, 10, order=2)
targets = htf.entries(factors, indices)
loss = htf.completion_loss(tree, 4, indices, targets)
optimizer = htf.group_rmsprop(1e-2)
run = htf.descend(factors, loss, optimizer, num_steps=4, record_every=2)
"""
MISTAKES = {
    "another choice": Mistake(
        'htf.completion_loss(tree, 4, indices, targets, penalty="l3")',
        'htf.completion_loss(tree, 4, indices, targets, penalty="l1")',
    ),
    "an int for a key": Mistake(
        "htf.gaussian_factors(0, tree, 4, 2, 1.0)",
        "htf.gaussian_factors(key, tree, 4, 2, 1.0)",
    ),
    "a list for a tuple": Mistake(
        "htf.Factors(tree=tree, weights=[*factors.weights])",
        "htf.Factors(tree=tree, weights=(*factors.weights,))",
    ),
    "a keyword left out": Mistake(
        "htf.descend(factors, loss, optimizer, num_steps=4)",
        "htf.descend(factors, loss, optimizer, num_steps=4, record_every=2)",
        "reportCallIssue",
    ),
    "a pair for its first part": Mistake("htf.end_tensor(run)", "htf.end_tensor(run[0])"),
    "an attribute that is not there": Mistake(
        "print(run[1].loss)", "print(run[1].losses)", "reportAttributeAccessIssue"
    ),
    "a text for a number": Mistake('htf.group_rmsprop("1e-2")', "htf.group_rmsprop(1e-2)"),
    "an option by position": Mistake(
        "htf.descend(factors, loss, optimizer, 4, 2)",
        "htf.descend(factors, loss, optimizer, num_steps=4, record_every=2)",
        "reportCallIssue",
    ),
    "None": Mistake(
        "htf.local_component_norms(None)", "htf.local_component_norms(factors)"
    ),
    "another method": Mistake(
        'htf.singular_values(factors, (0,), method="svd")',
        'htf.singular_values(factors, (0,), method="qr")',
    ),
    "an option that is handed on": Mistake(
        'htf.observed((indices, targets)).loss(tree, penalty="l3")',
        'htf.observed((indices, targets)).loss(tree, penalty="l1")',
    ),
    "what was not observed": Mistake(
        "print(run[1].observed[tree.root])",
        "print(run[1].losses[0])",
        "reportOptionalSubscript",
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """htfjax from a wheel."""
    for package in ("hatchling", "pyright"):
        pytest.importorskip(package, reason=f"needs {package}")
    return install(tmp_path_factory.mktemp("wheel").resolve())


def findings(site: Path, folder: Path) -> list[tuple[str, int, str]]:
    """File, line and rule of everything that pyright says about the scripts of a folder."""
    return [
        (Path(x["file"]).name, x["range"]["start"]["line"] + 1, x.get("rule", x["message"]))
        for x in pyright(site, ".", folder=folder)["generalDiagnostics"]
    ]


@pytest.mark.slow
def test_types_of_public_names_are_known(site: Path) -> None:
    """Few may not be, as releases of other packages decide too; the message names them."""
    names = public_names(site)
    assert names.known > 2000
    assert names.share >= 0.97, names.others


@pytest.mark.slow
def test_each_mistake_of_a_script_is_found(site: Path, tmp_path: Path) -> None:
    lines = [mistake.wrong for mistake in MISTAKES.values()]
    (tmp_path / "script.py").write_text(START + "\n".join(lines) + "\n", encoding="utf-8")
    first = START.count("\n") + 1
    assert findings(site, tmp_path) == [
        ("script.py", line, mistake.rule)
        for line, mistake in enumerate(MISTAKES.values(), first)
    ]


@pytest.mark.slow
def test_nothing_is_found_in_right_scripts(site: Path, tmp_path: Path) -> None:
    """The same lines without the mistakes, and the snippets of the README."""
    lines = [mistake.right for mistake in MISTAKES.values()]
    (tmp_path / "script.py").write_text(START + "\n".join(lines) + "\n", encoding="utf-8")
    for number, snippet in enumerate(SNIPPETS):
        (tmp_path / f"snippet_{number}.py").write_text(snippet, encoding="utf-8")
    assert findings(site, tmp_path) == []


def test_shares_are_of_all_names() -> None:
    assert Names(3, {"f": "", "g": ""}).share == 0.6
