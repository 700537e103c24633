"""The tables of a night's result, from a few literal rows."""

from __future__ import annotations

from datetime import datetime

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.evaluation.vote import contributions, vote_score
from readmit_spark.nightly.alerts import AlertRule
from readmit_spark.nightly.day_fits import DayFits, day_fits
from readmit_spark.nightly.night_risk import (
    followed,
    new_notes,
    outcomes,
    passage_texts,
    patient_risk,
    unscored,
)
from readmit_spark.nightly.published_nights import table_of_night
from tests.literal_rows import literal_rows

pytestmark = pytest.mark.spark4

NIGHT, LAST_NIGHT = datetime(2020, 1, 3, 2), datetime(2020, 1, 2, 2)
PASSAGES = "passages array<struct<row_id: long, category: string, start: int, end: int>>"
HOUSE = [(1, 11, 3), (2, 21, 2), (3, 31, 1), (4, 41, 1)]
# 11 has four chunks, 21 one, the document of 31 is too short for a chunk, 41 has no notes.
DOCUMENTS = [(11, "a", 2), (21, "b", 1), (31, "c", 1)]
CHUNKS = [
    ("a", 0, 0.2), ("a", 1, 0.9), ("a", 2, 0.5), ("a", 3, 0.9), ("b", 0, 0.4), ("c", None, None),
]  # fmt: skip


