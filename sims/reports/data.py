"""Data of a page: tables of numbers under names, as small as the page may be."""

import math
from typing import NamedTuple

import numpy as np

# Characters of a number and its comma, by the bytes that it takes.
CHARACTERS = {8: 20, 4: 12}


class Block(NamedTuple):
    """One table: columns of equal length.

    Attributes:
      name: by which figures find it.
      folder, case: what its numbers are of.
    """

    name: str
    folder: int
    case: str
    columns: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        """Length of the columns."""
        return len(next(iter(self.columns.values()), ()))


def size_of(block: Block) -> int:
    """Characters that a block takes, about."""
    return sum(
        len(c) * CHARACTERS.get(c.dtype.itemsize, 20) for c in block.columns.values()
    )


def stride_for(blocks: list[Block], most: int) -> int:
    """Every how many rows fit into so many characters."""
    return max(1, math.ceil(sum(map(size_of, blocks)) / most))


def thinned(block: Block, stride: int) -> Block:
    """Every so many rows, and the last one."""
    if stride == 1:
        return block
    rows = np.unique(np.append(np.arange(0, block.rows, stride), block.rows - 1))
    return block._replace(columns={name: c[rows] for name, c in block.columns.items()})


def as_json(block: Block) -> dict[str, object]:
    """A block as JSON values: names of its columns, and its rows as text of a CSV file.

    Numbers are as short as they can be to be read back in their own precision.
    """
    columns = [[spelled(x) for x in column] for column in block.columns.values()]
    rows = "\n".join(map(",".join, zip(*columns, strict=True)))
    return {
        "folder": block.folder, "case": block.case, "columns": list(block.columns),
        "rows": rows,
    }  # fmt: skip


def spelled(x: object) -> str:
    """A number as text, nothing for NaN.

    Example: 0.1 in single precision is "0.1".
    """
    if isinstance(x, float | np.floating):
        if not np.isfinite(x):
            return "" if np.isnan(x) else str(x)
        text = str(x)
        return text.removesuffix(".0")
    if isinstance(x, bool | np.bool_):
        return str(int(x))
    text = str(x)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if set(text) & set(',"\n') else text
