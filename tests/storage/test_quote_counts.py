"""Records and misplaced quotes, counted for a start outside and inside a quoted field."""

from __future__ import annotations

import pyarrow as pa
import pytest

from readmit_spark.storage.quote_counts import QuoteCounts, add_lines, first_misplaced


@pytest.mark.parametrize(
    ("lines", "counts"),
    [
        #                    records: outside, inside; misplaced: outside, inside; flips
        ([], QuoteCounts(0, 0, 0, 0, False)),
        (["1,a", "", "2,b"], QuoteCounts(2, 0, 0, 0, False)),
        (['1,"a', 'b",2'], QuoteCounts(1, 1, 0, 2, False)),
        (['1,"a'], QuoteCounts(0, 1, 0, 1, True)),
        (['a",2'], QuoteCounts(0, 1, 1, 0, True)),
        (['1,"a ""b"" c"'], QuoteCounts(1, 0, 0, 1, False)),
        (['1,5" tall'], QuoteCounts(0, 1, 1, 1, True)),
    ],
)
def test_counts_of_a_part(lines: list[str], counts: QuoteCounts) -> None:
    assert add_lines(QuoteCounts(), pa.array(lines, pa.string())) == counts


def test_two_parts_in_order_have_the_counts_of_the_lines_together() -> None:
    lines = pa.array(["1,a", '2,"b', "c", 'd"', '3,5" tall', "4,e"])
    together = add_lines(QuoteCounts(), lines)
    for cut in range(len(lines)):
        first_part = add_lines(QuoteCounts(), lines.slice(0, cut))
        assert add_lines(first_part, lines.slice(cut)) == together


@pytest.mark.parametrize("index", [0, 1, 3, 4])
def test_the_first_misplaced_quote_is_found(index: int) -> None:
    lines = ["1,a"] * 5
    lines[index] = lines[4] = '2,5" tall'
    assert first_misplaced(QuoteCounts(), pa.array(lines)) == index
