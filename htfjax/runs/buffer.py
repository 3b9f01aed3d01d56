"""Buffer of the records of a block that are not on disk yet."""

import numpy as np

Buffer = dict[str, np.ndarray]  # (lanes, records, ...) by quantity


def append(buffer: Buffer, piece: Buffer, going: np.ndarray) -> Buffer:
    """The buffer's last record is the piece's first one, except for lanes that rest.

    Example:
      >>> old, new = np.array([[0.0, 1.0], [5.0, 6.0]]), np.array([[1.5, 2.0], [0.0, 0.0]])
      >>> append({"x": old}, {"x": new}, np.array([True, False]))["x"][:, :2].tolist()
      [[0.0, 1.5], [5.0, 6.0]]
    """
    joined = {}
    for name, old in buffer.items():
        new = piece[name]
        keep = going.reshape(-1, *[1] * (new.ndim - 2))
        seam = np.where(keep, new[:, 0], old[:, -1])
        joined[name] = np.concatenate([old[:, :-1], seam[:, None], new[:, 1:]], axis=1)
    return joined


def cut(buffer: Buffer, records: int) -> tuple[Buffer, Buffer]:
    """The first records, and all others."""
    head = {name: x[:, :records] for name, x in buffer.items()}
    return head, {name: x[:, records:] for name, x in buffer.items()}


def length(buffer: Buffer) -> int:
    """Number of records."""
    return next(iter(buffer.values())).shape[1]


def widened(buffer: Buffer, records: int) -> Buffer:
    """NaN after the records of an open chunk."""
    return {name: _widen(x, max(records - x.shape[1], 0)) for name, x in buffer.items()}


def _widen(x: np.ndarray, missing: int) -> np.ndarray:
    pads = [(0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)]
    return np.pad(x, pads, constant_values=np.nan)
