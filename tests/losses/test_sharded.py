"""Sharded losses: on one device here, on eight and on two processes in children."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import htfjax as htf
from htfjax.contraction.observed import padded
from htfjax.losses.sharded import Part, rows_of
from tests import helpers
from tests.losses import small, two_processes

ROOT = Path(__file__).parents[2]
MESH = Mesh(jax.devices()[:1], ("observations",))


def test_one_device() -> None:
    """The whole of an interface: value, gradient, residuals, what is printed."""
    loss, start = small.completion(), small.factors()
    sharded = htf.sharded_loss(loss, MESH)

    @small.compiled
    def seen(loss: Any) -> Any:
        slopes = jax.value_and_grad(loss)(start)
        return slopes, htf.residuals(loss, start), loss.residual_vector(start)

    small.assert_alike(seen(sharded), seen(loss))
    assert htf.loss_plan(sharded, start).batch == 30
    assert sharded.count == loss.count == 30
    assert "mesh={'observations': 1}" in repr(sharded)


def test_sums_share_every_term() -> None:
    """Minibatches and multiples hold the losses that are sharded; others stay."""
    one = small.completion(small.MATRIX)
    loss = one + 0.5 * htf.minibatch_loss(one, 7)
    loss = loss + htf.population_loss(small.factors(seed=1, tree=small.MATRIX))
    sharded: Any = htf.sharded_loss(loss, MESH)
    kinds = [type(x).__name__ for x, _ in sharded.terms]
    assert kinds == ["ShardedLoss", "MinibatchLoss", "PopulationLoss"]
    start = small.factors(tree=small.MATRIX)
    values = [small.compiled(x)(start, small.KEY) for x in (sharded, loss)]
    small.assert_alike(*values)


def test_rows_are_filled_up_with_the_last() -> None:
    assert rows_of(10, 4).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 9, 9]]
    assert rows_of(2, 4).tolist() == [[0], [1], [1], [1]]


@pytest.mark.parametrize("penalty", ["l2", "l1", "huber"])
def test_what_fills_up_is_not_multiplied(penalty: Any) -> None:
    """An infinite prediction that does not count leaves no NaN, in the gradient either."""
    vectors = [np.ones((3, 2)), np.ones((3, 2))]
    loss = htf.sensing_loss(vectors, [1.0, 2.0, 3.0], penalty=penalty)
    part = Part(loss, jnp.array([True, False, True]), total=5)
    predictions = jnp.array([3.0, jnp.inf, 4.0])
    value, slopes = jax.value_and_grad(part.compare)(predictions)
    costs = {"l2": (4, 1), "l1": (2, 1), "huber": (1.5, 0.5)}[penalty]
    np.testing.assert_allclose(value, sum(costs) / 5)
    assert slopes[1] == 0
    assert np.isfinite(slopes).all()


def test_index_maps_of_parts_are_of_one_length() -> None:
    short = {4: (jnp.array([0, 2]), jnp.array([0, 0, 1]))}
    long = {4: (jnp.array([0, 1, 2]), jnp.array([0, 1, 2]))}
    filled, kept = padded([short, long])
    assert filled[4][0].tolist() == [0, 2, 2]
    assert filled[4][1].tolist() == [0, 0, 1]
    assert kept[4][0].tolist() == [0, 1, 2]


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (small.decay, {}, TypeError, "`loss` must be or hold a loss on observations"),
    (htf.population_loss(small.factors()), {}, TypeError, "evaluated on every device"),
    (htf.sharded_loss(small.completion(), MESH), {}, TypeError, "sharded already"),
    (small.completion(), {"mesh": jax.devices()}, TypeError, "`mesh` must be a Mesh"),
    (small.completion(), {"axis": "lanes"}, ValueError, "'observations'"),
    (small.completion(), {"axis": 0}, TypeError, "`axis"),
]


@pytest.mark.parametrize(("loss", "options", "error", "message"), BAD)
def test_bad_input(loss: Any, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        htf.sharded_loss(loss, **options)


# Children

LITTLE_WORK = " ".join(f"--{x}={str(y).lower()}" for x, y in helpers.LITTLE_WORK.items())
DEVICES = "--xla_force_host_platform_device_count"


def child(*command: str, devices: int) -> subprocess.Popen[str]:
    flags = {"XLA_FLAGS": f"{LITTLE_WORK} {DEVICES}={devices}"}
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, text=True,
        env=os.environ | flags | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.slow
def test_eight_devices() -> None:
    """Every test of `eight_devices`."""
    file = "tests/losses/eight_devices.py"
    run = child("pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", file, devices=8)
    said, _ = run.communicate(timeout=900)
    assert run.returncode == 0, said


@pytest.mark.durable
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Four devices each: the same losses, parameters and observed norms in both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outs = [tmp_path / f"{process}.npz" for process in range(2)]
    runs = [
        child("tests.losses.two_processes", str(out), str(i), str(port), devices=4)
        for i, out in enumerate(outs)
    ]
    for run in runs:
        said, _ = run.communicate(timeout=600)
        assert run.returncode == 0, said
    wanted = two_processes.descents(sharded=False)
    for out in outs:
        with np.load(out) as found:
            assert set(found) == set(wanted)
            for name, values in wanted.items():
                np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-13)
