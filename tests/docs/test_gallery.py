"""Gallery: what every example has, and how pages are made, kept and refused."""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import htfjax as htf

# Of the group `docs`, which `make docs` installs.
jupytext: Any = pytest.importorskip("jupytext")
gallery: Any = pytest.importorskip("docs.tools.gallery")
pictures: Any = pytest.importorskip("docs.tools.pictures")

SCRIPTS = sorted(gallery.EXAMPLES.glob("*.py"))
QUIET = Console(quiet=True)
TRIVIAL = '''\
# %% [markdown]
r"""
# Is one one?

Takes 1 s.
"""

# %% The picture
import matplotlib.pyplot as plt

plt.plot([0, 1])
print("\\x1b[31mred\\x1b[0m")
plt.show()
assert 1 == 1
'''


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of its own with one example, which computes nothing."""
    for name in ("examples", "pages", "cache"):
        monkeypatch.setattr(gallery, name.upper(), tmp_path / name)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "trivial.py").write_text(TRIVIAL, "utf-8")
    monkeypatch.setattr(gallery, "QUESTIONS", ("trivial",))
    return tmp_path


def build(*names: str) -> list[str]:
    return gallery.build(names, names, QUIET, force=False, timeout=60)


def test_every_example_has_a_card() -> None:
    listed = [*gallery.TUTORIALS, *gallery.QUESTIONS]
    assert sorted(listed) == [path.stem for path in SCRIPTS]
    assert len(listed) >= 12


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_an_example_has(script: Path) -> None:
    """A question, how long it takes, a picture, an assertion; no private names."""
    cells = jupytext.read(script).cells
    first, code = cells[0], [cell.source for cell in cells if cell.cell_type == "code"]
    assert first.cell_type == "markdown"
    assert re.match(r"# .+\?\n", first.source)
    seconds = re.search(r"takes?\s(\d+)\ss\b", first.source)
    assert seconds is not None
    assert 1 <= int(seconds[1]) <= 60
    assert any("plt.show()" in text or "savefig" in text for text in code)
    assert any(re.search(r"^\s*assert ", text, re.MULTILINE) for text in code)
    for name, inner in re.findall(r"\bhtf\.(\w+)(?:\.(\w+))?", "\n".join(code)):
        assert name in htf.__all__
        owner = getattr(htf, name)
        assert not isinstance(owner, ModuleType) or inner in owner.__all__
    assert first.source.count("$$") % 2 == 0


def test_names_of_pages_and_cards(elsewhere: Path) -> None:
    """No kernel: what is in the cache is published, and nothing else stays."""
    page = elsewhere / "cache" / "trivial-0"
    page.mkdir(parents=True)
    (page / "trivial.md").write_text("# Is one one?\n")
    (elsewhere / "pages").mkdir()
    for name in ("index.md", "gone.md", "gone-1-dark.png"):
        (elsewhere / "pages" / name).write_text("old")
    gallery.publish([gallery.Page("trivial", page, "Is one one?", 1.0, 1.0)])
    assert sorted(path.name for path in (elsewhere / "pages").iterdir()) == [
        ".landing.md", ".questions.md", ".tutorials.md", "index.md", "trivial.md",
    ]  # fmt: skip
    card = (elsewhere / "pages" / ".landing.md").read_text("utf-8")
    assert "(gallery/trivial.md)" in card
    assert "gallery/trivial-thumbnail-dark.png#only-dark" in card


def test_what_a_page_depends_on(elsewhere: Path) -> None:
    """The script, data that it names, and the versions and sources that all share."""
    script, data = elsewhere / "examples" / "trivial.py", elsewhere / "examples" / "a.csv"
    data.write_text("1")
    before = gallery.digest(script, b"")
    data.write_text("2")
    assert gallery.digest(script, b"") == before
    script.write_text(TRIVIAL + "# a.csv\n", "utf-8")
    named = gallery.digest(script, b"")
    data.write_text("3")
    assert (
        len({before, named, gallery.digest(script, b""), gallery.digest(script, b"1")}) == 4
    )
    assert gallery.shared_digest() == gallery.shared_digest()


@pytest.mark.browser
def test_a_page_is_made_once(elsewhere: Path) -> None:
    """Both pictures, a notebook, clean output; a second build runs nothing."""
    assert build("trivial") == []
    pages = elsewhere / "pages"
    text = (pages / "trivial.md").read_text("utf-8")
    assert text.startswith("# Is one one?\n")
    assert "\nred\n" in text
    for scheme in ("light", "dark"):
        assert f"(trivial-1-{scheme}.png#only-{scheme})" in text
        with Image.open(pages / f"trivial-1-{scheme}.png") as image:
            assert image.width == pictures.WIDTH
        assert (pages / f"trivial-thumbnail-{scheme}.png").stat().st_size < 40_000
    book = json.loads((pages / "trivial.ipynb").read_text("utf-8"))
    assert [cell["cell_type"] for cell in book["cells"]] == ["markdown", "code"]
    times = {path: path.stat().st_mtime_ns for path in pages.glob("trivial*")}
    assert build("trivial") == []
    assert {path: path.stat().st_mtime_ns for path in pages.glob("trivial*")} == times


@pytest.mark.browser
def test_an_example_that_fails_is_named(
    elsewhere: Path, capsys: pytest.CaptureFixture
) -> None:
    """With its cell and its error, nonzero, and its old page goes; others stay."""
    assert build("trivial") == []
    other = elsewhere / "examples" / "other.py"
    other.write_text(TRIVIAL.replace("1 == 1", "1 == 2"), "utf-8")
    (elsewhere / "pages" / "other.md").write_text("old")
    assert gallery.main(["--timeout", "60"]) == 1
    said = capsys.readouterr().out
    assert "other, cell 2 (The picture)" in said
    assert "AssertionError" in said
    assert "\x1b[" not in said
    left = {path.name for path in (elsewhere / "pages").iterdir()}
    assert "trivial.md" in left
    assert not any(name.startswith("other") for name in left)
    assert not list((elsewhere / "cache").glob("other*"))


def test_pictures_on_a_dark_page(tmp_path: Path) -> None:
    """White becomes the page exactly, black light ink; colours keep hue and contrast."""
    shades = np.array([[255, 255, 255], [0, 0, 0], [68, 1, 84], [122, 209, 81]], np.uint8)
    white, black, violet, green = pictures.darken(shades)
    assert tuple(white) == pictures.DARK_PAGE
    assert min(black) > 220
    assert violet[2] > violet[1]
    assert np.argmax(green) == 1
    for shade in (violet, green):
        assert contrast(shade, white) > 1.5
    assert contrast(violet, white) > contrast(green, white)
    image = Image.new("RGB", (60, 40), "white")
    image.paste((68, 1, 84), (10, 10, 20, 20))
    pictures.write_pair(image, tmp_path / "a")
    with Image.open(tmp_path / "a-light.png") as light:
        assert light.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    with Image.open(tmp_path / "a-dark.png") as dark:
        assert dark.convert("RGB").getpixel((0, 0)) == pictures.DARK_PAGE


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Of two colours as WCAG 2 defines it."""

    def luminance(rgb: np.ndarray) -> float:
        x = rgb / 255
        linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
