"""Two parallel files, and the line at which they stop matching."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median, pstdev

from ...errors import DataError
from ._files import Notes, text_lines
from ._tables import Row


def side_by_side(
    source: Sequence[Path], names: tuple[str, str], notes: Notes, *, as_told: bool = False
) -> Iterator[Row]:
    """Yield pairs of lines of two files as the columns `names`; lines that are empty in both are left out.

    Raises:
        DataError: the numbers of lines differ, or lines are shifted against each other.
    """
    lines = [dict(text_lines(path, notes)) for path in source]
    counts = [max(one, default=0) for one in lines]
    if counts[0] != counts[1]:  # ignore empty lines at the end of one file
        counts = [max((number for number, line in one.items() if line.strip()), default=0) for one in lines]
    rows = [[one.get(number, "") for number in range(1, count + 1)] for one, count in zip(lines, counts, strict=True)]
    if counts[0] != counts[1]:
        raise DataError(
            f"{source[0]} has {counts[0]} lines and {source[1]} {counts[1]}; they belong line to line."
            f"{_where(source, rows)}"
        )
    if not as_told:
        _check_empty(source, rows)
    empty = 0
    for number in range(1, counts[0] + 1):
        if any(number not in one for one in lines):
            continue
        if any(one[number].strip() for one in lines):
            # An invalid row is reported for the file in which it is empty.
            yield (
                source[0 if lines[1][number].strip() else 1],
                number,
                dict(zip(names, (one[number] for one in lines), strict=True)),
            )
        else:
            empty += 1
    if empty:
        notes.remarks.append(f"lines that are empty in both files were left out: {empty:,}.")
    notes.reading = f"two parallel files of {counts[0]:,} lines"


def _where(source: Sequence[Path], rows: list[list[str]]) -> str:
    """Describe the line at which two files of unequal length stop matching, if empty lines or line lengths show it."""
    more, less = (0, 1) if len(rows[0]) > len(rows[1]) else (1, 0)
    surplus = len(rows[more]) - len(rows[less])
    empty = [[number for number, line in enumerate(one, start=1) if not line.strip()] for one in rows]
    alone = [number for number in empty[more] if number not in set(empty[less])]
    if alone and len(empty[more]) - len(empty[less]) == surplus:
        return f" Line {alone[0]} of {source[more]} is empty and not in the other: remove it, or add one there."
    # Hypothesis: lines match up to some line and are shifted by the surplus from there. Each line's vote for "match":
    shifted = _costs(rows[more][surplus:], rows[less])
    votes = [after - before for before, after in zip(_costs(rows[more], rows[less]), shifted, strict=True)]
    sums = [0.0, *accumulate(votes)]
    place = sums.index(max(sums))
    if not _clear(votes, 2 * sums[place] - sums[-1]):
        return ""
    if place == len(votes):
        return f" Up to line {place} they fit by the lengths of their lines; there {source[less]} ends."
    return (
        f" By the lengths of their lines they part near line {place + 1}: "
        f"{rows[0][place][:60]!r} stands beside {rows[1][place][:60]!r}."
    )


def _check_empty(source: Sequence[Path], rows: list[list[str]]) -> None:
    """Refuse files that have empty lines at different places and match better without them."""
    empty = [{place for place, line in enumerate(one) if not line.strip()} for one in rows]
    alone = [sorted(empty[0] - empty[1]), sorted(empty[1] - empty[0])]
    if not alone[0] or len(alone[0]) != len(alone[1]):
        return
    first, last = min(alone[0][0], alone[1][0]), max(alone[0][-1], alone[1][-1])
    some = [one[first : last + 1] for one in rows]
    dense = [[line for line in one if line.strip()] for one in some]
    kept = [(a, b) for a, b in zip(*some, strict=True) if a.strip() and b.strip()]
    apart, fitting = _costs([a for a, _ in kept], [b for _, b in kept]), _costs(*dense)
    gain = sum(apart) / max(1, len(apart)) - sum(fitting) / len(fitting)
    if _clear([*apart, *fitting], gain * len(fitting), least=2.0):
        side = 0 if first == alone[0][0] else 1
        raise DataError(
            f"{source[side]}, line {first + 1}: the line is empty and not in {source[1 - side]}, where line "
            f"{alone[1 - side][0] + 1} is; between them the pairs shift. Without these lines the files fit: remove "
            "them. If each line belongs to its number all the same: --as-told."
        )


def _clear(costs: Sequence[float], gain: float, least: float = 2.5) -> bool:
    """Return whether a gain is more than chance gives with this many lines."""
    return len(costs) > 3 and gain > least * math.sqrt(len(costs)) * max(pstdev(costs), 1e-6)


def _costs(first: Sequence[str], second: Sequence[str]) -> list[float]:
    """Return, for each pair of lines, how far the ratio of their lengths is from the usual one."""
    ratios = [math.log((len(a) + 3) / (len(b) + 3)) for a, b in zip(first, second, strict=False)]
    usual = median(ratios) if ratios else 0.0
    return [abs(ratio - usual) for ratio in ratios]
