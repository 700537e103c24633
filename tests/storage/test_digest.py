"""Checksums of columns and tables."""

from __future__ import annotations

import pyarrow as pa
import pytest

from readmit_spark.storage.digest import Digest, digest_table


def digest(*batches: list[str | None]) -> str:
    column = Digest()
    for batch in batches:
        column.update(pa.array(batch, pa.string()))
    return column.hex()


def test_a_digest_depends_on_the_texts_and_not_on_the_batches() -> None:
    assert digest(["a", "bc", ""]) == digest(["a"], [], ["bc", ""])
    sliced = Digest()
    sliced.update(pa.array(["x", "a", "bc", "", "y"]).slice(1, 3))
    assert sliced.hex() == digest(["a", "bc", ""])
    assert digest([None, "a"]) == digest(["", "a"])


@pytest.mark.parametrize("other", [["ab", "c"], ["bc", "a"], ["a", "bc", ""], ["a", "bd"], ["abc"]])
def test_different_texts_have_different_digests(other: list[str]) -> None:
    assert digest(["a", "bc"]) != digest(other)


def test_a_table_has_rows_and_a_digest_per_column() -> None:
    batches = [
        pa.RecordBatch.from_pydict({"A": ["1", "2"], "TEXT": ["x", None]}),
        pa.RecordBatch.from_pydict({"A": ["3"], "TEXT": [""]}),
    ]
    table = digest_table(batches)
    assert table.rows == 3
    assert {name: column.nulls for name, column in table.columns.items()} == {"A": 0, "TEXT": 1}
    assert table.columns["A"].hex() == digest(["1", "2", "3"])
    assert digest_table([]).columns == {}
