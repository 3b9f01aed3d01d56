"""Machines other than ours: no fcntl, no home, no flock, foreign terminals and backends."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import htfjax as htf
from tests.marks import slow_unless

ROOT = Path(__file__).parent.parent

# What a user does first: import, a loss, a grid into a folder.
FIRST_STEPS = """
import sys
import htfjax as htf, jax
tree = htf.perfect(4)
factors = htf.gaussian_factors(jax.random.key(0), tree, 3, 2, 0.5)
loss = htf.completion_loss(tree, 3, [[0, 1, 2, 0], [1, 1, 1, 1]], [1.0, 2.0])
assert loss(factors) > 0
setting = htf.problems.Completion(mode_dims=2, widths=2, observed=8, target_rank=1)
grid = htf.runs.Grid(setting, seeds=range(2))
for progress in htf.runs.run(grid, sys.argv[1], until_step=4, record_every=2):
    pass
assert progress.state == "finished", progress
assert float(htf.load_results(sys.argv[1]).loss.isnull().sum()) == 0
print("done")
"""
MACHINES = {
    "plain": "",
    "without fcntl": "import sys; sys.modules['fcntl'] = None",
    "without SC_AVPHYS_PAGES": """
import os
real = os.sysconf
def sysconf(name):
    if name == "SC_AVPHYS_PAGES":
        raise ValueError("unrecognized configuration name")
    return real(name)
os.sysconf = sysconf
""",
    "without sched_getaffinity": "import os; del os.sched_getaffinity",
    "without a home": """
import os, pwd
os.environ.pop("HOME", None)
os.environ.pop("XDG_CACHE_HOME", None)
def unknown(uid):
    raise KeyError("getpwuid(): uid not found")
pwd.getpwuid = unknown
""",
    "without flock": """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
""",
    "with flock refused": """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
""",
}


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    variables = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd, env=variables | environment, capture_output=True, text=True,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"), timeout=300, check=False,
    )  # fmt: skip


# All that can be missing at once; each by itself in `make test-all`.
MACHINES["with nothing of it"] = "\n".join(
    MACHINES[name]
    for name in ("without a home", "without SC_AVPHYS_PAGES", "without sched_getaffinity",
                 "without fcntl")
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_first_steps_on(machine, tmp_path):
    code = MACHINES[machine] + FIRST_STEPS
    done = python("-W", "ignore", "-c", code, str(tmp_path / "out"), cwd=tmp_path)
    assert done.stdout == "done\n", done.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("encoding", slow_unless(["ascii", "latin-1", "cp437"], ("ascii",)))
def test_trees_print_on_every_terminal(encoding, tmp_path):
    done = python(
        "-c", "import htfjax as htf; print(htf.perfect(4))",
        cwd=tmp_path, PYTHONIOENCODING=encoding,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 7
    assert done.stdout.isascii() == (encoding != "cp437")


@pytest.mark.parametrize(
    "command",
    slow_unless(["incremental_rank", "verify", "is_same_class"], ("incremental_rank",)),
)
def test_commands_start_under_a_notebook_and_an_ascii_terminal(command, tmp_path):
    done = python(
        "-m", f"sims.{command}", "--help",
        cwd=ROOT, PYTHONIOENCODING="ascii",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


@pytest.mark.slow
def test_factors_are_shown_in_one_line() -> None:
    """Notebooks and pipes print 17 kB for factors of the paper's size."""
    factors = htf.gaussian_factors(jax.random.key(0), htf.perfect(4), 8, 64, 0.1)
    for shown in (factors, htf.group(factors)):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 300
