"""Programs compiled ahead of time: what is read off them, and what the compilers say."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks.ahead_of_time import check, products, program_text, reading
from benchmarks.ahead_of_time.compile_one import routes
from benchmarks.ahead_of_time.programs import PROGRAMS
from benchmarks.ahead_of_time.targets import TARGETS

ROOT = Path(__file__).parents[2]
TEXT = """\
HloModule jit_run

%fused (a: f32[4,2], b: s32[3,1]) -> f32[4,2] {
  %a = f32[4,2]{1,0} parameter(0)
  %b = s32[3,1]{1,0} parameter(1)
  ROOT %s = f32[4,2]{1,0} scatter(%a, %b), to_apply=%add
}

%inner (t: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %t = (s32[], f32[4,2]{1,0}) parameter(0)
  %x = f32[4,2]{1,0} get-tuple-element(%t), index=1
  %i = s32[3,1]{1,0} constant({...})
  %f = f32[4,2]{1,0:T(8,128)} fusion(%x, %i), kind=kLoop, calls=%fused
  %g = f32[4,2]{1,0} custom-call(%f), custom_call_target="__cublas$gemm"
  %r = f32[4,2]{1,0} all-reduce(%g), to_apply=%add
  ROOT %o = (s32[], f32[4,2]{1,0}) tuple(%n, %r)
}

%outer (t: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %t.1 = (s32[], f32[4,2]{1,0}) parameter(0)
  ROOT %w = (s32[], f32[4,2]{1,0}) while(%t.1), condition=%less, body=%inner
}

ENTRY %main (p: f32[4,2]) -> f32[4,2] {
  %p = f32[4,2]{1,0} parameter(0)
  %q = f64[] sort(%p)
  %v = (s32[], f32[4,2]{1,0}) while(%tuple), condition=%less.1, body=%outer
  ROOT %e = f32[4,2]{1,0} get-tuple-element(%v), index=1
}
"""


def test_a_step_is_the_body_of_its_loops() -> None:
    step = program_text.step_of(TEXT, 2)
    assert (step.fusions, step.scatters, step.sorts, step.loops) == (1, 1, 0, 0)
    assert step.libraries == {"__cublas$gemm": 1}
    assert step.collectives == {"all-reduce": 1}
    assert step.doubles == 0
    # The fusion reads 32 and 12 bytes and writes 32, the other two read and write 32.
    assert step.bytes == 76 + 64 + 64
    whole = program_text.step_of(TEXT, 0)
    assert (whole.sorts, whole.loops, whole.doubles) == (1, 2, 1)
    with pytest.raises(ValueError, match="2 loops, expected 3"):
        program_text.step_of(TEXT, 3)


def test_flops_are_counted_as_often_as_they_run() -> None:
    x = jax.ShapeDtypeStruct((4, 3), jnp.float32)
    y = jax.ShapeDtypeStruct((3, 5), jnp.float32)

    def loop(x: jax.Array, y: jax.Array) -> jax.Array:
        return lax.scan(lambda c, _: (c + jnp.sum(x @ y), None), jnp.float32(0),
                        length=7)[0]  # fmt: skip

    assert products.flops(jax.make_jaxpr(loop)(x, y).jaxpr) == 7 * 2 * 4 * 3 * 5
    image = jax.ShapeDtypeStruct((2, 6, 6, 3), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 3, 8), jnp.float32)

    def convolve(image: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            image, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    found = products.flops(jax.make_jaxpr(convolve)(image, kernel).jaxpr)
    assert found == 2 * (2 * 4 * 4 * 8) * 27


def test_routes_are_told_apart_by_operations_and_shapes() -> None:
    def text(function: Any) -> str:
        return jax.jit(function).lower(jnp.ones((4, 3), jnp.float32)).as_text()

    product = routes(text(lambda x: x @ x.T))
    assert product == routes(text(lambda y: y @ y.T))
    assert product != routes(text(lambda x: x.T @ x))


def row(**changes: Any) -> dict[str, Any]:
    """A row of the record without faults."""
    known = {
        "target": "v5e", "program": "completion", "steps": 1, "compile_seconds": 1.0,
        "flops": 1e6, "bytes": 1000, "peak_bytes": 1000, "fusions": 3, "libraries": {},
        "collectives": {}, "host": 0, "scatters": 0, "sorts": 0, "loops": 0, "doubles": 0,
        "predicted_seconds_of_a_step": 1e-6, "routes_of_the_platform": True,
    }  # fmt: skip
    return known | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scatters": 2}, "2 scatters in a step"),
        ({"host": 1}, "1 transfers to the host"),
        ({"doubles": 4}, "4 instructions in float64"),
        ({"routes_of_the_platform": False}, "routes of another platform"),
        ({"peak_bytes": 2**35}, "needs 34.4 GB"),
        ({"compile_seconds": 21.0}, "21 s to compile"),
        ({"program": "256 lanes", "collectives": {"all-reduce": 1}}, "collectives"),
        ({"refusal": "no\nsuch op"}, "refused: no such op"),
    ],
)
def test_faults_are_named(changes: dict[str, Any], said: str) -> None:
    (fault,) = reading.faults(row(**changes))
    assert said in fault
    assert said in reading.table([row(**changes)], "v5e")
    assert not reading.faults(row())


def test_the_record_has_every_program_on_every_target() -> None:
    rows = check.read_rows(check.RECORD)
    known = {(row["target"], row["program"]) for row in rows}
    wanted = {
        (target.name, program.name)
        for target in TARGETS.values()
        for program in PROGRAMS.values()
        if target.platform != "cpu" and program.many == (target.devices > 1)
    }
    assert known == wanted
    assert not [row for row in rows if "refusal" in row]


def test_an_unknown_topology_is_refused_with_the_known_ones() -> None:
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed (make check-accelerators)")
    code = (
        "from benchmarks.ahead_of_time.targets import TARGETS, devices_of, prepare\n"
        "target = TARGETS['v5e']._replace(topology='v5e:3x7')\n"
        "prepare(target)\n"
        "devices_of(target)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "`v5e:3x7`" in done.stderr
    assert "v5e:2x2, v5e:4x4" in done.stderr


@pytest.mark.parametrize(
    ("package", "target"), [("libtpu", "v5e"), ("jax_cuda12_plugin", "H100")]
)
def test_the_compilers_take_the_main_programs(package: str, target: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed (make check-accelerators)")
    for name in ("completion", "descent, 1000 steps", "256 lanes"):
        found = compiled(target, name)
        # A single evaluation lays out its targets; a loop does so before its first step.
        allowed = {"2 scatters in a step"} if name == "completion" else set()
        assert set(reading.faults(found)) <= allowed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["descent, 1000 steps", "256 lanes", "flow, explicit"])
def test_programs_compile_on_this_machine(name: str) -> None:
    found = compiled("host", name)
    assert "refusal" not in found
    assert found["host"] == found["doubles"] == 0
    assert found["collectives"] == {}
    if name.startswith("descent"):
        assert found["flops"] == pytest.approx(1001 * 213_909_504)
        assert found["scatters"] == 0


def compiled(target: str, name: str) -> dict[str, Any]:
    """What the worker prints."""
    command = [sys.executable, "-m", "benchmarks.ahead_of_time.compile_one", target, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1])
