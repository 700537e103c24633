"""The monitor's stays, read from the tables of two small nights."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.nightly.monitor_stays import last_scores, new_stays
from readmit_spark.storage.manifests import Night

pytestmark = pytest.mark.spark4

RISK = "subject_id long, hadm_id long, day_of_stay int, score double, alert boolean, basis string"
NOTES = (
    "subject_id long, hadm_id long, row_id long, category string, chartdate date, "
    "charttime timestamp, digest string"
)
CHUNKS = "document string, digest string, n_tokens int, n_tokens_cut int, n_unknown int"
DAY = date(2020, 1, 1)
# 11: new on the first night, alerted then. 21: new, without a score. 31: there before.
RISKS = {
    "2020-01-02T020000": [(1, 11, 1, 0.6, True, "x"), (3, 31, 9, 0.9, False, "x")],
    "2020-01-03T020000": [(1, 11, 2, 0.4, False, "x"), (4, 41, 2, 0.2, False, "x")],
}
UNSCORED = {"2020-01-02T020000": [(2, 21, 2)], "2020-01-03T020000": [(2, 21, 3)]}


@pytest.fixture(scope="module")
def nights(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> list[Night]:
    root = tmp_path_factory.mktemp("nights")
    published = []
    for name, risk in RISKS.items():
        folder: Path = root / "nightly" / name / "run"
        notes = [
            (subject, hadm, 10 * hadm + i, category, DAY, None, "digest")
            for subject, hadm, *_ in risk
            for i, category in enumerate(["nursing", "ecg", "nursing"])
        ]
        tables = {
            "patient_risk": (risk, RISK),
            "unscored": (UNSCORED[name], "subject_id long, hadm_id long, day_of_stay int"),
            "notes": (notes, NOTES),
            "chunks": ([], CHUNKS),
        }
        for table, (rows, schema) in tables.items():
            spark.createDataFrame(rows, schema).write.parquet(str(folder / table))
        as_of = datetime.strptime(name, "%Y-%m-%dT%H%M%S")
        published.append(Night.model_construct(as_of=as_of, path=str(folder)))
    return published


def test_each_new_stay_has_one_row_of_its_first_night(
    spark: SparkSession, nights: list[Night]
) -> None:
    rows = {row.hadm_id: row for row in new_stays(spark, nights).collect()}
    assert {hadm: (row.night, row.score) for hadm, row in rows.items()} == {
        11: ("2020-01-02T020000", 0.6),
        21: ("2020-01-02T020000", None),
        41: ("2020-01-03T020000", 0.2),
    }
    assert (rows[11].n_notes, rows[11].categories) == (3, "ecg + nursing")
    assert (rows[21].n_notes, rows[21].categories, rows[21].n_tokens) == (0, "", None)


def test_the_last_score_of_a_stay_and_whether_any_night_alerted_it(
    spark: SparkSession, nights: list[Night]
) -> None:
    rows = {row.hadm_id: (row.score, row.alerted) for row in last_scores(spark, nights).collect()}
    assert rows == {11: (0.4, True), 31: (0.9, False), 41: (0.2, False)}
