"""Hide and round counts so small that they could reveal a person's outcome.

A count from 1 to 10 is not published (the cell size policy of CMS). A reader can subtract: visible
groups from a total, or one window from another, whose admissions are the same patients. So these
differences are cells as well. Counts are rounded to 5, so that two dates of a growing cohort do not
show single patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import pandas as pd

MIN_COUNT = 11
_STEP = 5

Cells = Mapping[str, pd.DataFrame]
"""Window -> its admissions: hadm_id, label and the columns of the factors."""


@dataclass(frozen=True)
class Cell:
    """The admissions of one group in one window, and the readmitted among them."""

    admissions: frozenset[int]
    readmitted: frozenset[int]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Cell:
        return cls(frozenset(rows.hadm_id), frozenset(rows.hadm_id[rows.label == 1]))

    def __sub__(self, other: Cell) -> Cell:
        """Return the admissions that only this one has."""
        left = self.admissions - other.admissions
        return Cell(left, self.readmitted & left)

    def __add__(self, other: Cell) -> Cell:
        return Cell(self.admissions | other.admissions, self.readmitted | other.readmitted)

    @property
    def is_small(self) -> bool:
        """Whether the admissions, the readmitted or the others number 1 to 10."""
        n, readmitted = len(self.admissions), len(self.readmitted)
        return any(0 < count < MIN_COUNT for count in (n, readmitted, n - readmitted))


def rounded(count: int) -> int:
    """Round a count to a multiple of 5.

    >>> [rounded(n) for n in (0, 11, 12, 13)]
    [0, 10, 10, 15]
    """
    return _STEP * int(count / _STEP + 0.5)


def shown_count(count: int) -> str:
    """Return a count as a page that is passed on may show it.

    >>> [shown_count(n) for n in (0, 7, 1234)]
    ['0', '1 to 10', '1,235']
    """
    return "1 to 10" if 0 < count < MIN_COUNT else f"{rounded(count):,}"


def hidden_cells(windows: Cells, factor: str) -> set[tuple[str, str]]:
    """Return (window, value) of the groups of `factor` to hide.

    A group is hidden if it is small, or if its difference to the same group in a window with more
    admissions is. Then the smallest visible groups are hidden as well, until the sum of the hidden
    groups of a window, and its difference to that of another window, are not small.
    """
    cells = {
        (window, str(value)): Cell.of(group)
        for window, rows in windows.items()
        for value, group in rows.groupby(factor)
    }
    hidden = {key for key, cell in cells.items() if cell.is_small}
    larger_first = sorted(windows, key=lambda window: (-len(windows[window]), window))
    for i, window in enumerate(larger_first):
        for larger in larger_first[:i]:
            for value in {v for w, v in cells if w == window}:
                pair = (window, value), (larger, value)
                if pair[1] in cells and pair[1] not in hidden and _tells(cells, *pair):
                    hidden.add(pair[0])
    while key := _next_to_hide(cells, hidden, larger_first):
        hidden.add(key)
    return hidden


def _tells(
    cells: Mapping[tuple[str, str], Cell], one: tuple[str, str], other: tuple[str, str]
) -> bool:
    """Return whether the difference of two cells is small."""
    a, b = cells[one], cells[other]
    return (a - b).is_small or (b - a).is_small


def _next_to_hide(
    cells: Mapping[tuple[str, str], Cell], hidden: set[tuple[str, str]], windows: list[str]
) -> tuple[str, str] | None:
    """Return the group to hide next; None if the totals minus the visible groups reveal nothing."""
    sums = {}
    for window in windows:
        names = {value for w, value in hidden if w == window}
        total = Cell(frozenset(), frozenset())
        for value in names:
            total += cells[window, value]
        sums[window] = names, total
        visible = [key for key in cells if key[0] == window and key not in hidden]
        if (len(names) == 1 or total.is_small) and visible:
            return min(visible, key=lambda key: (len(cells[key].admissions), key))
    for one, other in permutations(windows, 2):
        (names, total), (other_names, other_total) = sums[one], sums[other]
        visible = [key for key in cells if key[0] == other and key not in hidden]
        if names and names == other_names and (total - other_total).is_small and visible:
            return min(visible, key=lambda key: (len(cells[key].admissions), key))
    return None
