"""The theory's simulations: laws pass, broken laws fail, small runs leave their files."""

import json

import jax
import numpy as np
import pytest
from rich.console import Console

from sims import (
    component_dynamics,
    flow_against_descent,
    init_scale,
    mode_tree_shape,
    verify,
)
from sims.common.errors import SettingError
from sims.common.theory import arc_flow, completion

QUICK = (
    "A1",
    "A3",
    "A5",
    "A8",
    "A11",
    "B1",
    "B2",
    "C1",
    "D2",
    "D3",
    "D4",
    "E1",
    "F1",
    "F6",
)


@pytest.mark.slow
def test_laws_pass_on_a_tree_of_the_user():
    rows = verify.run(verify.Config(tree=("((0, 2), 1)",), only=QUICK))
    assert [row["law"] for row in rows] == list(QUICK)
    assert [row["law"] for row in rows if not row["passed"]] == []
    json.dumps(rows)


def test_broken_laws_fail_and_quick_leaves_out_flows(capsys):
    config = verify.Config(tree=("(0, 1)",), breaks="A1")
    rows = verify.run(config)
    assert [(row["law"], row["passed"]) for row in rows] == [("A1", False)]
    assert verify.report(rows, config, Console(width=140)) == 1
    assert "FAILED: A1" in capsys.readouterr().out
    quick = {law.name for law in verify.chosen_laws(verify.Config(quick=True))}
    assert set(verify.LAWS) - quick == {"A10", "F4", "F8", "F10", "F13"}


def test_unknown_laws_and_trees_are_named():
    with pytest.raises(SettingError, match="no law Z9"):
        verify.run(verify.Config(only=("Z9",)))
    with pytest.raises(SettingError, match=r"`--tree='binary'` is not a tree: at column 1"):
        verify.run(verify.Config(tree=("(0, 1)", "binary")))


def files(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.durable
def test_component_dynamics_measures_the_theorem(tmp_path):
    rows = component_dynamics.run(component_dynamics.Config(out=tmp_path))
    for name, row in rows.items():
        assert row["status"] == "stopped by an event", name
        assert row["exact_law_error"] <= 1e-6
        assert row["outside_bounds"] <= 1e-6
        assert row["drift"] <= 1e-9
        if name.endswith("balanced"):
            assert row["balanced_law_error"] <= 1e-6
        else:
            assert row["balanced_law_error"] > 1e-3
    assert {"summary.json", "component_dynamics.png"} <= files(tmp_path)


@pytest.mark.durable
def test_flow_and_descent_take_off_together(tmp_path):
    """Widths 64, std 3e-2: within 2 % at lr 1e-3; the flow costs below 1.87 descents."""
    summary = flow_against_descent.run(flow_against_descent.Config(out=tmp_path))
    exact = summary["runs"]["flow, rtol 1e-06"]
    slow = summary["runs"]["lr 0.001"]
    assert slow["order"] == exact["order"]
    assert len(slow["order"]) >= 3
    assert slow["worst_loss_error"] <= 0.02
    assert slow["worst_path_error"] <= 0.02
    assert summary["runs"]["flow, rtol 0.0001"]["worst_path_error"] <= 0.02
    assert summary["evaluations_ratio"] < 0.5 * 46_200 / 12_340
    assert summary["convergence"]["order"] == pytest.approx(1.0, abs=0.1)


@pytest.mark.durable
def test_what_does_not_take_off_is_null_and_said(tmp_path, capsys):
    config = flow_against_descent.Config(
        out=tmp_path,
        widths=4,
        dim=3,
        observed=60,
        num_steps=100,
        chord_steps=10,
        stop_loss=1,
        learning_rates=(1e-2,),
    )
    summary = flow_against_descent.run(config)
    flow_against_descent.report(summary, config, Console(width=200))
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["runs"]["lr 0.01"]["worst_path_error"] is None
    assert "not all of the reference's take-offs" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [7, 700])
def test_any_number_of_steps_has_records(tmp_path, num_steps):
    config = mode_tree_shape.Config(
        out=tmp_path, seeds=(0,), widths=2, dim=3, observed=60, num_steps=num_steps
    )
    assert len(mode_tree_shape.run(config)) == 2


def test_records_divide_the_steps():
    wanted = {0: 1, 7: 1, 100: 1, 700: 2, 10_007: 1, 30_000: 100}
    assert {n: mode_tree_shape._record_every(n) for n in wanted} == wanted


@pytest.mark.slow
def test_transitions_sharpen_as_the_start_shrinks(tmp_path):
    rows = init_scale.run(init_scale.Config(out=tmp_path, seeds=(0,), stds=(0.2, 0.05)))
    wide, sharp = rows["seed 0, std 0.2"], rows["seed 0, std 0.05"]
    assert sharp["first_width_over_wait"] < 0.5 * wide["first_width_over_wait"]


@pytest.mark.slow
def test_a_mismatching_tree_needs_more_rank(tmp_path):
    rows = mode_tree_shape.run(mode_tree_shape.Config(out=tmp_path, seeds=(0,)))
    good, bad = rows["seed 0, matching tree"], rows["seed 0, mismatching tree"]
    assert good["rank_0,1"] <= bad["rank_0,1"]
    assert good["relative_error"] < 0.3 * bad["relative_error"]


def test_a_take_off_that_is_missing_leaves_a_summary() -> None:
    """A short descent has fewer of them than the flow; NaN is no JSON."""
    rise = np.linspace(0.0, 1.0, 11)[:, None] * np.array([1.0, 1e-3])
    run = {"losses": np.linspace(1.0, 0.1, 11), "values": rise, "path": np.arange(11.0),
           "evaluations": np.arange(11), "status": "finished"}  # fmt: skip
    row = flow_against_descent._row(run, (np.array([0.5, 0.2]), np.array([1.0, 2.0])))
    assert row["worst_loss_error"] is row["worst_path_error"] is None
    json.dumps(row, allow_nan=False)
    row = flow_against_descent._row(run, (np.array([0.5, np.nan]), np.array([1.0, 2.0])))
    assert row["worst_path_error"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
def test_a_start_that_is_fitted_already_is_refused() -> None:
    """By the option and both losses; a flow of no length has nothing to compare."""
    keys = jax.random.split(jax.random.key(0), 2)
    start = completion(keys, dim=2, observed=8, widths=2, init_std=0.1, target_rank=1)
    at_start = float(start.loss(start.start))
    with pytest.raises(SettingError, match=rf"`--stop-loss 1e\+06` .* {at_start:.3g},"):
        arc_flow(start.start, start.loss, lambda x: 0, length=1.0, num=3, stop_loss=1e6)
