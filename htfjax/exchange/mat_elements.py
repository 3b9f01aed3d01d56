"""Elements of MAT-files, checked before SciPy reads them.

SciPy's reader believes the sizes and types that a file states: of a damaged one it may read
memory that is not the file's, and end the process.

Format: MathWorks, MAT-File Format, level 5: elements of a type, a number of bytes, content.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HEADER = 128
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
# Bytes of one number, by type of element.
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
CELL, STRUCT, OBJECT, SPARSE, OPAQUE = 1, 2, 3, 5, 17
NUMBERS = range(6, 16)
COMPLEX = 1 << 11
HDF5 = b"\x89HDF\r\n\x1a\n"


class Element(NamedTuple):
    """A type and its content."""

    kind: int
    content: memoryview


def version(start: bytes) -> int | None:
    """5 of files up to MATLAB's version 7, 7 of HDF5 (version 7.3), else None."""
    if start.startswith(HDF5):
        return 7
    if len(start) < HEADER or start[126:128] not in (b"IM", b"MI"):
        return None
    major = start[125] if start[126:128] == b"IM" else start[124]
    return {1: 5, 2: 7}.get(major)


def check_elements(content: bytes) -> None:
    """Sizes and types that agree with each other and with the file.

    Raises:
      ValueError, zlib.error: they do not.
    """
    order = "<" if content[126:128] == b"IM" else ">"
    for element in _elements(memoryview(content)[HEADER:], order):
        inner = [element]
        if element.kind == COMPRESSED:
            unpacked = zlib.decompress(element.content)
            inner = [*_elements(memoryview(unpacked), order)]
        if [x.kind for x in inner] != [MATRIX]:
            raise ValueError(f"a variable is of type {element.kind}")
        _check_matrix(inner[0].content, order)


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """The elements that follow each other in a content."""
    at = 0
    while at < len(content):
        if at + 8 > len(content):
            raise ValueError("an element ends in its first bytes")
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # up to four bytes stand in the place of their number
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            fits = size <= 4
        else:
            start = at + 8
            padding = 0 if kind == COMPRESSED else -size % 8
            end = start + size + padding
            fits = start + size <= len(content)
        if not fits:
            raise ValueError(f"an element of type {kind} states {size} bytes")
        yield Element(kind, content[start : start + size])
        at = end


def _check_matrix(content: memoryview, order: str) -> None:
    """A variable, a cell, or a field."""
    if not len(content):
        return
    flags, *parts = _elements(content, order)
    if flags.kind != UINT32 or len(flags.content) != 8:
        raise ValueError("a matrix has no flags")
    (bits,) = struct.unpack_from(f"{order}I", flags.content)
    kind = bits & 0xFF
    if kind == OPAQUE:  # three texts and a matrix
        _check_all(parts[3:], order)
        return
    dims, name, *rest = parts
    if dims.kind != INT32 or len(dims.content) < 8 or len(dims.content) % 4:
        raise ValueError("a matrix has no dimensions")
    if name.kind != INT8:
        raise ValueError("a matrix has no name")
    sizes = struct.unpack(f"{order}{len(dims.content) // 4}i", dims.content)
    if min(sizes) < 0:
        raise ValueError(f"a matrix has the dimensions {sizes}")
    _check_content(kind, bool(bits & COMPLEX), sizes, rest, order)


def _check_content(
    kind: int,
    is_complex: bool,
    sizes: Sequence[int],
    parts: Sequence[Element],
    order: str,
) -> None:
    """What a matrix of this class and these dimensions holds."""
    count = math.prod(sizes)
    if kind in (*NUMBERS, SPARSE) and any(x.kind not in WIDTHS for x in parts):
        raise ValueError(f"numbers are of types {[x.kind for x in parts]}")
    if kind == SPARSE:
        rows, columns, *numbers = parts
        held = [len(x.content) / WIDTHS[x.kind] for x in numbers]
        starts = len(columns.content) / 4
        if starts != sizes[-1] + 1 or {rows.kind, columns.kind} != {INT32} or not held:
            raise ValueError(f"a sparse matrix of dimensions {sizes} has {starts} columns")
    elif kind in NUMBERS:
        held = [len(x.content) / WIDTHS[x.kind] for x in parts]
        if held != [count] * (2 if is_complex else 1):
            raise ValueError(f"a matrix of {count} numbers holds {held}")
    elif kind == CELL:
        _check_all(parts, order, count)
    elif kind in (STRUCT, OBJECT):
        # An object has the name of its class first.
        length, names, *fields = parts[kind - STRUCT :]
        if length.kind != INT32 or len(length.content) != 4 or names.kind != INT8:
            raise ValueError("a struct has no names of fields")
        (width,) = struct.unpack(f"{order}i", length.content)
        if width <= 0 or len(names.content) % width:
            raise ValueError(f"names of fields have {width} bytes each")
        _check_all(fields, order, count * (len(names.content) // width))
    elif any(x.kind not in (*WIDTHS, MATRIX, 16, 17, 18) for x in parts):
        raise ValueError(f"a matrix of class {kind} holds types {[x.kind for x in parts]}")
    else:
        _check_all([x for x in parts if x.kind == MATRIX], order)


def _check_all(parts: Sequence[Element], order: str, count: int | None = None) -> None:
    """Matrices, as many as there must be."""
    if any(x.kind != MATRIX for x in parts) or count not in (None, len(parts)):
        raise ValueError(f"{len(parts)} parts stand where {count} matrices should")
    for part in parts:
        _check_matrix(part.content, order)
