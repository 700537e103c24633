"""The night's result: each patient's risk, what drives it, and how it got here."""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from readmit_spark.nightly.alerts import AlertRule
from readmit_spark.nightly.in_house import moment
from readmit_spark.notes.cohort import DAY
from readmit_spark.scoring.score_chunks import vote
from readmit_spark.storage.manifests import Night

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
    """The `patient_risk` table (docs/tables.md): one row a scored patient in the house.

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

    A chunk adds p / c, and the chunk with the maximum (the first of equals) also the maximum, all
    divided by 1 + n / c (`evaluation.vote.contributions`). `share` is this divided by the score, so
    the shares of an admission's chunks sum to 1.
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


def passage_texts(risk: DataFrame, text: DataFrame) -> DataFrame:
    """row_id, start, end, text: what the drivers' passages say. text: the night's notes."""
    places = risk.select("hadm_id", F.explode("drivers.passages").alias("passages")).select(
        "hadm_id", F.explode("passages").alias("p")
    )
    said = F.expr("substring(text, p.start + 1, p.end - p.start)")
    return (
        places.join(text.select("hadm_id", "row_id", "text"), "hadm_id", "inner")
        .where(F.col("p.row_id").eqNullSafe(F.col("row_id")))
        .select("p.row_id", "p.start", "p.end", said.alias("text"))
    )


def followed(
    risk: DataFrame, before: DataFrame, known: DataFrame, as_of: datetime, days: int
) -> DataFrame:
    """subject_id, hadm_id, score, alerted, basis, as_of: the last score of each patient on this
    list or an earlier one, until `days` days after discharge; alerted: on any night of that basis.

    before: the table of the night before. known: ADMISSIONS as it stood (`night.known_by`): an
    admission that is no longer in it is dropped.
    """
    tonight = risk.select(
        "subject_id", "hadm_id", "score", F.col("alert").alias("alerted"), "basis", "as_of"
    )
    was = before.where("alerted").select("hadm_id", "basis", F.lit(True).alias("was"))
    alerted = F.col("alerted") | F.coalesce("was", F.lit(False))
    updated = tonight.join(was, ["hadm_id", "basis"], "left").withColumn("alerted", alerted)
    gone = F.col("dischtime") < moment(as_of) - F.expr(f"INTERVAL {days} DAYS")
    still = known.where(~F.coalesce(gone, F.lit(False))).select("hadm_id")
    return (
        updated.select(*tonight.columns)
        .unionByName(before.join(tonight, "hadm_id", "left_anti").select(*tonight.columns))
        .join(still, "hadm_id", "left_semi")
    )


def outcomes(
    followed: DataFrame, labelled: DataFrame, as_of: datetime, basis: str, days: float
) -> DataFrame:
    """subject_id, hadm_id, score, alerted, label, dischtime: of the followed patients with a score
    of this basis, those whose outcome is known by now: `days` days have passed since discharge. Who
    is back sooner waits as well: before that, all known outcomes are readmissions.

    labelled: `cohort.label_admissions` of ADMISSIONS as it stood. A patient who died in the house
    has no outcome.
    """
    passed = F.unix_micros(moment(as_of)) - F.unix_micros("dischtime") >= int(days * DAY)
    settled = labelled.where(F.col("exclusion").isNull() & F.col("dischtime").isNotNull() & passed)
    return (
        followed.where(F.col("basis") == basis)
        .join(settled.select("hadm_id", "label", "dischtime"), "hadm_id", "inner")
        .select("subject_id", "hadm_id", "score", "alerted", "label", "dischtime")
    )


def risk_before(spark: SparkSession, previous: Night | None) -> DataFrame:
    """What `patient_risk` needs of the night before; no rows where there was none."""
    return _table(
        spark, previous, "patient_risk",
        "hadm_id bigint, score double, basis string, "
        "history array<struct<as_of: timestamp, score: double, basis: string>>",
    )  # fmt: skip


def followed_before(spark: SparkSession, previous: Night | None) -> DataFrame:
    return _table(
        spark, previous, "followed",
        "subject_id bigint, hadm_id bigint, score double, alerted boolean, basis string, "
        "as_of timestamp",
    )  # fmt: skip


def notes_before(spark: SparkSession, previous: Night | None) -> DataFrame:
    return _table(spark, previous, "notes", "hadm_id bigint, row_id bigint, digest string")


def _table(spark: SparkSession, night: Night | None, name: str, schema: str) -> DataFrame:
    return night.table(name) if night else spark.createDataFrame([], schema)


def _alerted(alert: AlertRule) -> Column:
    if alert.rule == "capacity":
        return F.col("rank") <= int(alert.value)
    return F.lit(False) if alert.threshold is None else F.col("score") >= alert.threshold
