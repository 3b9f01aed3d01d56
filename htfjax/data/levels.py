"""Levels of the modes of a tensor: labels, their codes, and those that are seen rarely."""

import difflib
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np

from htfjax._integers import spell

MOST_NAMED = 5
MOST_COMPARED = 10_000  # each costs tens of microseconds


def nearest(name: object, names: Collection[object]) -> str:
    """ "; did you mean 'rating'?" where one of the names is like a name, else ""."""
    if not isinstance(name, str) or len(names) > MOST_COMPARED:
        return ""
    known = {str(n): n for n in names}
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {spell(known[close[0]])}?" if close else ""


def distinct_names(name: str, given: Sequence[Any], order: int) -> tuple[str, ...]:
    """One name for each mode, none twice.

    Raises:
      TypeError: not text. ValueError: another number of names, a name twice or empty.
    """
    for label in given:
        if not isinstance(label, str):
            raise TypeError(f"`{name}` must be names of modes, got {spell(label)}.")
    if len(given) != order:
        raise ValueError(
            f"`{name}={spell(list(given))}` has {len(given)} names, the data have {order} "
            "modes."
        )
    if len(set(given)) < order or not all(given):
        raise ValueError(f"`{name}={spell(list(given))}` must be different names.")
    return tuple(map(str, given))


def codes_of(mode: str, levels: np.ndarray, labels: object) -> np.ndarray:
    """Codes (B,) int32 of some labels of a mode.

    Raises:
      TypeError: not a list of labels. ValueError: a label that is not a level.
    """
    given = _as_labels(mode, labels)
    codes = {key: code for code, key in enumerate(_keys(mode, levels, levels))}
    found = np.zeros(len(given), np.int32)
    for row, key in enumerate(_keys(mode, levels, given)):
        code = codes.get(key) if isinstance(key, Hashable) else None
        if code is None:
            raise ValueError(
                f"`labels[{mode!r}][{row}]` is {spell(given[row])}, which is not a level "
                f"of the mode{nearest(key, codes) or '.'}"
            )
        found[row] = code
    return found


def _as_labels(mode: str, labels: object) -> np.ndarray:
    """Labels as an array of one axis, those of a list as the objects they are."""
    if isinstance(labels, list | tuple):
        return np.fromiter(labels, object, len(labels))
    if getattr(labels, "ndim", None) != 1 or np.ma.isMaskedArray(labels):
        raise TypeError(
            f"`labels[{mode!r}]` must be a list of labels, got {spell(labels)}."
        )
    return np.asarray(labels)


def _keys(mode: str, levels: np.ndarray, labels: np.ndarray) -> list[Any]:
    """Labels as what can be looked up: dates and durations in the unit of the levels."""
    kind = levels.dtype.kind
    if kind not in "mM":
        return labels.tolist()
    # Python's dates and text have no unit; nanoseconds do not reach far dates.
    finest = "ns" if np.datetime_data(levels.dtype)[0] == "ns" else "us"
    try:
        times = labels if labels.dtype.kind == kind else labels.astype(f"{kind}8[{finest}]")
        keys = times.astype(levels.dtype)
    except (TypeError, ValueError) as error:
        what = "dates" if kind == "M" else "durations"
        raise TypeError(f"`labels[{mode!r}]` must be {what}: {error}.") from error
    # A label between two levels is none.
    exact = (keys == times).tolist()
    ticks = keys.astype(np.int64).tolist()
    return [tick if same else None for tick, same in zip(ticks, exact, strict=True)]


def rare(
    names: Sequence[str], levels: Sequence[np.ndarray], indices: np.ndarray
) -> list[str]:
    """What to warn of: levels that no cell has, and levels that one cell has."""
    counts = [
        np.bincount(column, minlength=len(labels))
        for column, labels in zip(indices.T, levels, strict=True)
    ]
    unseen = _spelled(names, levels, [c == 0 for c in counts])
    single = _spelled(names, levels, [c == 1 for c in counts])
    texts = []
    if unseen:
        texts.append(f"`data` has no observed cell of {unseen}: nothing is learned of it.")
    if single:
        texts.append(
            f"`data` has one observed cell only of {single}. Such cells are not held out, "
            "and all that is predicted beside them rests on one value."
        )
    return texts


def _spelled(
    names: Sequence[str], levels: Sequence[np.ndarray], chosen: Sequence[np.ndarray]
) -> str:
    """ "3 levels (user=ann, user=bob, film=7)": a few of the chosen levels, or ""."""
    count = sum(int(c.sum()) for c in chosen)
    if not count:
        return ""
    labels = [
        f"{name}={labels[code]}"
        for name, labels, c in zip(names, levels, chosen, strict=True)
        for code in np.flatnonzero(c)[:MOST_NAMED]
    ]
    more = ", ..." if count > MOST_NAMED else ""
    plural = "level" if count == 1 else "levels"
    return f"{count} {plural} ({', '.join(labels[:MOST_NAMED])}{more})"
