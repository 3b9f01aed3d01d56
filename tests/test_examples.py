"""Examples: within the lines that are promised, and their numbers by another way."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pytest

import htfjax as htf
from htfjax.theory import oracle
from tests.helpers import assert_close

FOLDER = Path(__file__).parents[1] / "examples"
MOST_LINES = {
    "own_tensor": 10, "two_trees": 8, "own_network": 12, "ten_digits": 15, "sweep": 6,
}  # fmt: skip
CELL = "# %% The job\n"  # before it stands what a reader has already, after it pictures


@pytest.fixture(autouse=True)
def users_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, no screen, and jax's own promotion of dtypes and precision."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):
        yield
    plt.close("all")


def example(name: str) -> dict[str, Any]:
    """What a script leaves behind."""
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize("name", MOST_LINES)
def test_as_few_lines_as_promised(name: str) -> None:
    """Those of the cell that is named the job; neither blanks nor comments."""
    text = (FOLDER / f"{name}.py").read_text("utf-8")
    body = text.split(CELL)[1].partition("# %%")[0]
    lines = [line for line in body.splitlines() if line and not line.startswith("#")]
    assert len(lines) <= MOST_LINES[name]
    assert max(map(len, lines)) <= 92
    assert "import htfjax" in body or "from htfjax" in body


@pytest.mark.slow
def test_a_tensor_of_ones_own() -> None:
    """Products of weights by another way, and the error by its definition."""
    left = example("own_tensor")
    mine, data, final = left["mine"], left["data"], left["final"]
    assert len(data.test_targets) == round(0.1 * np.sum(~np.isnan(mine)))
    weights = [np.asarray(w, float) for w in final.weights]
    tensor = oracle.end_tensor(final.tree.children, weights)
    held = tuple(np.asarray(data.test_indices).T)
    shown = data.shift + data.scale * tensor
    assert_close(
        left["error"], np.sqrt(np.mean((shown[held] - mine[held]) ** 2)), rtol=1e-4
    )
    assert left["error"] < 0.1 * np.nanstd(mine)
    # The mean of the cells is all but the constant, so that one product is left.
    assert left["ranks"] == [1, 1, 1]
    assert_close(left["table"].values, shown, rtol=1e-4)


@pytest.mark.slow
def test_a_network_of_ones_own(capsys: pytest.CaptureFixture) -> None:
    """|cos| falls to less than half of what it was."""
    example("own_network")
    before, after = (
        float(line.split()[1]) for line in capsys.readouterr().out.splitlines()
    )
    assert 0 < after < before / 2 <= 0.5


@pytest.mark.slow
def test_ten_digits() -> None:
    """Norms are products of norms of the trained weights; most digits are read right."""
    left = example("ten_digits")
    assert int(htf.locality.count_correct(left["net"](left["x"]), left["y"])) > 190
    factors, tree = left["net"].factors(), left["tree"]
    columns = [
        np.linalg.norm(np.asarray(factors.weights[child], float), axis=0)
        for child in tree.children[tree.root]
    ]
    assert_close(left["norms"], np.prod(columns, axis=0), rtol=1e-4)  # the root is ones


@pytest.mark.slow
def test_two_trees() -> None:
    """Another tree needs more singular values for the same target, whatever the seed."""
    runs = example("two_trees")["runs"]
    ends = runs.singular_value.isel(modes=0, step=-1)
    active = (ends > 0.05 * ends.max("index")).sum("index").median("seed")
    assert float(active[0]) < float(active[1])
    assert Path("runs/two_trees.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_sweep() -> None:
    """The slowest rate from the smallest start has the largest error; a picture says so."""
    example("sweep")
    errors = htf.load_results("runs/sweep").relative_error.isel(step=-1).median("seed")
    assert float(errors[0, 0]) == float(errors.max())
    assert Path("runs/sweep.png").stat().st_size > 10_000
