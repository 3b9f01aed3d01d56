"""Choices by platform: the same on every machine, and those of the platform lowered for."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import htfjax as htf
from benchmarks import calibrate
from htfjax import _platforms
from htfjax.contraction import evaluate
from htfjax.locality.networks.convolution.convolution import convolve
from tests import helpers
from tests.marks import slow_unless

ROOT = Path(__file__).parent.parent
PLATFORMS: tuple[Any, ...] = ("cpu", "cuda", "tpu")
# Sizes at which platforms take different routes.
DIM, WIDTH, COUNT = 8, 16, 512


def problem() -> tuple[htf.Factors, jax.Array, jax.Array]:
    tree = htf.perfect(4)
    factors = htf.gaussian_factors(
        jax.random.key(0), tree, DIM, WIDTH, 0.3, dtype=jnp.float32
    )
    indices = htf.random_indices(jax.random.key(1), (DIM,) * 4, COUNT)
    return factors, indices, jnp.linspace(-1, 1, COUNT, dtype=jnp.float32)


def small_loss(**options: Any) -> tuple[Any, htf.Factors]:
    factors, indices, targets = problem()
    return htf.completion_loss(factors.tree, DIM, indices, targets, **options), factors


def operations(function: Any, *arguments: Any, platform: str) -> dict[str, int]:
    """How often a program lowered for a platform has what tells routes apart."""
    traced = jax.jit(function).trace(*arguments)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    words = ("dot_general", "gather", "scatter", "multiply", "convolution")
    return {word: text.count(f"stablehlo.{word}") for word in words}


def routes(platform: Any) -> tuple[Any, ...]:
    loss, factors = small_loss()
    plan = htf.loss_plan(loss, factors, platform=platform)
    return plan.routes, plan.root


# Rates


def test_rates_ship_for_every_platform() -> None:
    for platform in PLATFORMS:
        rates = htf.platform_rates(platform)
        plan = htf.contraction_plan(htf.perfect(4), DIM, 3, 9, rates=rates)
        assert plan == htf.contraction_plan(htf.perfect(4), DIM, 3, 9, platform=platform)
    assert htf.platform_rates("gpu") == htf.platform_rates("cuda")


def test_explicit_rates_come_first() -> None:
    shape = (htf.perfect(4), DIM, 3, 9)
    rates = htf.Rates(1e9, 1e9, 1e9, 1e-9)
    plan = htf.contraction_plan(*shape, rates=rates, platform="tpu")
    assert plan == htf.contraction_plan(*shape, rates=rates)


@pytest.mark.parametrize("platform", ["rocm", "CPU", "", 3, None])
def test_an_unknown_platform_is_refused_with_the_known_ones(platform: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"`platform=.*'cpu', 'cuda', 'tpu'"):
        htf.platform_rates(platform)
    if platform is None:
        return
    factors, indices, _ = problem()
    loss, _ = small_loss()
    for call in (
        lambda: htf.contraction_plan(htf.perfect(4), 3, 2, 9, platform=platform),
        lambda: htf.entries(factors, indices, platform=platform),
        lambda: small_loss(platform=platform),
        lambda: htf.loss_plan(loss, factors, platform=platform),
    ):
        with pytest.raises((TypeError, ValueError), match="rates=Rates"):
            call()


# The platform that a program is lowered for


def test_platforms_take_different_routes() -> None:
    """Else the tests below show nothing."""
    assert len({routes(platform) for platform in PLATFORMS}) > 1


@pytest.mark.parametrize("platform", slow_unless(["cpu", "tpu"], ("tpu",)))
def test_a_loss_follows_the_platform_that_it_is_lowered_for(platform: Any) -> None:
    """From this host, which has a CPU only; with derivatives, under vmap and scan."""
    free, factors = small_loss()
    fixed, _ = small_loss(platform=platform)
    several = jax.tree.map(lambda w: jnp.stack([w, w]), factors)

    def descended(loss: Any, factors: htf.Factors) -> Any:
        def step(now: htf.Factors, _: None) -> tuple[htf.Factors, jax.Array]:
            value, slope = jax.value_and_grad(loss)(now)
            return jax.tree.map(lambda a, b: a - b, now, slope), value

        return jax.lax.scan(step, factors, length=2)

    for function, argument in (
        (lambda loss, f: loss(f), factors),
        (lambda loss, f: jax.grad(loss)(f), factors),
        (lambda loss, f: jax.vmap(jax.grad(loss))(f), several),
        (descended, factors),
    ):
        found = operations(lambda f, g=function: g(free, f), argument, platform=platform)
        wanted = operations(lambda f, g=function: g(fixed, f), argument, platform=platform)
        assert found == wanted
    other = "cpu" if platform == "tpu" else "tpu"
    assert operations(fixed, factors, platform=other) != operations(
        free, factors, platform=other
    )


@pytest.mark.parametrize("platform", slow_unless(["cpu", "tpu"], ("tpu",)))
def test_entries_and_residuals_follow_it_too(platform: Any) -> None:
    factors, indices, targets = problem()
    loss = htf.completion_loss(factors.tree, DIM, indices, targets)
    fixed = htf.completion_loss(factors.tree, DIM, indices, targets, platform=platform)
    for free, bound in (
        (
            lambda f: htf.entries(f, indices),
            lambda f: htf.entries(f, indices, platform=platform),
        ),
        (lambda f: htf.residuals(loss, f), lambda f: htf.residuals(fixed, f)),
    ):
        assert operations(free, factors, platform=platform) == operations(
            bound, factors, platform=platform
        )


@pytest.mark.parametrize(("platform", "native"), [("cpu", 0), ("cuda", 1), ("tpu", 1)])
def test_convolutions_follow_it(platform: str, native: int) -> None:
    x, kernel = jnp.ones((2, 8, 8, 3), jnp.float32), jnp.ones((5, 3, 3, 3), jnp.float32)
    assert operations(convolve, x, kernel, platform=platform)["convolution"] == native


@pytest.mark.slow
@pytest.mark.parametrize(("platform", "scatters"), [("cpu", True), ("tpu", False)])
def test_accelerators_read_small_tables_without_a_scatter(
    platform: str, scatters: bool
) -> None:
    tree, order = htf.perfect(16), 16
    factors = htf.gaussian_factors(jax.random.key(0), tree, 2, 4, 0.5, dtype=jnp.float32)
    indices = htf.random_indices(jax.random.key(1), (2,) * order, 100)
    loss = htf.completion_loss(tree, 2, indices, jnp.ones(100, jnp.float32))
    found = operations(
        jax.value_and_grad(lambda f, loss: loss(f)), factors, loss, platform=platform
    )
    assert (found["scatter"] > 0) == scatters


def test_products_read_the_same_rows_as_gathers() -> None:
    tables = jax.random.normal(jax.random.key(0), (2, 5, 3), jnp.float32)
    rows = jnp.array([[0, 4, 4, 1], [2, 2, 0, 3]], jnp.int32)
    weights = jax.random.normal(jax.random.key(1), (2, 4, 3), jnp.float32)

    def both(method: str) -> tuple[jax.Array, jax.Array]:
        values, pull = jax.vjp(lambda x: evaluate._read(method, x, rows), tables)
        return values, pull(weights)[0]

    for product, gather in zip(both("product"), both("gather"), strict=True):
        np.testing.assert_allclose(product, gather, rtol=1e-6)
    np.testing.assert_array_equal(both("product")[0], tables[jnp.arange(2)[:, None], rows])


def test_all_ways_to_call_give_the_same_numbers() -> None:
    """Unjitted, jitted, vectorized and differentiated twice, with a platform or none."""
    free, factors = small_loss()
    several = jax.tree.map(lambda w: jnp.stack([w, w]), factors)
    fixed = [small_loss(platform=platform)[0] for platform in PLATFORMS]

    def twice(loss: Any) -> Any:
        return jax.jvp(jax.grad(loss), (factors,), (factors,))[1]

    for loss in fixed:
        helpers.assert_close(free(factors), loss(factors), rtol=1e-5)
        helpers.assert_close(jax.jit(free)(factors), loss(factors), rtol=1e-5)
        helpers.assert_close(jax.vmap(free)(several)[1], loss(factors), rtol=1e-5)
        for found, wanted in zip(
            jax.tree.leaves(jax.jit(twice, static_argnums=0)(free)),
            jax.tree.leaves(twice(loss)),
            strict=True,
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


def test_equal_choices_trace_once() -> None:
    """No branch, hence nothing to trace twice."""
    calls = []
    choices: dict[str, str] = dict.fromkeys(_platforms.PLATFORMS, "same")
    jax.jit(
        lambda x: _platforms.by_platform(choices, lambda c, x: calls.append(c) or x, x)
    )(1.0)
    assert calls == ["same"]


def test_one_program_for_several_platforms() -> None:
    """Exported, it decides where it runs."""
    loss, factors = small_loss()
    exported = jax.export.export(jax.jit(loss), platforms=("cpu", "tpu"))(
        jax.tree.map(lambda w: jax.ShapeDtypeStruct(w.shape, w.dtype), factors)
    )
    helpers.assert_close(jax.jit(exported.call)(factors), loss(factors), rtol=1e-5)


def test_the_default_device_decides_where_nothing_is_lowered() -> None:
    """Also while something is traced."""
    seen = []
    jax.jit(lambda x: seen.append(_platforms.default_platform()) or x)(1.0)
    with jax.default_device(jax.devices("cpu")[0]):
        assert [*seen, _platforms.default_platform()] == ["cpu", "cpu"]


# Machines

PRINTED = """
import os, sys
if sys.argv[1] == "one" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax
import htfjax as htf
tree = htf.perfect(4)
for width in (2, 8, 64, 512):
    for batch in (4, 64, 2048):
        print(htf.contraction_plan(tree, 8, width, batch, masked=True))
