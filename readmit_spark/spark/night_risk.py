"""The night's result: each patient's risk, what drives it, and how it got here."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.core.alerts import AlertRule
from readmit_spark.spark.night import moment
from readmit_spark.spark.score import vote

DRIVERS = 3  # chunks that are named; the first has the maximum


def patient_risk(
    chunks: DataFrame,
    documents: DataFrame,
    house: DataFrame,
    before: DataFrame,
    as_of: datetime,
    basis: str,
    c: float,
    alert: AlertRule,
) -> DataFrame:
    """The contract's `patient_risk`: one row a scored patient in the house.

    chunks: the night's, by document. documents: hadm_id, document, n_notes. before: the
    `patient_risk` of the night before. `basis` names all that makes scores comparable: scores of
    another basis are kept in `history` and compared with none.
    """
    votes = vote(
        chunks.where(F.col("probability").isNotNull())
        .join(documents.select("hadm_id", "document"), "document", "inner")
        .select("hadm_id", "chunk_index", "probability", "passages"),
        ["hadm_id"],
        c,
    )
    last = before.select(
        "hadm_id",
        F.when(F.col("basis") == basis, F.col("score")).alias("previous_score"),
        F.col("history").alias("earlier"),
    )
    now = F.struct(
        moment(as_of).alias("as_of"), F.col("score").alias("score"), F.lit(basis).alias("basis")
    )
    rank = F.row_number().over(Window.orderBy(F.desc("score"), "hadm_id"))
    risk = (
        votes.join(house, "hadm_id", "inner")
        .join(documents.select("hadm_id", "n_notes"), "hadm_id", "inner")
        .join(drivers(chunks, documents, votes, c), "hadm_id", "inner")
        .join(last, "hadm_id", "left")
        .withColumn("rank", rank)
    )
    return risk.select(
        moment(as_of).alias("as_of"),
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
        _alerted(alert).alias("alert"),
        F.lit(basis).alias("basis"),
        "drivers",
        F.concat(F.coalesce("earlier", F.array()), F.array(now)).alias("history"),
    )


def drivers(chunks: DataFrame, documents: DataFrame, votes: DataFrame, c: float) -> DataFrame:
    """hadm_id, drivers: the chunks that add most to the score, at most `DRIVERS`.

    A chunk adds p / c, and the one with the maximum (the first of equals) the maximum too, all over
    1 + n / c: `core.vote.contributions`. `share` is that over the score, so the shares of all of an
    admission's chunks sum to 1.
    """
    p, n = F.col("probability"), F.col("n_chunks")
    order = Window.partitionBy("hadm_id").orderBy(F.desc("probability"), "chunk_index")
    ranked = (
        chunks.where(p.isNotNull())
        .join(documents.select("hadm_id", "document"), "document", "inner")
        .join(votes.select("hadm_id", "n_chunks", "score"), "hadm_id", "inner")
        .withColumn("place", F.row_number().over(order))
        .where(F.col("place") <= DRIVERS)
    )
    adds = (p / c + F.when(F.col("place") == 1, p).otherwise(F.lit(0.0))) / (1 + n / c)
    share = F.when(F.col("score") > 0, adds / F.col("score")).otherwise(1 / n)
    driver = F.struct("place", "chunk_index", "probability", share.alias("share"), "passages")
    listed = F.array_sort(F.collect_list(driver))
    return ranked.groupBy("hadm_id").agg(
        F.transform(listed, lambda d: d.dropFields("place")).alias("drivers")
    )


def unscored(house: DataFrame, documents: DataFrame, risk: DataFrame) -> DataFrame:
    """subject_id, hadm_id, day_of_stay, reason (no_notes, too_short) of the others in the house."""
    reason = F.when(F.col("document").isNull(), "no_notes").otherwise("too_short")
    return (
        house.join(documents.select("hadm_id", "document"), "hadm_id", "left")
        .join(risk.select("hadm_id"), "hadm_id", "left_anti")
        .select("subject_id", "hadm_id", "day_of_stay", reason.alias("reason"))
    )


def new_notes(notes: DataFrame, notes_before: DataFrame) -> DataFrame:
    """hadm_id, row_id, category, charttime: notes that the night before did not read."""
    keys = ["hadm_id", "row_id", "digest"]
    known = notes_before.select(*keys)
    same = [notes[key].eqNullSafe(known[key]) for key in keys]
    return notes.join(known, same, "left_anti").select("hadm_id", "row_id", "category", "charttime")


def tracked(
    risk: DataFrame, before: DataFrame, known: DataFrame, as_of: datetime, days: float
) -> DataFrame:
    """subject_id, hadm_id, score, alerted, basis, as_of: the last score of every patient whose
    outcome is not known for longer than `days` days; alerted: on any night.

    known: ADMISSIONS as it stood (`night.known_by`). An admission that is no longer in it is
    dropped.
    """
    columns = ["subject_id", "hadm_id", "score", "alerted", "basis", "as_of"]
    tonight = risk.withColumnRenamed("alert", "alerted").select(*columns)
    was = before.select("hadm_id", F.col("alerted").alias("was"), F.col("basis").alias("its"))
    updated = tonight.join(was, "hadm_id", "left").withColumn(
        "alerted",
        F.col("alerted")
        | (F.coalesce("was", F.lit(False)) & F.col("its").eqNullSafe(F.col("basis"))),
    )
    rest = before.join(tonight.select("hadm_id"), "hadm_id", "left_anti")
    old = F.col("dischtime") < moment(as_of) - F.make_dt_interval(F.lit(int(days)))
    kept = known.where(~F.coalesce(old, F.lit(False))).select("hadm_id")
    return (
        updated.select(*columns)
        .unionByName(rest.select(*columns))
        .join(kept, "hadm_id", "left_semi")
    )


def outcomes(tracked: DataFrame, labelled: DataFrame, as_of: datetime, days: float) -> DataFrame:
    """subject_id, hadm_id, score, alerted, label, dischtime: of the tracked patients, those whose
    outcome is known by now: back within `days` days, or `days` days have gone by since discharge.

    labelled: `cohort.label_admissions` of ADMISSIONS as it stood.
    """
    over = F.col("dischtime") + F.make_dt_interval(F.lit(int(days))) <= moment(as_of)
    settled = labelled.where(
        F.col("exclusion").isNull()
        & F.col("dischtime").isNotNull()
        & ((F.col("label") == 1) | over)
    )
    return tracked.join(settled.select("hadm_id", "label", "dischtime"), "hadm_id", "inner").select(
        "subject_id", "hadm_id", "score", "alerted", "label", "dischtime"
    )


def _alerted(alert: AlertRule) -> Column:
    if alert.rule == "capacity":
        return F.col("rank") <= int(alert.value)
    return F.lit(False) if alert.threshold is None else F.col("score") >= alert.threshold
