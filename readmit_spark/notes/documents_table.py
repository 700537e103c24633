"""Documents: the notes of an admission that a window may read, in order, as one text."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.notes.windows import Window, parse_window

DISCHARGE = "discharge summary"


def documents_table(
    notes: DataFrame,
    cohort: DataFrame,
    known: DataFrame,
    config: Config,
    counts: Observation,
    repeated: Observation,
) -> DataFrame:
    """window, subject_id, hadm_id, label, split, n_notes, text: one row an admission and window
    that has a note.

    Notes are joined on (subject_id, hadm_id); those without a text are left out, and in the default
    profile those marked as errors, and discharge summaries in early windows. Order: CHARTDATE,
    CHARTTIME (null last), ROW_ID; a note delivered twice counts once. `known` holds the ids of all
    admissions, so that a note of an unknown one can be told from a note of an excluded one;
    `counts` and `repeated`, of the notes delivered twice, fill while the table is computed.
    """
    windows = [parse_window(name) for name in config.windows]
    ids = ["subject_id", "hadm_id"]
    admissions = known.select(*ids, F.lit(True).alias("known")).join(
        cohort.select(*ids, F.to_date("admittime").alias("admitdate"), "label", "split"),
        on=ids,
        how="left",
    )
    joined = notes.join(F.broadcast(admissions), on=ids, how="left")
    readable = readable_notes(config)
    usable = readable & F.col("admitdate").isNotNull()
    day = F.datediff("chartdate", "admitdate")
    wanted = [_wanted(window, F.col("day"), F.col("category"), config) for window in windows]
    useful = (
        joined.observe(counts, *_counts(readable))
        .where(usable)
        .withColumn("day", day)
        .where(_any(wanted))
    )
    note = F.struct(*note_order(), "text", "day", "category")
    gathered = useful.groupBy(*ids).agg(
        F.array_sort(F.array_distinct(F.collect_list(note))).alias("notes"),
        F.count(F.lit(1)).alias("delivered"),
        F.first("label").alias("label"),
        F.first("split").alias("split"),
    )
    more = F.sum(F.col("delivered") - F.size("notes"))
    gathered = gathered.observe(repeated, F.coalesce(more, F.lit(0)).alias("identical_duplicate"))
    per_window = F.array(*(_of_window(window, config) for window in windows))
    return (
        gathered.select(*ids, "label", "split", F.explode(per_window).alias("document"))
        .where(F.size("document.notes") > 0)
        .select(
            F.col("document.window").alias("window"),
            *ids,
            "label",
            "split",
            F.size("document.notes").alias("n_notes"),
            F.concat_ws(" ", F.transform("document.notes", lambda note: note["text"])).alias(
                "text"
            ),
        )
    )


def window_notes(notes: DataFrame, cohort: DataFrame, window: str, config: Config) -> DataFrame:
    """subject_id, hadm_id, notes (row_id, category, text): of the admissions in `cohort`, the notes
    that `documents_table` makes the window's document of, in its order."""
    ids = ["subject_id", "hadm_id"]
    admitted = cohort.select(*ids, F.to_date("admittime").alias("admitdate"))
    mine = notes.join(F.broadcast(admitted), on=ids, how="inner").where(readable_notes(config))
    note = F.struct(*note_order(), "text", "day", "category")
    gathered = (
        mine.withColumn("day", F.datediff("chartdate", "admitdate"))
        .groupBy(*ids)
        .agg(F.array_sort(F.array_distinct(F.collect_list(note))).alias("notes"))
        .withColumn("notes", _of_window(parse_window(window), config)["notes"])
    )
    bare = F.transform("notes", lambda n: F.struct(n["row_id"], n["category"], n["text"]))
    return gathered.where(F.size("notes") > 0).select(*ids, bare.alias("notes"))


def note_order() -> list[Column]:
    """The order of an admission's notes, as the first fields of a struct to sort by: CHARTDATE,
    CHARTTIME (null last), ROW_ID. Structs compare field by field, nulls first; the flags put them
    last."""
    return [
        F.col("chartdate").isNull().alias("no_date"),
        F.col("chartdate"),
        F.col("charttime").isNull().alias("no_time"),
        F.col("charttime"),
        F.col("row_id"),
    ]


def readable_notes(config: Config) -> Column:
    """Whether a note has a text, and in the default profile is not marked as an error."""
    there = F.col("text").isNotNull()
    return there & ~F.col("iserror") if config.profile == "default" else there


def _wanted(window: Window, day: Column, category: Column, config: Config) -> Column:
    summary = F.coalesce(category == DISCHARGE, F.lit(False))
    if window.days is None:
        return summary
    early = F.coalesce(day < window.days, F.lit(False))
    return early & ~summary if config.profile == "default" else early


def _any(conditions: Sequence[Column]) -> Column:
    result = conditions[0]
    for condition in conditions[1:]:
        result = result | condition
    return result


def _of_window(window: Window, config: Config) -> Column:
    """struct(window, notes): of the sorted notes those that the window may read."""
    mine = F.filter("notes", lambda n: _wanted(window, n["day"], n["category"], config))
    if window.days is None:
        mine = F.slice(mine, -1, 1)
    return F.struct(F.lit(window.name).alias("window"), mine.alias("notes"))


def _counts(readable: Column) -> list[Column]:
    """What the run reports about the notes it read; each note is counted under one reason."""
    reason = (
        F.when(F.col("hadm_id").isNull(), "no_hadm_id")
        .when(F.col("known").isNull(), "unknown_admission")
        .when(F.col("admitdate").isNull(), "excluded_admission")
        .when(F.col("text").isNull(), "text_missing")
        .when(~readable, "marked_as_error")
        .when(F.col("chartdate").isNull(), "chartdate_unparsed")
    )
    names = (
        "no_hadm_id", "unknown_admission", "excluded_admission", "text_missing", "marked_as_error",
        "chartdate_unparsed",
    )  # fmt: skip
    return [
        F.count(F.lit(1)).alias("notes"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
        F.count(F.when(F.length("text") == 0, 1)).alias("text_empty"),
        *(F.count(F.when(reason == name, 1)).alias(name) for name in names),
    ]
