"""Durable runs: locks, stop signals and digests shared by all that writes to disk."""

from htfjax._archives import read_npz
from htfjax._digests import file_digest, json_digest, read_sealed, write_sealed
from htfjax._files import absolute, atomic_write
from htfjax._locks import exclusive_lock, lock_holder
from htfjax._signals import StopSignals, stop_requested, stop_signals

__all__ = [
    "StopSignals",
    "absolute",
    "atomic_write",
    "exclusive_lock",
    "file_digest",
    "json_digest",
    "lock_holder",
    "read_npz",
    "read_sealed",
    "stop_requested",
    "stop_signals",
    "write_sealed",
]
