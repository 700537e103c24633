"""Documents: the notes of an admission that a window may hold, in order, joined to one text."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.notes.note_rule import (
    NoteRule,
    after_window,
    before_window,
    count_reasons,
    join_texts,
    note_order,
    time_counts,
    undated,
    unusable,
)
from readmit_spark.notes.windows import parse_window
from readmit_spark.storage.codes import is_one_of

_IDS = ("subject_id", "hadm_id")


def documents_table(
    notes: DataFrame,
    cohort: DataFrame,
    admissions: DataFrame,
    config: Config,
    counts: Observation,
    repeated: Observation,
) -> DataFrame:
    """Build window, subject_id, hadm_id, label, split, n_notes, text: one row for each admission
    and window with at least one note.

    Notes join on (subject_id, hadm_id). `note_rule.NoteRule` selects and orders them; a window of
    discharge summaries holds the last one only, and its addenda. A note delivered twice counts
    once. `admissions` has the ids of all admissions: it separates notes of excluded admissions from
    notes of unknown ones. `counts` (discharge summaries, and notes by reason) and `repeated` (notes
    delivered twice, notes with the ROW_ID of another, and addenda without a summary) are filled
    when the table is computed.
    """
    rules = [NoteRule.of(config, name) for name in config.windows]
    of_cohort = (
        _with_admission(notes, cohort, admissions)
        .observe(counts, *_counts(config))
        .where(F.col("admittime").isNotNull())
    )
    gathered = _gather(
        of_cohort,
        rules,
        F.count(F.lit(1)).alias("delivered"),
        F.first("label").alias("label"),
        F.first("split").alias("split"),
    )
    duplicates = F.coalesce(F.sum(F.col("delivered") - F.size("notes")), F.lit(0))
    documents = F.array(
        *(
            F.struct(F.lit(r.window.name).alias("window"), _in_window(r).alias("notes"))
            for r in rules
        )
    )
    return (
        gathered.observe(
            repeated,
            duplicates.alias("identical_duplicate"),
            F.coalesce(F.sum(_with_used_row_id()), F.lit(0)).alias("repeated_row_id"),
            F.coalesce(F.sum(_addenda_alone(rules)), F.lit(0)).alias("addendum_without_summary"),
        )
        .select(*_IDS, "label", "split", F.explode(documents).alias("document"))
        .select("*", "document.*")
        .where(F.size("notes") > 0)
        .select(
            "window", *_IDS, "label", "split", F.size("notes").alias("n_notes"),
            join_texts("notes").alias("text"),
        )
    )  # fmt: skip


def window_notes(notes: DataFrame, cohort: DataFrame, window: str, config: Config) -> DataFrame:
    """Build subject_id, hadm_id, notes (row_id, category, text): the notes of the document that
    `documents_table` makes for this window, in the same order.

    cohort: subject_id, hadm_id and admittime of the admissions.
    """
    rule = NoteRule.of(config, window)
    admitted = F.broadcast(cohort.select(*_IDS, "admittime"))
    gathered = _gather(notes.join(admitted, list(_IDS), "inner"), [rule])
    in_window = F.transform(
        _in_window(rule), lambda note: F.struct(note["row_id"], note["category"], note["text"])
    )
    return gathered.select(*_IDS, in_window.alias("notes"))


def _with_admission(notes: DataFrame, cohort: DataFrame, admissions: DataFrame) -> DataFrame:
    """Add owner, the subject of the note's admission, and for the owner's notes of the cohort
    admittime, label and split; else they are null."""
    facts = ("admittime", "label", "split")
    in_cohort = cohort.select(*_IDS, *facts)
    stays = admissions.select(*_IDS).join(in_cohort, on=list(_IDS), how="left")
    # Spark broadcasts the stays of one hospital. Those of a hundred would not fit into memory.
    joined = notes.join(stays.withColumnRenamed("subject_id", "owner"), on="hadm_id", how="left")
    own = F.col("owner") == F.col("subject_id")
    return joined.withColumns({name: F.when(own, F.col(name)) for name in facts})


def _gather(notes: DataFrame, rules: Sequence[NoteRule], *aggregates: Column) -> DataFrame:
    """Collect the notes that any rule accepts: one row per admission, with the array `notes`.

    Notes are sorted and distinct; the field `windows` of each names the windows that may hold it.
    """
    names = [F.when(rule.reason().isNull(), rule.window.name) for rule in rules]
    note = F.struct(*note_order(), "text", "category", "addendum", "windows")
    return (
        notes.withColumn("windows", F.array_compact(F.array(*names)))
        .where(F.size("windows") > 0)
        .groupBy(*_IDS)
        .agg(F.array_sort(F.array_distinct(F.collect_list(note))).alias("notes"), *aggregates)
    )


def _with_used_row_id() -> Column:
    """Return the number of gathered notes that differ from another one with the same ROW_ID."""
    row_ids = F.filter(F.transform("notes", lambda note: note["row_id"]), F.isnotnull)
    return F.size(row_ids) - F.size(F.array_distinct(row_ids))


def _in_window(rule: NoteRule) -> Column:
    """Return the gathered notes that the rule's window holds."""
    notes = F.filter("notes", lambda note: F.array_contains(note["windows"], rule.window.name))
    if rule.window.days is not None:
        return notes
    if rule.profile == "paper":
        return F.slice(notes, -1, 1)
    summary = F.slice(F.filter(notes, lambda note: ~note["addendum"]), -1, 1)
    return F.concat(
        summary, F.filter(notes, lambda note: _is_added(note, F.get(summary, F.lit(0))))
    )


