"""Count CSV records and misplaced quotes from the positions of the quotes alone.

A record ends at a line end with an even number of quotes before it. A misplaced quote neither
opens nor closes a field and is not doubled. The lines of one part of a file do not show whether
the part starts inside or outside a quoted field. Therefore the counts cover both cases, so that
parts can be counted in parallel and combined in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class QuoteCounts(NamedTuple):
    """Counts of one part of a file, for a start outside and inside a quoted field.

    records: record ends; misplaced: lines with a misplaced quote; flips: whether the part has an
    odd number of quotes, so that it ends inside if it starts outside.
    """

    records_outside: int = 0
    records_inside: int = 0
    misplaced_outside: int = 0
    misplaced_inside: int = 0
    flips: bool = False


# Lines without a misplaced quote, after removal of doubled quotes, by where they start.
_FIELD = r'(?:"[^"]*"|[^",]*)'
_BYTE_ORDER_MARK = r"(?:\xef\xbb\xbf)?"
_VALID_OUTSIDE = rf'^{_BYTE_ORDER_MARK}(?:{_FIELD},)*(?:{_FIELD}|"[^"]*)$'
_VALID_INSIDE = rf'^[^"]*(?:"(?:,{_FIELD})*(?:,"[^"]*)?)?$'


def add_lines(before: QuoteCounts, lines: pa.Array) -> QuoteCounts:
    """Return the counts of a part after `lines` (without line ends, any bytes) are appended."""
    if not len(lines):
        return before
    lines = lines.cast(pa.binary())
    quotes = _numpy(pc.count_substring(lines, '"'))
    # A blank line ends no record. The last line of a quoted text is never blank: it has a quote.
    filled = _numpy(pc.greater(pc.binary_length(lines), 0))
    single = pc.replace_substring(lines, '""', "")
    misplaced_outside = ~_numpy(pc.match_substring_regex(single, _VALID_OUTSIDE))
    misplaced_inside = ~_numpy(pc.match_substring_regex(single, _VALID_INSIDE))
    # For each line: is the number of quotes odd after it, and before it?
    odd_after = (before.flips + quotes.cumsum()) % 2 == 1
    odd_before = np.append(before.flips, odd_after[:-1])
    return QuoteCounts(
        before.records_outside + int((filled & ~odd_after).sum()),
        before.records_inside + int((filled & odd_after).sum()),
        before.misplaced_outside
        + int(np.where(odd_before, misplaced_inside, misplaced_outside).sum()),
        before.misplaced_inside
        + int(np.where(odd_before, misplaced_outside, misplaced_inside).sum()),
        bool(odd_after[-1]),
    )


def first_misplaced(before: QuoteCounts, lines: pa.Array) -> int:
    """Return the index of the first line with a misplaced quote.

    At least one of the lines must have one, and the part must start outside a quoted field.
    """
    start, end = 0, len(lines)
    while end - start > 1:
        middle = (start + end) // 2
        first_half = add_lines(before, lines.slice(start, middle - start))
        if first_half.misplaced_outside > before.misplaced_outside:
            end = middle
        else:
            start, before = middle, first_half
    return start


def _numpy(array: pa.Array) -> NDArray[Any]:
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
