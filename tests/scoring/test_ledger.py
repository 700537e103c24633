"""Every admission is in the ledger once a window, with what became of it."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from readmit_spark.scoring.ledger import ledger_table

pytestmark = pytest.mark.spark4

WINDOWS = ["2days", "discharge"]
COHORT = [(1, "train"), (2, "test"), (3, "test"), (4, "test"), (5, "train")]
EXCLUDED = [(8, "newborn"), (9, "died_in_hospital"), (None, "hadm_id_missing")]
# window, hadm_id, chunks: 4 and 5 have no note in 2days; nobody but 2 has a discharge summary.
DOCUMENTS = [("2days", 1, 3), ("2days", 2, 1), ("2days", 3, 0), ("discharge", 2, 2)]


def ledger(spark: SparkSession, split: str) -> dict[tuple[str, int | None], tuple[str, str | None]]:
    sides = dict(COHORT)
    scored = [
        (window, hadm)
        for window, hadm, chunks in DOCUMENTS
        if chunks and split in ("all", sides[hadm])
    ]
    rows = ledger_table(
        spark.createDataFrame(COHORT, "hadm_id long, split string"),
        spark.createDataFrame(EXCLUDED, "hadm_id long, reason string"),
        spark.createDataFrame(DOCUMENTS, "window string, hadm_id long, n_chunks long"),
        spark.createDataFrame(scored, "window string, hadm_id long"),
        WINDOWS,
        split,
    ).collect()
    found = {(row.window, row.hadm_id): (row.status, row.reason) for row in rows}
    assert len(found) == len(rows) == len(WINDOWS) * (len(COHORT) + len(EXCLUDED))
    return found


def test_each_admission_is_there_once_a_window_with_its_reason(spark: SparkSession) -> None:
    found = ledger(spark, "all")
    assert [found["2days", hadm] for hadm in (1, 2, 3, 4, 5)] == [
        ("scored", None),
        ("scored", None),
        ("unscored", "document_too_short"),
        ("unscored", "no_notes"),
        ("unscored", "no_notes"),
    ]
    assert found["discharge", 2] == ("scored", None)
    assert found["discharge", 1] == ("unscored", "no_notes")


@pytest.mark.parametrize("window", WINDOWS)
def test_what_prepare_left_out_is_excluded_in_every_window(
    spark: SparkSession, window: str
) -> None:
    found = ledger(spark, "all")
    assert {hadm: found[window, hadm] for hadm, _ in EXCLUDED} == {
        hadm: ("excluded", reason) for hadm, reason in EXCLUDED
    }


def test_the_other_splits_are_unscored_for_that_reason(spark: SparkSession) -> None:
    found = ledger(spark, "test")
    assert found["2days", 1] == found["2days", 5] == ("unscored", "other_split")
    assert found["2days", 2] == ("scored", None)
    assert found["2days", 3] == ("unscored", "document_too_short")
    assert found["discharge", 4] == ("unscored", "no_notes")
