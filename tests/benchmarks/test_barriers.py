"""Every optimization barrier of the library is in the list that says what it is for."""

import ast
import collections

import pytest

from benchmarks import barriers
from benchmarks.barrier_forms import FORMS, LISTED
from tests.test_layering import LIBRARY, PACKAGE, ROOT, tree_of


def barriers_of(path):
    """Calls of `optimization_barrier` in a file."""
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "optimization_barrier"
        for node in ast.walk(tree_of(path))
    )


def test_every_barrier_is_listed():
    found = {path.relative_to(PACKAGE).as_posix(): barriers_of(path) for path in LIBRARY}
    held = {name: count for name, count in found.items() if count}
    listed: collections.Counter[str] = collections.Counter()
    for form in LISTED:
        if form.barriers:
            listed[form.file] += form.barriers
    assert held == dict(listed)


@pytest.mark.parametrize("form", LISTED, ids=lambda form: form.name)
def test_every_form_is_measured_or_tested(form):
    for name in form.file.split(", "):
        assert (PACKAGE / name).exists()
    assert bool(form.problem) == bool(form.measures) == bool(form.plain)
    assert bool(form.tests) == bool(form.edit)
    assert form.problem or form.tests
    if form.edit:
        assert barriers.edited(form) != (PACKAGE / form.file).read_text()
    for test in form.tests:
        path, name = test.split("::")
        functions = {
            node.name
            for node in tree_of(ROOT / path).body
            if isinstance(node, ast.FunctionDef)
        }
        assert name in functions


def test_names_are_listed(capsys):
    assert len(FORMS) == len(LISTED)
    assert barriers.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(form.about in printed for form in LISTED)


def test_what_counts_as_lost():
    slower = {"ratio": {"median": 1.2, "interval": [1.1, 1.3]}}
    unsure = {"ratio": {"median": 1.2, "interval": [0.9, 1.3]}}
    larger = {"ratio": {"median": 1.2, "interval": None}}
    equal = {"ratio": {"median": 1.0, "interval": None}}
    measured = {"ms": slower, "compile s": unsure, "MB": larger, "eager ms": equal}
    assert barriers.verdict(measured, ["tests/a.py::test_b"]) == "ms, MB, test_b"
    assert barriers.verdict({"ms": equal}, []) == "nothing"


@pytest.mark.slow
def test_a_form_is_measured(capsys):
    assert barriers.main(["--quick", "--only", "lifted_grams"]) == 0
    assert "lifted_grams" in capsys.readouterr().out
