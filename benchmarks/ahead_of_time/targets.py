"""Targets: accelerators that programs are compiled for without one.

TPUs by the compiler of the wheel `libtpu`, GPUs by that of `jax-cuda12-pjrt`; rates and
memory are those of data sheets, float32 at the precision "highest".
"""

import os
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

# Products of bfloat16 that the precision "highest" makes of one in float32.
PASSES = 6
# A description of the device as the compiler reads it, in the text form of protobuf.
H100 = """\
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84978434048
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100"
"""


class Target(NamedTuple):
    """A device, or several of them as one mesh.

    Attributes:
      platform: "cpu" (this machine, for tests), "cuda" or "tpu".
      topology: its name for the compiler.
      devices: of it that programs use.
      flops, bandwidth, memory: of one device, per second and in bytes.
    """

    name: str
    platform: str
    topology: str
    devices: int
    flops: float
    bandwidth: float
    memory: int


V5E = {"flops": 197e12 / PASSES, "bandwidth": 819e9, "memory": 16 * 2**30}
HOPPER = {"flops": 66.9e12, "bandwidth": 3.35e12, "memory": 80 * 10**9}
TARGETS = {
    target.name: target
    for target in (
        Target("v5e", "tpu", "v5e:2x2", 1, **V5E),
        Target("v5e 2x2", "tpu", "v5e:2x2", 4, **V5E),
        Target("v5e 4x4", "tpu", "v5e:4x4", 16, **V5E),
        Target("H100", "cuda", "1x1x1", 1, **HOPPER),
        Target("8 x H100", "cuda", "1x1x8", 8, **HOPPER),
        Target("host", "cpu", "", 1, 1e11, 1e10, 8 * 10**9),
    )
}  # fmt: skip


def prepare(target: Target) -> None:
    """Sets what the compilers read from the environment, before jax looks at devices."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if target.platform == "tpu":
        os.environ["TPU_SKIP_MDS_QUERY"] = "1"
        os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "true"  # nothing is run on a chip
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    if target.platform == "cuda":
        os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"


def devices_of(target: Target) -> list[Any]:
    """The devices of a target, described and not there.

    Raises:
      ValueError: a topology that the compiler does not know, with those that it knows; a
        compiler that is not installed.
    """
    if target.platform == "cpu":
        return jax.devices("cpu")[: target.devices]
    options = {"topology": target.topology, "target_config": H100}
    try:
        if target.platform == "tpu":
            found = topologies.get_topology_desc(target.topology, platform="tpu")
        else:
            found = topologies.get_topology_desc(platform="cuda", **options)
    except Exception as error:
        known = ", ".join(sorted({t.topology for t in TARGETS.values() if t.topology}))
        raise ValueError(
            f"the compiler for `{target.platform}` does not give the topology "
            f"`{target.topology}` ({' '.join(str(error).split())[:300]}); those that are "
            f"tried here are {known}, and `make check-accelerators` installs the compilers."
        ) from error
    return list(found.devices)[: target.devices]
