"""The ledger: each admission once in each window, with its status and reason."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from readmit_spark.scoring.ledger import ledger_table

pytestmark = pytest.mark.spark4

WINDOWS = ["2days", "discharge"]
COHORT = [(1, "train"), (2, "test"), (3, "test")]
EXCLUDED = [(8, "newborn"), (None, "hadm_id_missing")]
# window, hadm_id, n_chunks: 3 is too short in 2days; only 2 has a discharge summary.
DOCUMENTS = [("2days", 1, 3), ("2days", 2, 1), ("2days", 3, 0), ("discharge", 2, 2)]


def ledger(
    spark: SparkSession, split: str, scored: list[tuple[str, int]]
) -> set[tuple[str, int | None, str, str | None]]:
    rows = ledger_table(
        spark.createDataFrame(COHORT, "hadm_id long, split string"),
        spark.createDataFrame(EXCLUDED, "hadm_id long, reason string"),
        spark.createDataFrame(DOCUMENTS, "window string, hadm_id long, n_chunks long"),
        spark.createDataFrame(scored, "window string, hadm_id long"),
        WINDOWS,
        split,
    ).collect()
    assert len(rows) == len(WINDOWS) * (len(COHORT) + len(EXCLUDED))
    return {(row.window, row.hadm_id, row.status, row.reason) for row in rows}


EXCLUDED_ROWS = {
    (window, hadm, "excluded", reason) for window in WINDOWS for hadm, reason in EXCLUDED
}


def test_every_admission_has_a_status_in_every_window(spark: SparkSession) -> None:
    scored = [("2days", 1), ("2days", 2), ("discharge", 2)]
    assert ledger(spark, "all", scored) == {
        ("2days", 1, "scored", None),
        ("2days", 2, "scored", None),
        ("2days", 3, "unscored", "document_too_short"),
        ("discharge", 1, "unscored", "no_notes"),
        ("discharge", 2, "scored", None),
        ("discharge", 3, "unscored", "no_notes"),
        *EXCLUDED_ROWS,
    }


def test_admissions_of_other_splits_are_unscored(spark: SparkSession) -> None:
    assert ledger(spark, "test", [("2days", 2), ("discharge", 2)]) == {
        ("2days", 1, "unscored", "other_split"),
        ("2days", 2, "scored", None),
        ("2days", 3, "unscored", "document_too_short"),
        ("discharge", 1, "unscored", "other_split"),
        ("discharge", 2, "scored", None),
        ("discharge", 3, "unscored", "no_notes"),
        *EXCLUDED_ROWS,
    }
