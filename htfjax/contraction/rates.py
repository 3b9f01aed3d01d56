"""Rates: how fast a device multiplies, streams and gathers, by which plans are weighed."""

import dataclasses

from htfjax import _checks
from htfjax._platforms import Platform, check_platform


@dataclasses.dataclass(frozen=True)
class Rates:
    """Speeds of one device, in float32.

    `platform_rates` has those that ship; `python -m benchmarks.calibrate` measures those
    of a device and prints them.

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
      >>> import htfjax as htf
      >>> rates = htf.Rates(
      ...     flops=1e11, stream_bytes=1e10, gather_bytes=2e9, step_seconds=2e-6)
      >>> rates.flops
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


SHIPPED = {
    # Measured by `benchmarks.calibrate` on two cores of a server CPU (AMD EPYC), operands
    # in its caches: medians of 15 rounds in three processes.
    "cpu": Rates(
        flops=2.1e11,
        stream_bytes=2.2e11,
        gather_bytes=1e11,
        step_seconds=5.5e-7,
        row_seconds=1.5e-9,
    ),
    # H100 and H200. Data sheet of the H100 SXM: 67 Tflop/s in float32 outside the tensor
    # cores, which precision "highest" does not use; 3.35 TB/s (the H200 has 4.8).
    # Estimated, not measured: gathering at a quarter of streaming, as scattering back is
    # atomic; 5 us for the launch of a kernel; 50 rows a nanosecond.
    "cuda": Rates(
        flops=6.7e13,
        stream_bytes=3.35e12,
        gather_bytes=8.4e11,
        step_seconds=5e-6,
        row_seconds=2e-11,
    ),
    # TPU v5e. Data sheet: 197 Tflop/s in bfloat16, of which a float32 product at precision
    # "highest" makes six passes; 819 GB/s. Estimated, not measured: gathering at an eighth
    # of streaming, an operation 1 us, a row 5 ns, as rows are moved one by one.
    "tpu": Rates(
        flops=3.3e13,
        stream_bytes=8.2e11,
        gather_bytes=1e11,
        step_seconds=1e-6,
        row_seconds=5e-9,
    ),
}
ADVICE = (
    " Another device needs a plan of its own: `contraction_plan(..., rates=Rates(...))`, "
    "with rates that `python -m benchmarks.calibrate` measures."
)


def platform_rates(platform: Platform) -> Rates:
    """The rates that ship for a platform.

    Measured for "cpu" (two cores of a server CPU); from data sheets, with estimates where
    these are silent, for "cuda" (H100 and H200) and "tpu" (v5e). Constants: nothing is
    measured, so a plan is the same on every machine.

    Args:
      platform: "cpu", "cuda" (or "gpu") or "tpu".

    Raises:
      TypeError, ValueError: another platform; the known ones are listed.

    Source: data sheets of NVIDIA H100 and Google TPU v5e; `docs/decisions/05-rates.md`.

    Example:
      >>> import htfjax as htf
      >>> tpu, cuda = htf.platform_rates("tpu"), htf.platform_rates("cuda")
      >>> tpu.stream_bytes < cuda.stream_bytes
      True
    """
    return SHIPPED[check_platform(platform, ADVICE)]
