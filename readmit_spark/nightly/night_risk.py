"""Compute a night's result: each patient's score, its drivers, and its history."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.nightly.alerts import AlertRule
from readmit_spark.nightly.day_fits import DayFits
from readmit_spark.notes.note_rule import timestamp
from readmit_spark.notes.outcome import DAY
from readmit_spark.scoring.risk_column import risk_column
from readmit_spark.scoring.score_chunks import vote

DRIVERS = 3  # chunks shown for each patient; the first has the highest probability


def patient_risk(
    chunks: DataFrame,
    documents: DataFrame,
    house: DataFrame,
    before: DataFrame,
    as_of: datetime,
    basis: str,
    c: float,
    alert: AlertRule,
    fits: DayFits,
) -> DataFrame:
    """Build the `patient_risk` table: one row for each scored patient in the house.

    chunks: the night's, by document. documents: hadm_id, document, n_notes. before: the
    `patient_risk` of the night before. basis: scores of another basis stay in `history` but are not
    compared. fits: give the risk of each patient for the day of the stay. The rank follows the
    risk, or the score without risks.
    """
    day = fit_index(fits, as_of)
    risk = (
        _votes(chunks, documents, c)
        .join(house, "hadm_id", "inner")
        .join(_night_before(before, basis), "hadm_id", "left")
        .withColumn("as_of", timestamp(as_of))
        .withColumn("basis", F.lit(basis))
        .withColumn("risk", _risk(day, fits))
        .withColumn("listed", F.coalesce("risk", "score"))
        .withColumn("rank", F.row_number().over(Window.orderBy(*_order())))
    )
    tonight = F.struct("as_of", "score", "basis")
    return risk.select(
        "as_of",
        "subject_id",
        "hadm_id",
        "day_of_stay",
        "n_notes",
        "n_chunks",
        "max_probability",
        "mean_probability",
        "score",
        "previous_score",
        (F.col("score") - F.col("previous_score")).alias("change"),
        "rank",
        _alerted(alert, day).alias("alert"),
        "basis",
        _drivers(c).alias("drivers"),
        F.concat(F.coalesce("earlier", F.array()), F.array(tonight)).alias("history"),
        "risk",
    )


def fit_index(fits: DayFits, as_of: datetime) -> Column:
    """Return the index of each patient's fit, from `day_of_stay`; as `DayFits.at`."""
    return F.element_at(
        F.array(*(F.lit(fits.at(day, as_of)) for day in range(1, len(fits.days) + 2))),
        F.least(F.col("day_of_stay"), F.lit(len(fits.days) + 1)).cast("int"),
    )


def _risk(day: Column, fits: DayFits) -> Column:
    risk = F.lit(None).cast("double")
    for index, fit in enumerate(fits.days):
        if fit.curve is not None:
            of_day = risk_column(F.col("score"), fit.curve)
            risk = F.when(day == index, of_day).otherwise(risk)
    return risk


def _order() -> list[Column]:
    # Isotonic risks may be equal where scores are not.
    return [F.desc("listed"), F.desc("score"), F.col("hadm_id")]


def _votes(chunks: DataFrame, documents: DataFrame, c: float) -> DataFrame:
    """Build hadm_id, n_notes, n_chunks, max_probability, mean_probability, score, and highest: the
    chunks with the highest probabilities, at most `DRIVERS`, the first of equals first."""
    place = F.struct(
        (-F.col("probability")).alias("order"), "chunk_index", "probability", "passages"
    )
    highest = F.slice(F.array_sort(F.collect_list(place)), 1, DRIVERS)
    scored = chunks.where(F.col("probability").isNotNull())
    of_admission = scored.join(documents, "document", "inner")
    return vote(of_admission, ["hadm_id", "n_notes"], c, highest.alias("highest"))


def _night_before(before: DataFrame, basis: str) -> DataFrame:
    """Build hadm_id, previous_score (null if of another basis), earlier (the history)."""
    return before.select(
        "hadm_id",
        F.when(F.col("basis") == basis, F.col("score")).alias("previous_score"),
        F.col("history").alias("earlier"),
    )


def _drivers(c: float) -> Column:
    """Return the chunks that add most to the score, from the columns of `_votes`.

    As in `evaluation.vote.contributions`, a chunk of probability p adds p / c over 1 + n / c; the
    first one, which has the maximum, adds the maximum to its p / c. `share` is this part of the
    score. Shares of all chunks of an admission sum to 1.
    """
    n, score = F.col("n_chunks"), F.col("score")

    def driver(chunk: Column, place: Column) -> Column:
        p = chunk["probability"]
        adds = (p / c + F.when(place == 0, p).otherwise(F.lit(0.0))) / (1 + n / c)
        share = F.when(score > 0, adds / score).otherwise(1 / n)
        fields = [chunk[name].alias(name) for name in ("chunk_index", "probability")]
        return F.struct(*fields, share.alias("share"), chunk["passages"].alias("passages"))

    return F.transform("highest", driver)


