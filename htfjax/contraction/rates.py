"""How fast a device multiplies, streams and gathers: what plans are weighed with."""

import contextlib
import dataclasses
import functools
import json
import os
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import platformdirs

from htfjax import _checks, _files, _locks
from htfjax.contraction.timing import seconds_inside, with_gradient

__all__ = ["Rates", "device_rates", "measure_rates"]


@dataclasses.dataclass(frozen=True)
class Rates:
    """Measured speeds of one device.

    Attributes:
      flops: of a matrix product of middling size, flops per second.
      stream_bytes: elementwise work, bytes read and written per second.
      gather_bytes: rows gathered forward and scattered backward, bytes per second.
      step_seconds: cost of one more operation, however small.
      row_seconds: cost of one more row gathered and scattered, however short.

    Raises:
      TypeError, ValueError: rates that are not above zero, seconds below zero, numbers
        that are not finite.

    Example:
      >>> Rates(flops=1e11, stream_bytes=1e10, gather_bytes=2e9, step_seconds=2e-6).flops
      100000000000.0
    """

    flops: float
    stream_bytes: float
    gather_bytes: float
    step_seconds: float
    row_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flops", "stream_bytes", "gather_bytes"):
            _checks.positive(name, getattr(self, name), strict=True)
        for name in ("step_seconds", "row_seconds"):
            _checks.positive(name, getattr(self, name))


def device_rates() -> Rates:
    """The rates of the default device, measured once and kept in a cache file.

    The file lies in the folder named by the environment variable HTFJAX_CACHE, else in
    the user's cache folder, one for each device kind and jax version; delete it to
    measure again. Where it cannot be written the rates are kept for the process.

    Raises:
      RuntimeError: measuring failed.

    Example:
      >>> import htfjax as htf
      >>> htf.device_rates() == htf.device_rates()
      True
    """
    return cached_rates()


@functools.cache
def cached_rates() -> Rates:
    """What `device_rates` returns, once per process."""
    path = None
    try:
        path = _cache_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        # One process measures while the others wait: they would disturb each other, and
        # with rates that differ they would choose plans whose numbers differ.
        with _locks.exclusive_lock(path.with_suffix(".lock"), "measuring", seconds=60.0):
            return _read(path) or _measure_into(path)
    except OSError:
        kept = None if path is None else _read(path)
        return kept or _outside_any_trace(measure_rates)


def _read(path: Path) -> Rates | None:
    """The rates kept in a file; None where it is missing or damaged."""
    try:
        return Rates(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _measure_into(path: Path) -> Rates:
    rates = _outside_any_trace(measure_rates)
    with contextlib.suppress(OSError), _files.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(rates)))
    return rates


def measure_rates() -> Rates:
    """Times five small programs on the default device; takes about a second.

    Raises:
      Nothing of its own.

    Example:
      >>> measure_rates().flops > 0
      True
    """
    f32 = jnp.float32
    x, weight = jnp.full((256, 512), 0.5, f32), jnp.full((512, 512), 1e-3, f32)
    rows, table = jnp.full((2048, 128), 0.5, f32), jnp.full((256, 128), 0.5, f32)
    index = jnp.arange(2048, dtype=jnp.int32) * 37 % 256

    def multiplied(operands: Any) -> jax.Array:
        return jnp.matmul(*operands, precision="highest")

    def chained(x: jax.Array) -> jax.Array:
        return functools.reduce(lambda y, _: multiplied((y, x)), range(8), x)

    def time(function: Any, operands: Any) -> float:
        # The fastest repeat: what else runs on the machine now must not shape plans that
        # are made for good.
        return seconds_inside(function, operands, repeats=25, summary=min)

    product = time(with_gradient(multiplied), (x, weight))
    stream = time(lambda pair: pair[0] * pair[1], (rows, rows))
    gather = time(with_gradient(lambda t: t[index]), table)
    short = time(with_gradient(lambda t: t[index]), table[:, :4])
    small = time(chained, jnp.full((16, 16), 1e-2, f32))
    return Rates(
        flops=6 * x.size * weight.shape[1] / product,
        stream_bytes=3 * rows.nbytes / stream,
        gather_bytes=4 * rows.nbytes / gather,
        step_seconds=small / 8,
        row_seconds=short / len(index),
    )


def _outside_any_trace(function: Any) -> Any:
    """Plans are made while tracing; a fresh thread has no trace to be caught in."""
    result: list[Any] = []

    def measure() -> None:
        with jax.disable_jit(False):  # op by op everything looks a thousand times slower
            result.append(function())

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    if not result:
        raise RuntimeError("measuring the device's rates failed; see the error above")
    return result[0]


def _cache_file() -> Path:
    device = jax.devices()[0]
    kind = "".join(c if c.isalnum() else "-" for c in device.device_kind)
    name = f"rates-4-{device.platform}-{kind}-{_cores()}-jax{jax.__version__}.json"
    try:
        folder = os.getenv("HTFJAX_CACHE") or platformdirs.user_cache_dir("htfjax")
    except RuntimeError as error:  # a user without a home
        raise OSError(f"there is no cache folder: {error}") from error
    return Path(folder) / name


def _cores() -> int:
    """Cores this process may use, on which the rates of a CPU depend."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