factors = htf.gaussian_factors(jax.random.key(0), tree, 8, 16, 0.1)
indices = htf.random_indices(jax.random.key(1), (8,) * 4, 512)
for plan in ("auto", "exact"):
    loss = htf.completion_loss(tree, 8, indices, [1.0] * 512, plan=plan)
    print(htf.loss_plan(loss, factors))
"""


def python(code: str, *words: str, **environment: str) -> str:
    """What a process prints, without the caches of this one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, text=True, capture_output=True,
        check=False, timeout=300,
        env=kept | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_plans_are_the_same_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Another set of cores, another home, another cache, jit or none."""
    there = python(
        PRINTED, "one", HOME=str(tmp_path / "home"),
        XDG_CACHE_HOME=str(tmp_path / "cache"), JAX_DISABLE_JIT="1", JAX_ENABLE_X64="1",
    )  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["plans", "all"])
    exec(PRINTED, {})
    here = capsys.readouterr().out
    assert here.count("Plan(") == 14
    assert here == there
    assert not list(tmp_path.iterdir())


WATCHED = """
import os, sys, threading
written = []
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and path != "/dev/null":
            written.append(path)
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink"):
        written.append(arguments)
import jax
import htfjax as htf
jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))  # jax has started what it starts
sys.addaudithook(watch)
threads = set(threading.enumerate())
tree = htf.perfect(4)
factors = htf.gaussian_factors(jax.random.key(0), tree, 8, 16, 0.1)
indices = htf.random_indices(jax.random.key(1), (8,) * 4, 512)
loss = htf.completion_loss(tree, 8, indices, [1.0] * 512)
assert float(loss(factors)) > 0
jax.block_until_ready(jax.jit(jax.value_and_grad(loss))(factors))
jax.block_until_ready(htf.entries(factors, indices))
print(written, set(threading.enumerate()) - threads)
"""


@pytest.mark.slow
def test_a_loss_call_writes_nothing_and_needs_no_home(tmp_path: Path) -> None:
    """Nor does it start a thread; bytecode apart, which Python writes when importing."""
    there = {name: str(tmp_path) for name in ("XDG_CACHE_HOME", "TMPDIR")}
    printed = python(WATCHED, HOME="/proc/none", PYTHONDONTWRITEBYTECODE="1", **there)
    assert printed == "[] set()\n"
    assert not list(tmp_path.iterdir())


# The command that measures


def test_calibrate_prints_rates_that_can_be_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    rates = htf.platform_rates("cpu")
    monkeypatch.setattr(calibrate, "measure_rates", lambda: rates)
    monkeypatch.setattr(calibrate, "measure_plan", lambda plan, repeats: plan.costs)
    assert calibrate.main(["--dims", "8", "8", "8", "8", "--widths", "3"]) == 0
    printed = capsys.readouterr().out
    text = printed[printed.index("htfjax.Rates(") : printed.index("\n)") + 2]
    assert eval(text, {"htfjax": htf}) == rates
    assert "predicted / measured ms" in printed