def house(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(HOUSE, "subject_id long, hadm_id long, day_of_stay int")


def documents(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(DOCUMENTS, "hadm_id long, document string, n_notes int")


NO_RISKS = day_fits("3days", {}, {})
CURVES = {
    "1days": RiskCurve("intercept", 0.0, 1.0, 100, 50),
    "2days": RiskCurve("intercept", 2.0, 1.0, 100, 50),
}


def risk(
    spark: SparkSession, before: DataFrame, alert: AlertRule, fits: DayFits = NO_RISKS
) -> DataFrame:
    chunks = [
        (document, index, p, [(100 + (index or 0), "nursing", 0, 4)])
        for document, index, p in CHUNKS
    ]
    schema = f"document string, chunk_index int, probability double, {PASSAGES}"
    return patient_risk(
        spark.createDataFrame(chunks, schema), documents(spark), house(spark), before, NIGHT,
        "basis", 2.0, alert, fits,
    )  # fmt: skip


def test_score_rank_and_drivers(spark: SparkSession) -> None:
    table = risk(spark, table_of_night(spark, None, "patient_risk"), AlertRule("capacity", 1))
    first, second = table.orderBy("rank").collect()
    probabilities = [0.2, 0.9, 0.5, 0.9]
    score = vote_score(probabilities, 2.0)
    assert (first.hadm_id, first.n_chunks, first.n_notes, first.day_of_stay) == (11, 4, 2, 3)
    assert first.score == pytest.approx(score)
    # The three highest, the first of equals first; only that one adds the maximum.
    parts = contributions(probabilities, 2.0)
    assert [d.chunk_index for d in first.drivers] == [1, 3, 2]
    assert [d.share for d in first.drivers] == pytest.approx([parts[i] / score for i in (1, 3, 2)])
    assert first.drivers[0].passages[0].row_id == 101
    assert (second.hadm_id, second.drivers[0].share) == (21, pytest.approx(1.0))
    assert (first.alert, second.alert) == (True, False)
    assert (first.previous_score, first.change) == (None, None)


def test_a_night_carries_the_history_over_and_compares_scores_of_its_basis_only(
    spark: SparkSession,
) -> None:
    before = spark.createDataFrame(
        [
            (11, 0.5, "basis", [(LAST_NIGHT, 0.5, "basis")]),
            (21, 0.3, "another", [(LAST_NIGHT, 0.3, "another")]),
            (99, 0.7, "basis", [(LAST_NIGHT, 0.7, "basis")]),  # no longer in the house
        ],
        "hadm_id long, score double, basis string, "
        "history array<struct<as_of: timestamp, score: double, basis: string>>",
    )
    table = risk(spark, before, AlertRule("threshold", 0.4, (0.4,) * 3))
    rows = {row.hadm_id: row for row in table.collect()}
    assert rows.keys() == {11, 21}
    assert rows[11].previous_score == 0.5
    assert rows[11].change == pytest.approx(rows[11].score - 0.5)
    assert (rows[21].previous_score, rows[21].change) == (None, None)
    assert [(h.score, h.basis) for h in rows[21].history] == [
        (0.3, "another"), (rows[21].score, "basis"),
    ]  # fmt: skip
    assert (rows[11].alert, rows[21].alert) == (True, True)  # 21 scores 0.4, on the threshold
    nobody = risk(spark, before, AlertRule("precision", 0.9, (None,) * 3))
    assert nobody.where("alert").count() == 0
    assert {row.risk for row in nobody.collect()} == {None}


def test_a_stay_that_is_too_old_leaves_its_alert_to_others(spark: SparkSession) -> None:
    before = table_of_night(spark, None, "patient_risk")
    # 11, on its third day, has the highest score; 21 is on its second day.
    for rule in (
        AlertRule("capacity", 1, days=2),
        AlertRule("threshold", 0.1, (0.1,) * 3, days=2),
    ):
        rows = {row.hadm_id: row for row in risk(spark, before, rule).collect()}
        assert (rows[11]["rank"], rows[11].alert, rows[21].alert) == (1, False, True)


def test_risks_rank_and_alert_by_the_nights_in_the_house(spark: SparkSession) -> None:
    before = table_of_night(spark, None, "patient_risk")
    # 11 has spent two nights, 21 one. With the curves turned, 21's lower score is a higher risk.
    turned = {"1days": CURVES["2days"], "2days": CURVES["1days"]}
    for curves, ranks in ((CURVES, {11: 1, 21: 2}), (turned, {21: 1, 11: 2})):
        fits = day_fits("2days", curves, {"1days": (), "2days": ()})
        rule = AlertRule("precision", 0.5, (0.45, None))
        rows = {row.hadm_id: row for row in risk(spark, before, rule, fits).collect()}
        assert {hadm: row["rank"] for hadm, row in rows.items()} == ranks
        assert rows[11].risk == pytest.approx(curves["2days"].risk(rows[11].score))
        assert rows[21].risk == pytest.approx(curves["1days"].risk(rows[21].score))
        assert [rows[11].alert, rows[21].alert] == [False, rows[21].risk >= 0.45]
    assert rows[21].alert


def test_patients_without_a_score_have_a_reason(spark: SparkSession) -> None:
    scored = spark.createDataFrame([(11,), (21,)], "hadm_id long")
    rows = unscored(house(spark), documents(spark), scored).collect()
    assert sorted(map(tuple, rows)) == [(3, 31, 1, "too_short"), (4, 41, 1, "no_notes")]


def test_new_notes_and_the_text_of_passages(spark: SparkSession) -> None:
    notes = spark.createDataFrame(
        [
            (11, 1, "nursing", None, "same", "Pt seen today"),
            (11, 2, "nursing", None, "edited", "no pain"),
            (11, None, "ecg", None, "same", "sinus"),
            (11, 3, "ecg", None, "new", "sinus"),
        ],
        "hadm_id long, row_id long, category string, charttime timestamp, digest string, "
        "text string",
    )
    earlier = spark.createDataFrame(
        [(11, 1, "same"), (11, 2, "draft"), (11, None, "same")],
        "hadm_id long, row_id long, digest string",
    )
    assert {row.row_id for row in new_notes(notes, earlier).collect()} == {2, 3}
    drivers = [(11, [([(1, "nursing", 3, 7), (2, "nursing", 0, 2)],), ([(None, "ecg", 0, 5)],)])]
    risk = spark.createDataFrame(
        drivers,
        f"hadm_id long, drivers array<struct<{PASSAGES.replace('passages ', 'passages: ')}>>",
    )
    rows = passage_texts(risk, notes).collect()
    assert {(row.row_id, row.text) for row in rows} == {(1, "seen"), (2, "no"), (None, "sinus")}


RISK = "subject_id long, hadm_id long, score double, alert boolean, basis string, as_of timestamp"
FOLLOWED = RISK.replace("alert ", "alerted ")


def test_patients_are_followed_from_their_first_list_until_days_after_discharge(
    spark: SparkSession,
) -> None:
    tonight = [
        (1, 11, 0.8, False, "basis", NIGHT),
        (2, 21, 0.7, False, "basis", NIGHT),
        (6, 61, 0.1, True, "basis", NIGHT),
    ]
    before = [
        (1, 11, 0.9, True, "basis", LAST_NIGHT),  # alerted then: stays alerted
        (2, 21, 0.6, True, "another", LAST_NIGHT),  # alerted on another basis: does not count
        (3, 31, 0.4, True, "basis", LAST_NIGHT),  # left yesterday
        (4, 41, 0.3, False, "basis", LAST_NIGHT),  # left long ago
        (5, 51, 0.2, False, "basis", LAST_NIGHT),  # no longer among the admissions
    ]
    admissions = [
        (11, None), (21, None), (61, None), (31, datetime(2020, 1, 2, 9)),
        (41, datetime(2019, 12, 1)),
    ]  # fmt: skip
    table = followed(
        literal_rows(spark, tonight, RISK),
        literal_rows(spark, before, FOLLOWED),
        literal_rows(spark, admissions, "hadm_id long, dischtime timestamp"),
        NIGHT,
        10,
    )
    as_of = F.col("as_of").cast("string").alias("as_of")
    table = table.select("hadm_id", "score", "alerted", as_of)
    rows = {row.hadm_id: (row.score, row.alerted, row.as_of) for row in table.collect()}
    assert rows == {
        11: (0.8, True, str(NIGHT)),
        21: (0.7, False, str(NIGHT)),
        61: (0.1, True, str(NIGHT)),
        31: (0.4, True, str(LAST_NIGHT)),
    }


def test_an_outcome_is_settled_when_the_horizon_has_passed(spark: SparkSession) -> None:
    patients = [(i, 10 * i + 1, 0.5, False, "basis", LAST_NIGHT) for i in range(1, 6)]
    patients += [(6, 61, 0.5, False, "another", LAST_NIGHT)]
    labelled = [
        (11, 0, datetime(2019, 12, 4, 2), None),  # 30 days before this night, to the second
        (21, 1, datetime(2019, 12, 4, 2, 0, 1), None),  # back already, but a second too late
        (31, None, None, None),
        (41, 0, datetime(2019, 12, 1), "died_in_hospital"),
        (51, 1, datetime(2019, 12, 1), None),
        (61, 1, datetime(2019, 12, 1), None),
    ]
    table = outcomes(
        literal_rows(spark, patients, FOLLOWED),
        literal_rows(
            spark, labelled, "hadm_id long, label int, dischtime timestamp, exclusion string"
        ),
        NIGHT,
        "basis",
        30,
    )
    assert {row.hadm_id: row.label for row in table.collect()} == {11: 0, 51: 1}
