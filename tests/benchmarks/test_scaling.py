"""Slopes against scale: fits, predictions, and the whole command at small sizes."""

import json

import jax
import jax.numpy as jnp
import pytest

import htfjax as htf
from benchmarks import scaling, scaling_figure, tables
from benchmarks.scaling import AXES, Machine, Size

MACHINE = Machine(1e11, 1e10, 1e-6)


def rows(exponent: float, predicted: float) -> list:
    """Rows of one quantity whose time and memory are powers of the size."""
    return [
        {
            "axis": "width", "size": n, "quantity": "flow", "bytes": n**2,
            "milliseconds": [n**exponent, 2 * n**exponent, 3 * n**exponent],
            "predicted_milliseconds": n**predicted, "predicted_bytes": n**2,
        }
        for n in (1, 2, 64, 128, 256, 512)
    ]  # fmt: skip


def test_slopes_are_of_the_last_decade():
    made = rows(2.0, 1.9)
    made[0] |= {"milliseconds": [1e9] * 3, "predicted_milliseconds": 1e9, "bytes": 1e9}
    (found,) = scaling.slopes(made).values()
    assert found["time"] == [2.0] * 3
    assert (found["predicted_time"], found["memory"], found["top"]) == (1.9, 2.0, 512)
    assert found["above"] == []
    (found,) = scaling.slopes(rows(2.06, 1.9)).values()
    assert found["above"] == ["time"]


def test_axes_reach_what_is_asked():
    tops = {axis: sizes[-1] for axis, (_, sizes) in AXES.items()}
    assert tops == {"order": 4096, "width": 2048, "observed": 2**22, "lanes": 1024}
    for _, sizes in AXES.values():
        assert sum(n * 10 >= sizes[-1] for n in sizes) >= 4


def test_a_prediction_is_the_sum_of_its_parts():
    counted = {"flops": 2e9, "bytes": 1e6, "operations": 7}
    factors = htf.gaussian_factors(jax.random.key(0), htf.flat(2), 3, 2, 1.0)
    one = 2e9 / 1e11 + 1e6 / 1e10 + 7e-6
    for lanes in (1, 5):
        size = Size(lanes=lanes)
        words = ("descent", size, counted, MACHINE, factors)
        assert scaling.predicted_seconds(*words) == pytest.approx(lanes * one)


def test_operations_of_a_program_are_counted_once():
    """Products and loops, not what is fused into one operation."""

    def function(x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ x) * 2 + 1

    text = jax.jit(function).lower(jnp.ones((8, 8))).compile().as_text()
    assert text is not None
    assert scaling.operations(text) == 2


def test_what_does_not_fit_is_left_out(monkeypatch, tmp_path):
    """The sizes of an axis after the one that memory does not hold are not tried."""
    seen = []

    def measure(axis: str, size: Size, machine: Machine) -> list:
        seen.append((axis, getattr(size, axis)))
        if seen[-1] == ("width", 4):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 5 bytes")
        return [{"axis": axis, "size": seen[-1][1]}]

    monkeypatch.setattr(scaling, "measure", measure)
    axes = {"width": (Size(), (2, 4, 8)), "lanes": (Size(), (1, 2))}
    path = tmp_path / "rows.jsonl"
    made, left = scaling.run(axes, path, MACHINE, 1.0)
    assert [(r["axis"], r["size"]) for r in made] == [
        ("width", 2), ("lanes", 1), ("lanes", 2),
    ]  # fmt: skip
    assert left == ["width 4: out of memory (RESOURCE_EXHAUSTED: Out of memory: 5 bytes)"]
    scaling.run({"lanes": axes["lanes"]}, path, MACHINE, 1.0)
    assert len(seen) == 4  # none twice
    _, left = scaling.run({"lanes": (Size(), (4,))}, path, MACHINE, -1.0)
    assert left == ["lanes 4: no time"]


@pytest.mark.slow
def test_the_command_at_small_sizes(tmp_path, capsys):
    """Measured, kept, fitted, drawn; the second time nothing is measured again."""
    assert scaling.main(["--quick", "--axes", "lanes", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("scaling-*.json")
    record = json.loads(path.read_text())
    assert {(r["axis"], r["quantity"]) for r in record["rows"]} == {
        (axis, quantity) for axis in scaling.QUICK for quantity in scaling.QUANTITIES
    }
    for row in record["rows"]:
        assert len(row["milliseconds"]) == scaling.REPEATS
        assert min(row["milliseconds"]) > 0
        assert row["bytes"] > 0
        assert row["predicted_milliseconds"] > 0
    assert scaling.main(["--quick", "--out", str(tmp_path)]) == 0
    assert json.loads(path.read_text())["rows"] == record["rows"]
    scaling_figure.main([str(path), "--out", str(tmp_path / "scaling.png")])
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert "lanes, flow" in tables.scaling([record])


def test_the_sweeps_grow_as_widths_and_orders_do():
    """Nodes times width squared where tables are low: dimension 2, whole tables above."""
    flops = {w: scaling.spectra_work(Size(width=w))[0] for w in (512, 1024)}
    assert flops[1024] / flops[512] == pytest.approx(4, rel=0.05)
    work = {n: scaling.spectra_work(Size(order=n, dim=2, width=8)) for n in (1024, 2048)}
    for one, other in zip(work[1024], work[2048], strict=True):
        assert other / one == pytest.approx(2, rel=0.02)
