"""Counting the records of a CSV by its quotes alone.

A record ends at a line end with an even number of quotes before it. Of a part of a file nobody
knows whether it begins outside or inside quotes: a tally has the counts for both cases, and if the
part flips the case, so that parts can be counted side by side and put together in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Tally(NamedTuple):
    """Records that end, and lines with a quote that neither opens nor closes a field nor is
    doubled, where the part begins outside or inside quotes; flips: it has an odd number of quotes.
    """

    count_outside: int = 0
    count_inside: int = 0
    broken_outside: int = 0
    broken_inside: int = 0
    flips: bool = False


# Lines in which every quote has its place, once doubled quotes are taken out; by where they begin.
_FIELD = r'(?:"[^"]*"|[^",]*)'
_MARK = r"(?:\xef\xbb\xbf)?"  # a byte order mark
_SOUND_OUTSIDE = rf'^{_MARK}(?:{_FIELD},)*(?:{_FIELD}|"[^"]*)$'
_SOUND_INSIDE = rf'^[^"]*(?:"(?:,{_FIELD})*(?:,"[^"]*)?)?$'


def tally(lines: pa.Array, before: Tally) -> Tally:
    """`before` and the lines that follow it, without their ends, as one part. They need not be
    UTF-8."""
    if not len(lines):
        return before
    lines = lines.cast(pa.binary())
    quotes = _numpy(pc.count_substring(lines, '"'))
    # A blank line ends no record; the last line of a quoted text has its quote.
    filled = _numpy(pc.greater(pc.binary_length(lines), 0))
    single = pc.replace_substring(lines, '""', "")
    broken_outside = ~_numpy(pc.match_substring_regex(single, _SOUND_OUTSIDE))
    broken_inside = ~_numpy(pc.match_substring_regex(single, _SOUND_INSIDE))
    # Quotes so far, odd or even, after each line and before it.
    after = (before.flips + quotes.cumsum()) % 2 == 1
    ahead = np.append(before.flips, after[:-1])
    return Tally(
        before.count_outside + int((filled & ~after).sum()),
        before.count_inside + int((filled & after).sum()),
        before.broken_outside + int(np.where(ahead, broken_inside, broken_outside).sum()),
        before.broken_inside + int(np.where(ahead, broken_outside, broken_inside).sum()),
        bool(after[-1]),
    )


def first_broken(lines: pa.Array, before: Tally) -> int:
    """The index of the first broken line of those that have one; `before` began outside quotes."""
    start, end = 0, len(lines)
    while end - start > 1:
        middle = (start + end) // 2
        half = tally(lines.slice(start, middle - start), before)
        if half.broken_outside > before.broken_outside:
            end = middle
        else:
            start, before = middle, half
    return start


def _numpy(array: pa.Array) -> NDArray[Any]:
    return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