def _is_added(note: Column, summary: Column) -> Column:
    """Return whether a note is an addendum of the day of `summary`, or of a later one."""
    later = F.coalesce(note["chartdate"] >= summary["chartdate"], note["no_date"])
    return note["addendum"] & summary.isNotNull() & later


def _addenda_alone(rules: Sequence[NoteRule]) -> Column:
    """Return the number of addenda of an admission that has no summary to which they belong."""
    for rule in rules:
        if rule.window.days is None and rule.profile != "paper":
            own = F.filter("notes", lambda note: F.array_contains(note["windows"], "discharge"))
            return F.when(F.forall(own, lambda note: note["addendum"]), F.size(own)).otherwise(0)
    return F.lit(0)


def _counts(config: Config) -> list[Column]:
    """Return the aggregates for the manifest. Each note counts under the first reason only."""
    admission = (
        F.when(F.col("hadm_id").isNull(), "no_hadm_id")
        .when(F.col("owner").isNull(), "unknown_admission")
        .when(~F.col("owner").eqNullSafe(F.col("subject_id")), "other_subject")
        .when(F.col("admittime").isNull(), "excluded_admission")
    )
    summary = is_one_of("category", config.codes.discharge_summary)
    reason = F.coalesce(admission, unusable(config.profile), undated(config.window_available))
    usable = reason.isNull()
    names = (
        "no_hadm_id", "unknown_admission", "other_subject", "excluded_admission", "text_missing",
        "marked_as_error", "chartdate_unparsed", "without_a_time",
    )  # fmt: skip
    counted = {
        "before_admission": usable & before_window(0),
        "before_the_window": usable & before_window(config.window.days_before),
        "stored_after_the_window": usable & _stored_late(config),
    }
    return [
        F.count(F.when(summary, 1)).alias("discharge_summaries"),
        F.count(F.when(F.length("text") == 0, 1)).alias("text_empty"),
        *count_reasons(reason, names),
        *time_counts(usable),
        *(F.count(F.when(condition, 1)).alias(name) for name, condition in counted.items()),
    ]


def _stored_late(config: Config) -> Column:
    """Return whether a note's CHARTDATE lies in the longest early window, and it could be read only
    after it."""
    days = max((parse_window(name).days or 0 for name in config.windows), default=0)
    late = ~after_window("charted", days) & after_window("stored", days)
    summary = is_one_of("category", config.codes.discharge_summary)
    return F.lit(days > 0) & ~summary & F.coalesce(late, F.lit(False))
