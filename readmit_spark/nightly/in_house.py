"""One night: who is in the house, and which of their notes are there to read.

Everything is a function of what was known at `as_of`, a time of the hospital's own clock (MIMIC's
times have no zone, and none is assumed: a day with 23 hours is a day). What was written later
changes nothing, so any past night can be computed again.
"""

from __future__ import annotations

from datetime import datetime

from pyspark.sql import Column, DataFrame, Observation, Window
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.notes.documents_table import DISCHARGE, note_order
from readmit_spark.notes.windows import parse_window


def moment(as_of: datetime) -> Column:
    """`as_of` as a timestamp. As text: pyspark would shift a datetime by this machine's zone."""
    return F.lit(as_of.isoformat(sep=" ")).cast("timestamp")


def known_by(admissions: DataFrame, as_of: datetime) -> DataFrame:
    """ADMISSIONS as it stood at `as_of`: later admissions are not there yet, later discharges and
    deaths have not happened."""
    now = moment(as_of)
    past = admissions.where(F.col("admittime") <= now)
    for name in ("dischtime", "deathtime"):
        past = past.withColumn(name, F.when(F.col(name) <= now, F.col(name)))
    return past


def in_house(known: DataFrame, as_of: datetime) -> DataFrame:
    """subject_id, hadm_id, admittime, day_of_stay (1 on the day of admission): the admissions of
    `known_by` that have not ended, newborns left out. A DISCHTIME that cannot be read is no proof
    of a stay: such a row is left out, and counted where the table is read."""
    here = (
        F.col("dischtime").isNull()
        & F.col("deathtime").isNull()
        & ~F.col("dischtime_unparsed")
        & ~F.col("admission_type").eqNullSafe("NEWBORN")
        & F.col("subject_id").isNotNull()
        & F.col("hadm_id").isNotNull()
    )
    day = F.datediff(moment(as_of), F.to_date("admittime")) + 1
    return known.where(here).select("subject_id", "hadm_id", "admittime", day.alias("day_of_stay"))


def night_notes(
    notes: DataFrame, house: DataFrame, as_of: datetime, window: str, counts: Observation
) -> DataFrame:
    """subject_id, hadm_id, row_id, category, chartdate, charttime, available, digest, text: the
    notes that the night may read, one row a ROW_ID.

    A note is available from its STORETIME, else its CHARTTIME, else the end of its CHARTDATE.
    Discharge summaries and notes marked as errors are out, and notes of the window's last day and
    later. Of a note that was delivered twice, the version saved last counts. `counts` fills while
    the table is computed.
    """
    days = parse_window(window).days
    if days is None:
        raise UserError("nightly.window: a patient in the house has no discharge summary; Ndays")
    ids = ["subject_id", "hadm_id"]
    mine = notes.drop("malformed").join(F.broadcast(house.select(*ids, "admittime")), ids, "inner")
    end_of_day = F.date_add("chartdate", 1).cast("timestamp")
    seen = mine.withColumn("available", F.coalesce("storetime", "charttime", end_of_day))
    reason = (
        F.when(F.col("text").isNull(), "text_missing")
        .when(F.col("available").isNull(), "without_a_time")
        .when(F.col("available") > moment(as_of), "not_yet_written")
        .when(F.col("iserror"), "marked_as_error")
        .when(F.col("category").eqNullSafe(DISCHARGE), "discharge_summary")
        .when(F.col("chartdate").isNull(), "chartdate_unparsed")
        .when(F.datediff("chartdate", F.to_date("admittime")) >= days, "after_the_window")
        .otherwise("usable")
    )
    reasons = (
        "text_missing", "without_a_time", "not_yet_written", "marked_as_error",
        "discharge_summary", "chartdate_unparsed", "after_the_window", "usable",
    )  # fmt: skip
    told = seen.withColumn("reason", reason).observe(
        counts, *(F.count(F.when(F.col("reason") == name, 1)).alias(name) for name in reasons)
    )
    usable = told.where("reason = 'usable'").withColumn("digest", F.sha2("text", 256))
    # A note without a ROW_ID is told from others by what it says.
    version = Window.partitionBy(*ids, F.coalesce(F.col("row_id").cast("string"), "digest"))
    last = F.row_number().over(version.orderBy(F.desc("available"), F.desc("digest")))
    return (
        usable.withColumn("version", last)
        .where("version = 1")
        .select(*ids, "row_id", "category", "chartdate", "charttime", "available", "digest", "text")
    )


def document_digests(notes: DataFrame) -> DataFrame:
    """subject_id, hadm_id, n_notes, document: a digest of each admission's notes, in their order,
    that changes with any of them."""
    mark = F.struct(*note_order(), "digest")
    ordered = F.array_sort(F.collect_list(mark))
    said = F.transform(ordered, lambda n: F.concat_ws(":", n["row_id"].cast("string"), n["digest"]))
    return notes.groupBy("subject_id", "hadm_id").agg(
        F.count(F.lit(1)).cast("int").alias("n_notes"),
        F.sha2(F.concat_ws(",", said), 256).alias("document"),
    )


def document_notes(notes: DataFrame, wanted: DataFrame) -> DataFrame:
    """hadm_id, document, notes (row_id, category, text; in order): the `wanted` documents."""
    note = F.struct(*note_order(), "digest", "category", "text")
    ordered = F.array_sort(F.collect_list(note))
    return (
        notes.join(F.broadcast(wanted.select("hadm_id", "document")), "hadm_id", "inner")
        .groupBy("hadm_id", "document")
        .agg(
            F.transform(ordered, lambda n: F.struct(n["row_id"], n["category"], n["text"])).alias(
                "notes"
            )
        )
    )