def unscored(house: DataFrame, documents: DataFrame, risk: DataFrame) -> DataFrame:
    """Build subject_id, hadm_id, day_of_stay, reason of the patients in the house without a score.

    reason: `no_notes`, or `too_short` if the document has no chunk.
    """
    reason = F.when(F.col("document").isNull(), "no_notes").otherwise("too_short")
    return (
        house.join(documents.select("hadm_id", "document"), "hadm_id", "left")
        .join(risk.select("hadm_id"), "hadm_id", "left_anti")
        .select("subject_id", "hadm_id", "day_of_stay", reason.alias("reason"))
    )


def new_notes(notes: DataFrame, notes_before: DataFrame) -> DataFrame:
    """Build hadm_id, row_id, category, charttime of the notes that the night before did not have.

    A note whose text has changed is new.
    """
    keys = ["hadm_id", "row_id", "digest"]
    earlier = notes_before.select(*keys)
    same = [notes[key].eqNullSafe(earlier[key]) for key in keys]
    return notes.join(earlier, same, "left_anti").select(
        "hadm_id", "row_id", "category", "charttime"
    )


def passage_texts(risk: DataFrame, notes: DataFrame) -> DataFrame:
    """Build row_id, start, end, text: the text of the drivers' passages.

    notes: hadm_id, row_id and text of the night's notes.
    """
    places = risk.select("hadm_id", F.explode("drivers.passages").alias("passages")).select(
        "hadm_id", F.explode("passages").alias("p")
    )
    text = F.expr("substring(text, p.start + 1, p.end - p.start)")
    return (
        places.join(notes.select("hadm_id", "row_id", "text"), "hadm_id", "inner")
        .where(F.col("p.row_id").eqNullSafe(F.col("row_id")))
        .select("p.row_id", "p.start", "p.end", text.alias("text"))
    )


def followed(
    risk: DataFrame, before: DataFrame, admissions: DataFrame, as_of: datetime, days: int
) -> DataFrame:
    """Build subject_id, hadm_id, score, alerted, basis, as_of: the last score of each patient of
    this night or an earlier one, until `days` days after discharge.

    before: this table of the night before. admissions: from `in_house.admissions_at`; patients
    whose admission is no longer in it are dropped. alerted: on any night of the same basis.
    """
    tonight = risk.select(
        "subject_id", "hadm_id", "score", F.col("alert").alias("alerted"), "basis", "as_of"
    )
    earlier = before.where("alerted").select("hadm_id", "basis", F.lit(True).alias("earlier"))
    alerted = F.col("alerted") | F.coalesce("earlier", F.lit(False))
    updated = tonight.join(earlier, ["hadm_id", "basis"], "left").withColumn("alerted", alerted)
    over = F.col("dischtime") < timestamp(as_of) - F.expr(f"INTERVAL {days} DAYS")
    to_follow = admissions.where(~F.coalesce(over, F.lit(False))).select("hadm_id")
    return (
        updated.select(*tonight.columns)
        .unionByName(before.join(tonight, "hadm_id", "left_anti").select(*tonight.columns))
        .join(to_follow, "hadm_id", "left_semi")
    )


def outcomes(
    followed: DataFrame, labelled: DataFrame, as_of: datetime, basis: str, days: float
) -> DataFrame:
    """Build subject_id, hadm_id, score, alerted, label, dischtime, and other columns of `followed`:
    the followed patients with a score of this basis and a settled outcome.

    An outcome is settled `days` days after discharge, also if the patient is readmitted sooner. The
    outcomes known before that day are readmissions only, and would make any rate too high. A
    patient who died in the house, or within `days` days without a readmission (`label.death`), has
    no outcome.

    labelled: `cohort.label_admissions` of `in_house.admissions_at`.
    """
    return (
        followed.where(F.col("basis") == basis)
        .join(settled(labelled, as_of, days), "hadm_id", "inner")
        .select(*followed.drop("basis", "as_of").columns, "label", "dischtime")
    )


def settled(labelled: DataFrame, as_of: datetime, days: float) -> DataFrame:
    """Build hadm_id, label, dischtime of the admissions with a settled outcome; see `outcomes`."""
    passed = F.unix_micros(timestamp(as_of)) - F.unix_micros("dischtime") >= int(days * DAY)
    known = F.col("exclusion").isNull() & F.col("label").isNotNull()
    return labelled.where(known & passed).select("hadm_id", "label", "dischtime")


def _alerted(alert: AlertRule, day: Column) -> Column:
    may = F.lit(True) if alert.days is None else F.col("day_of_stay") <= alert.days
    if alert.rule == "capacity":
        place = F.row_number().over(Window.partitionBy(may).orderBy("rank"))
        return may & (place <= int(alert.value))
    alerted = F.lit(False)
    for index, threshold in enumerate(alert.thresholds):
        if threshold is not None:
            alerted = F.when(day == index, F.col("listed") >= threshold).otherwise(alerted)
    return may & alerted
