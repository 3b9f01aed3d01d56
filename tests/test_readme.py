"""README and pages: every snippet is complete, runs by itself, and asserts its claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[ehrt]*/*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
README_LINES = 150
# By page, as one of README may stand on a page too.
SNIPPETS = {
    text: page.stem for page in PAGES for text in SNIPPET.findall(page.read_text("utf-8"))
}


def title(snippet: str) -> str:
    """The last public name that a snippet uses, as its name in a report."""
    names = re.findall(r"(?:htf|locality|runs|theory)\.(\w+)", snippet)
    return names[-1] if names else "import"


def test_there_are_snippets():
    assert len(SNIPPETS) >= 10


def test_readme_is_short():
    assert len(PAGES[0].read_text("utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page):
    """Of the repository, where the pages are read on a forge."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#]+)", text):
        built = target.startswith(("http", "../gallery", "gallery"))
        assert built or (page.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet", [pytest.param(x, id=f"{SNIPPETS[x]}-{title(x)}") for x in SNIPPETS]
)
def test_snippet(snippet, tmp_path):
    assert "assert " in snippet or snippet.count("\n") == 1
    (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "snippet.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
