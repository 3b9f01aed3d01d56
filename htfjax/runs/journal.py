"""Journal of a folder: one line per finished piece of work, appended and never changed.

Every line carries the identity of its folder, its number and a digest of itself, so that
lines which are lost, moved, repeated or from another folder are noticed.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

from htfjax._digests import text_digest
from htfjax._files import atomic_write
from htfjax._types import JsonObject

JOURNAL = "journal.jsonl"
DIGITS = 16  # of a digest; what is guarded against is damage


class Reading(NamedTuple):
    """Content of a journal.

    Attributes:
      lines: those of this folder, in order, the first one (which only opens it) left out.
      problems: what is damaged or lost, each as a sentence that names the file.
      size: bytes up to the end of the last line; a kill may leave half a line after it.
      foreign: no line belongs to this folder, and some belong to another one.
    """

    lines: list[JsonObject]
    problems: list[str]
    size: int
    foreign: bool


def read_journal(path: Path, identity: str, at_least: int = 0) -> Reading:
    """Reads a journal. Half a line at the end is what a kill leaves: it is passed over.

    Args:
      identity: of the folder.
      at_least: number of lines that are known to have been written.

    Raises:
      FileNotFoundError: no journal.
    """
    content = path.read_bytes()
    *raws, torn = content.split(b"\n")
    own: dict[int, JsonObject] = {}
    problems, foreign, last = [], 0, -1
    for place, raw in enumerate(raws, 1):
        line = _parse(raw)
        if line is None:
            problems.append(f"line {place} of {path} is damaged")
        elif line["folder"] != identity:
            foreign += 1
            problems.append(f"line {place} of {path} is of another folder")
        elif line["number"] in own:
            problems.append(f"line {place} of {path} stands there twice")
        else:
            if line["number"] < last:
                problems.append(f"line {place} of {path} is not in its place")
            last = line["number"]
            own[last] = line
    count = max([*(number + 1 for number in own), at_least, 1])
    lost = [number + 1 for number in range(count) if number not in own]
    if lost:
        names = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
        problems.append(f"{path} has lost {len(lost)} of its lines (line {names})")
    lines = [own[number] for number in sorted(own) if number]
    return Reading(lines, problems, len(content) - len(torn), foreign > 0 and not own)


def _parse(raw: bytes) -> JsonObject | None:
    check, _, text = raw.partition(b" ")
    if text_digest(text)[:DIGITS].encode() != check:
        return None
    return json.loads(text)


class Journal:
    """A journal that lines are added to, by one process at a time."""

    def __init__(self, path: Path, identity: str, lines: int, size: int) -> None:
        self.path: Path = path
        self.identity: str = identity
        self.lines: int = lines
        self.size: int = size

    @classmethod
    def create(
        cls, path: Path, identity: str, lines: list[JsonObject] | None = None
    ) -> "Journal":
        """A new journal in place of any other, with the given lines numbered anew."""
        known = [{"begun": True}, *(lines or [])]
        texts = [_spell(line, identity, number) for number, line in enumerate(known)]
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"".join(texts))
        return cls(path, identity, len(texts), sum(map(len, texts)))

    @classmethod
    def opened(cls, path: Path, identity: str, reading: Reading) -> "Journal":
        """A journal that was read without problems; half a line at its end is cut off."""
        if reading.size < path.stat().st_size:
            os.truncate(path, reading.size)
        return cls(path, identity, len(reading.lines) + 1, reading.size)

    def check_present(self) -> None:
        """Checks that the file is as this process left it.

        Raises:
          FileNotFoundError: it is gone or another one: somebody moved the folder.
        """
        try:
            same = self.path.stat().st_size == self.size
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise FileNotFoundError(
                f"{self.path} was moved, removed or changed while the run was at work; put "
                "the folder back and run the same command again: what is on disk is kept"
            )

    def append(self, line: JsonObject) -> None:
        """Adds a line and sees it written.

        Raises:
          FileNotFoundError: as `check_present`. OSError: it cannot be written.
        """
        self.check_present()
        raw = _spell(line, self.identity, self.lines)
        with open(self.path, "r+b") as file:
            file.seek(self.size)
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        self.lines, self.size = self.lines + 1, self.size + len(raw)


def _spell(line: JsonObject, identity: str, number: int) -> bytes:
    text = json.dumps({**line, "folder": identity, "number": number}, separators=(",", ":"))
    return f"{text_digest(text)[:DIGITS]} {text}\n".encode()
