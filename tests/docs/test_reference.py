"""The reference: public names once each, examples that stand by themselves, anchors."""

import ast
import builtins
import collections
import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import htfjax as htf
from docs.tools import commands, docstrings, links, reference
from sims.common.names import dashed, questions
from tests.fuzz.names import MODULES, PUBLIC

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"
OTHERS = {"commands", "glossary", "index"}
# Modules that are public names themselves.
INNER = [
    f"{room}.{name}"
    for room in MODULES
    for name in getattr(getattr(htf, room), "__all__", ())
    if inspect.ismodule(reference.value(f"{room}.{name}"))
]
NAMES = [*PUBLIC, *INNER]


def read(page: str) -> str:
    return (REFERENCE / f"{page}.md").read_text("utf-8")


def described(name: str) -> Iterator[tuple[str, str]]:
    """A name and its public methods, with their docstrings."""
    value = reference.value(name)
    yield name, inspect.getdoc(value) or ""
    for member, kept in vars(value).items() if inspect.isclass(value) else ():
        kept = getattr(kept, "__func__", getattr(kept, "fget", None)) or kept
        kept = getattr(kept, "func", kept)  # of a cached property
        if not member.startswith("_") and inspect.isfunction(kept):
            yield f"{name}.{member}", inspect.getdoc(kept) or ""


DESCRIBED = dict(pair for name in NAMES for pair in described(name))


def test_every_public_name_is_an_entry_once() -> None:
    """Of the pages that the overview lists, and of no other."""
    pages = map(read, reference.STAGES)
    entries = [name for page in pages for name in reference.ENTRY.findall(page)]
    assert collections.Counter(entries) == collections.Counter(NAMES)


def test_the_overview_lists_every_page() -> None:
    """Stages once each; the other pages have no entries."""
    pages = {path.stem for path in REFERENCE.glob("*.md")}
    assert pages == {*reference.STAGES} | OTHERS
    assert len(set(reference.STAGES)) == len(reference.STAGES)
    assert not any(reference.ENTRY.findall(read(page)) for page in OTHERS)


def test_tables_say_what_every_name_is() -> None:
    """A row for each entry, whose text is not empty and closes no cell."""
    for page in map(read, reference.STAGES):
        rows = [x for x in reference.table(page).splitlines() if x.startswith("| [")]
        assert len(rows) == len(reference.ENTRY.findall(page))
        for row in rows:
            cells = row.strip("| ").split(" | ")
            assert len(cells) == 2, row
            assert len(cells[1]) > 10, row


def test_headings_are_what_code_says() -> None:
    """Entries get options; text stays."""
    page = reference.with_headings("A\n\n::: htfjax.formats.add\n\nB\n")
    assert "heading: htf.formats.add\n" in page
    assert "toc_label: add\n" in page
    assert page.startswith("A\n")
    assert page.endswith("B\n")


def test_every_name_has_an_example() -> None:
    """Its own."""
    for name in PUBLIC:
        assert doctest.DocTestParser().get_examples(DESCRIBED[name]), name


def test_examples_stand_by_themselves() -> None:
    """What is copied from the site names what it has imported or made."""
    for name, text in DESCRIBED.items():
        examples = doctest.DocTestParser().get_examples(text)
        assert not any(doctest.SKIP in example.options for example in examples), name
        assert free("".join(example.source for example in examples)) == set(), name


def free(source: str) -> set[str]:
    """Names that code reads and never binds."""
    bound, read = {*dir(builtins)}, set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add((other or name).partition(".")[0])
    return read - bound


def test_free_names_are_seen() -> None:
    """Of a module that the docstring stands in."""
    assert free("import htfjax as htf\nx = [flat(n) for n in (2, 3)]\nnp.ones(x)") == {
        "flat",
        "np",
    }


def test_every_error_is_an_item() -> None:
    """Items of "Raises" begin with the errors, and hold no other ones."""
    errors = rf"{docstrings.ERROR}(?: or {docstrings.ERROR})*: "
    for name, text in DESCRIBED.items():
        markdown = docstrings.markdown(text)
        section = re.search(r"^Raises:\n((?:  .*\n?)+)", markdown, re.MULTILINE)
        for item in section[1].splitlines() if section else ():
            assert re.match(rf"  {errors}\S", item), (name, item)
            assert not re.search(rf"\. {errors}", item), (name, item)


def test_docstrings_are_read_as_they_say() -> None:
    """Examples of the reader of docstrings."""
    assert doctest.testmod(docstrings).failed == 0


def terms() -> list[str]:
    return [anchor for _, anchor in reference.TERM.findall(read("glossary"))]


def test_terms_of_the_glossary_stand_once() -> None:
    """Each with a definition below."""
    assert len(terms()) == len(set(terms())) > 90
    assert len(re.findall(r"^:   \S", read("glossary"), re.MULTILINE)) == len(terms())


def glossary_links() -> Iterator[tuple[str, str]]:
    """Pages and anchors of the glossary that they link to."""
    for path in DOCS.rglob("*.md"):
        for anchor in re.findall(r"glossary\.md#([\w-]+)", path.read_text("utf-8")):
            yield path.relative_to(DOCS).as_posix(), anchor


def test_links_to_the_glossary_arrive() -> None:
    """From every page of the site."""
    found = list(glossary_links())
    assert found
    assert [link for link in found if link[1] not in terms()] == []


def test_code_of_the_reference_exists() -> None:
    """`htf.NAME` on its pages, not in longer code."""
    for path in REFERENCE.glob("*.md"):
        for name in re.findall(r"`htf\.([\w.]+)`", path.read_text("utf-8")):
            assert reference.value(name) is not None, f"{path.name}: {name}"


@pytest.mark.parametrize("name", ["cite", "init_scale", "status"])
def test_commands_are_shown_with_their_options(name: str) -> None:
    """All that `--help` lists, and its text but for the frame."""
    usage, paragraphs, options = commands.parts(name)
    assert usage.startswith(f"htfjax {dashed(name)} ")
    assert paragraphs
    shown = " ".join([usage, *paragraphs, *(word for pair in options for word in pair)])
    head = r"^\W*(usage:|options:?|positional arguments:?)|[─│╭╮╰╯]|-{5,}"
    said = re.sub(head, " ", commands.help_text(name), flags=re.MULTILINE)
    assert words(shown) == words(said)


def words(text: str) -> Any:
    return collections.Counter(text.split())


def test_every_command_is_on_the_page() -> None:
    """The page asks for all of them; the table links to each."""
    page = read("commands")
    assert "{{ command_names() }}" in page
    assert "{{ command_help() }}" in page
    listing = commands.listing()
    assert all(f"(#{dashed(name)})" in listing for name in questions())


def test_names_in_code_become_links() -> None:
    """Where it is clear what they mean: no parameters, no word that is two names."""
    assert links.target("Completion", whole=True) == "Completion"
    assert links.target("problems.Completion", whole=False) == "problems.Completion"
    assert links.target("Trajectory.times", whole=False) == "Trajectory.times"
    assert links.target("load_digits", whole=False) == "locality.load_digits"
    for word in ("Completion", "spectra", "widths", "run", "numpy.ones"):
        assert links.target(word, whole=False) is None, word
    html = "<p><code>descend</code></p><pre><code>descend</code></pre>"
    assert links.linked(html).count("htfjax.descend") == 1
