"""Text of nested modes: what Python reads, read at any depth, and the places of errors."""

import ast
import re

import pytest

import htfjax as htf
from htfjax.trees import builders, spelling

TEXTS = ("((0, 1), (2, 3))", "(((0,),), 1)", "[0, (1, [2])]", " ( 0 ,1, )\n")


def read(text: str) -> object:
    return spelling.read_nested(text, "tree")


def deep(order: int, *, missing: int = 0) -> str:
    """Text of a caterpillar, without some of the brackets that close it."""
    closed = [f", {mode})" for mode in range(2, order)]
    return "(" * (order - 2) + "(0, 1)" + "".join(closed)[: -missing or None]


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS)
def test_it_is_what_python_reads(text: str) -> None:
    assert read(text) == ast.literal_eval(text.strip())


@pytest.mark.parametrize("text", TEXTS[:3])
def test_a_slip_of_one_key_is_read_as_python_reads_it_or_refused(text: str) -> None:
    """A character more, less, or another one, at every place."""
    slips = {text[:i] + text[i + 1 :] for i in range(len(text))}
    for key in "()[], 1":
        slips |= {text[:i] + key + text[i:] for i in range(len(text) + 1)}
        slips |= {text[:i] + key + text[i + 1 :] for i in range(len(text))}
    refused = 0
    for slip in slips:
        try:
            found = read(slip)
        except ValueError:
            refused += 1
            assert not is_nested(slip), slip
        else:
            assert is_nested(slip), slip
            assert found == ast.literal_eval(slip.strip())
    assert 50 < refused < len(slips) - 20


def is_nested(text: str) -> bool:
    """Whether Python reads brackets around modes and groups, none of them empty."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return False
    groups = [n for n in ast.walk(node) if isinstance(n, ast.Tuple | ast.List)]
    others = [n for n in ast.walk(node) if isinstance(n, ast.expr) and n not in groups]
    bare = isinstance(node, ast.Tuple) and node.elts[:1] and (
        node.col_offset == node.elts[0].col_offset
    )  # fmt: skip
    return (
        all(isinstance(n, ast.Constant) and type(n.value) is int for n in others)
        and all(group.elts for group in groups)
        and text.strip()[:1] in ("(", "[")
        and not bare
    )


def test_depth_has_no_limit() -> None:
    """Python's own reader stops at 200 brackets."""
    assert htf.as_tree(deep(2000)) == htf.caterpillar(2000)


@pytest.mark.parametrize("length", range(len(TEXTS[0])))
def test_a_text_that_is_cut_ends_at_the_column_behind_it(length: int) -> None:
    cut = TEXTS[0][:length].rstrip()
    with pytest.raises(ValueError, match=rf"at column {len(cut) + 1} it ends, where"):
        read(cut)


SECOND = "',' or ')' is expected"
NEXT = "a mode, '(' or ')' is expected"
FIRST = "a mode or '(' is expected"
END = "the end is expected"
START = "'(' is expected"
MISTAKES = {
    "((0, 1), (2, 3)": f"column 16 it ends, where {SECOND} (the '(' of column 1 is open)",
    "((0,1),(2": f"column 10 it ends, where {SECOND} (the '(' of column 8 is open)",
    "[0, 1": "column 6 it ends, where ',' or ']' is expected (the '[' of column 1 is open)",
    "((0, 1), 2))": f"column 12 it has ')', where {END}",
    "((0, 1], 2)": f"column 7 it has ']', where {SECOND}",
    "((0, 1) (2, 3))": f"column 9 it has '(', where {SECOND}",
    "(0 1)": f"column 4 it has '1', where {SECOND}",
    "(0,, 1)": f"column 4 it has ',', where {NEXT}",
    "(, 0)": f"column 2 it has ',', where {FIRST}",
    "(0, 1),": f"column 7 it has ',', where {END}",
    "": f"column 1 it ends, where {START}",
    "  ": f"column 3 it ends, where {START}",
    "(0, ())": f"column 6 it has ')', where {FIRST}",
    "((0, 1), 2) x": f"column 13 it has 'x', where {END}",
    "((0, a), 1)": f"column 6 it has 'a', where {NEXT}",
    "(0, 1.0)": f"column 5 it has '1.0', where {NEXT}",
    "(0, -1)": f"column 5 it has '-1', where {NEXT}",
    "(0, 01)": f"column 5 it has '01', where {NEXT}",
    "(0, 9876543210123456789)": f"column 5 it has '9876543210123456789', where {NEXT}",
    "(0, 98765432101234567890)": f"column 5 it has '98765432101234567890', where {NEXT}",
    "(0, 987654321012345678901)": f"column 5 it has '98765432101234567...', where {NEXT}",
    "(0, \u0661)": f"column 5 it has '\u0661', where {NEXT}",
    "0, 1": f"column 1 it has '0', where {START}",
    "3": f"column 1 it has '3', where {START}",
    "f(0, 1)": f"column 1 it has 'f', where {START}",
    "{0, 1}": f"column 1 it has '{{0', where {START}",
    "\0": f"column 1 it has '\\x00', where {START}",
    "((0,\n  1)\n 2)": f"line 3, column 2 it has '2', where {SECOND}",
    "(" * 5000: f"column 5001 it ends, where {FIRST} (the '(' of column 5000 is open)",
}
ADVICE = "; write nested modes such as '((0, 1), (2, 3))'"


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text[:20]))
def test_the_place_and_what_is_expected_there_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"^`tree='") as caught:
        htf.as_tree(text)
    said = str(caught.value)
    assert said.endswith(f"` is not a tree: at {MISTAKES[text]}{ADVICE}.")
    assert len(text) > 80 or said.startswith(f"`tree={text!r}`")


@pytest.mark.parametrize(
    ("text", "name"), [("catterpillar", "caterpillar"), ("Flat", "flat"), ("qqq", None)]
)
def test_a_text_that_is_like_the_name_of_a_builder(text: str, name: str | None) -> None:
    call = f", or call `htfjax.{name}`" if name else ""
    with pytest.raises(ValueError, match=re.escape(f"{ADVICE}{call}.")):
        htf.as_tree(text)


def test_a_mode_far_away_costs_nothing() -> None:
    """The modes between are not listed."""
    some = re.escape(str([*range(1, 11)]))
    with pytest.raises(ValueError, match=f"misses the modes {some}; modes are 0..99"):
        htf.as_tree("(0, 999999999999)")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        (deep(60, missing=1), "`tree='...), 48), 49), 50), "),
        ("x" + deep(60), "`tree='x(((((((((("),
        (deep(60).replace("30)", "30]"), "), 28), 29), 30], 31), 32"),
    ],
)
def test_of_a_long_text_the_part_around_the_place_is_quoted(text, quoted) -> None:
    with pytest.raises(ValueError, match=re.escape(quoted)) as caught:
        read(text)
    assert len(str(caught.value)) < 320


def test_the_argument_is_named() -> None:
    with pytest.raises(ValueError, match=r"^`target_tree='\(0'` is not a tree: "):
        htf.as_tree("(0", name="target_tree")


def test_names_of_trees_are_those_of_builders() -> None:
    for name in spelling.BUILDERS:
        assert getattr(htf, name) is getattr(builders, name)
    public = [name for name in htf.__all__ if hasattr(builders, name)]
    assert sorted({*public} - {"ModeTree"}) == [*spelling.BUILDERS]
