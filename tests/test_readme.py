"""README: every snippet is complete, runs by itself, and asserts what it claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNIPPETS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
)


def title(snippet: str) -> str:
    """The last public name that a snippet uses, as its name in a report."""
    return re.findall(r"(?:htf|locality|runs|theory)\.(\w+)", snippet)[-1]


def test_there_are_snippets():
    assert len(SNIPPETS) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS, ids=title)
def test_snippet(snippet, tmp_path):
    assert "assert " in snippet
    (tmp_path / "snippet.py").write_text(snippet, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "snippet.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
