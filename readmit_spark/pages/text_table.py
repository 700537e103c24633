"""Tables of text, for the lines that a job prints at its end."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Pad the cells of rows of equal length, so that columns are aligned.

    >>> print(aligned([["a", "10"], ["bcd", "2"]]))
    a    10
    bcd  2
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
