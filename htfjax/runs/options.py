"""Options of a run, checked: those by which a folder is compared, and sizes of batches."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from htfjax import _checks
from htfjax._types import JsonObject

Batching = Literal["auto", "map", "vmap"]
# Fields of a manifest that are options; only `until_step` may grow.
COMPARED = ("record_every", "chunk_steps", "tolerance", "patience", "watch")


def checked_options(
    until_step: int, record_every: int, chunk_steps: int | None,
    record: Sequence[str] | None, tolerance: float | None, patience: int, watch: str,
) -> JsonObject:  # fmt: skip
    """The options by which a folder is compared, checked, as JSON values."""
    record_every = _checks.at_least("record_every", record_every, 1)
    until_step = _checks.at_least("until_step", until_step, 1)
    if chunk_steps is None:
        chunk_steps = record_every * max(
            -(-500 // record_every), 2 if record_every == 1 else 1
        )
    chunk_steps = _checks.at_least("chunk_steps", chunk_steps, 2)
    for name, value in (("until_step", until_step), ("chunk_steps", chunk_steps)):
        if value % record_every:
            raise ValueError(
                f"`record_every={record_every}` does not divide `{name}={value}`."
            )
    if tolerance is not None:
        _checks.positive("tolerance", tolerance)
        tolerance = float(tolerance)
    if record is not None:
        record = list(_checks.sequence("record", record, "names such as ['train_mse']"))
    for name in (watch, *(record or ())):
        if not isinstance(name, str):
            raise TypeError(
                "`record` and `watch` must be names of quantities, got "
                f"{_checks.spell(name)}."
            )
    return {
        "until_step": until_step, "record_every": record_every, "chunk_steps": chunk_steps,
        "record": record, "tolerance": tolerance,
        "patience": _checks.at_least("patience", patience, 0), "watch": watch,
    }  # fmt: skip


def check_batching(batching: Batching | int) -> Batching | int:
    if isinstance(batching, str):
        _checks.one_of("batching", batching, get_args(Batching))
        return batching
    return _checks.at_least("batching", batching, 1)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Numbers of lanes that run together."""

    batching: Batching | int
    max_lanes: int
    memory_bytes: int | None
