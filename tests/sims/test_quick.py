"""`--quick` of every study: its options can be, and its pictures show the effect."""

import importlib
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from sims import incremental_rank, is_same_class, pathfinder
from sims.common.settings import chosen_panels, resolve
from sims.figures import dynamics
from sims.networks import options

NAMES = (
    "component_dynamics", "flow_against_descent", "incremental_rank", "init_scale",
    "mode_tree_shape", "phase_diagram", "rank_statistics",
)  # fmt: skip


@pytest.mark.durable
@pytest.mark.parametrize("name", NAMES)
def test_quick_shows_the_effect(name: str, tmp_path: Path) -> None:
    """No figure says that its runs were too short to."""
    module: Any = importlib.import_module(f"sims.{name}")
    module.run(module.Config(out=tmp_path, **module.QUICK))
    if module is incremental_rank:
        figures = dynamics.standard(module.load_runs(tmp_path), dynamics.View())
    else:
        figures = module.redraw(tmp_path)
    assert (tmp_path / "summary.json").exists()
    for figure in figures.values():
        assert "too short" not in figure.get_suptitle()
        plt.close(figure)


def test_quick_of_the_paper_experiment_can_be(tmp_path: Path) -> None:
    """Every panel that it asks for is resolved."""
    config = incremental_rank.Config(out=tmp_path, **incremental_rank.QUICK)
    panels = chosen_panels(config)
    assert [resolve(config, panel).panel for panel in panels] == list(panels)


@pytest.mark.parametrize("module", [is_same_class, pathfinder])
def test_quick_of_networks_is_a_part_of_the_default(module: Any, tmp_path: Path) -> None:
    """Fewer runs of the same networks; plain training beside a regularized one."""
    plain = module.Config(out=tmp_path)
    quick = options.resolve(module.Config(out=tmp_path, **module.QUICK), module.PRESETS)
    whole = options.resolve(plain, module.PRESETS)
    assert quick.networks == whole.networks
    assert quick.coefficients == whole.coefficients
    assert 0.0 in quick.coefficients
    assert len(quick.seeds) < len(whole.seeds)
    assert quick.epochs < whole.epochs
