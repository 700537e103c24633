"""Select the patients in the house at one time, and those of their notes that a night may read.

Every function takes `as_of`, a time of the hospital's own clock, and uses only what was recorded by
then. So any past night can be computed again. MIMIC's times have no time zone and are compared as
they are written, so a clock change has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyspark.sql import Column, DataFrame, Observation, Window
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.nightly.check_time import DataTimes
from readmit_spark.notes.note_rule import (
    NoteRule,
    available_from,
    count_reasons,
    note_order,
    time_counts,
    timestamp,
)
from readmit_spark.notes.stay_kinds import is_newborn, is_no_admission

_IDS = ("subject_id", "hadm_id")
_LAST = "last"
_REASONS = (
    "text_missing", "without_a_time", "not_yet_written", "marked_as_error", "discharge_summary",
    "chartdate_unparsed", "after_the_window", "before_the_window", "usable",
)  # fmt: skip


def admissions_at(admissions: DataFrame, as_of: datetime) -> DataFrame:
    """Return ADMISSIONS as recorded at `as_of`: without later admissions, and with DISCHTIME and
    DEATHTIME null if they are later."""
    return _without_later_ends(admissions.where(F.col("admittime") <= timestamp(as_of)), as_of)


def in_house(admissions: DataFrame, as_of: datetime, config: Config) -> DataFrame:
    """Build subject_id, hadm_id, admittime, day_of_stay (1 on the day of admission): one row for
    each admission that has not ended, newborns and observation stays left out.

    admissions: from `admissions_at`. Admissions that may have ended are left out; `house_facts`
    counts them.
    """
    present = _not_ended(config) & ~_uncertain()
    day = F.datediff(timestamp(as_of), F.to_date("admittime")) + 1
    return admissions.where(present).select(*_IDS, "admittime", day.alias("day_of_stay"))


@dataclass(frozen=True)
class HouseFacts:
    """n: admissions in the house. uncertain: those that may be in it and are left out, because a
    time of theirs is not understood, or the end lies before ADMITTIME. times: of all admissions."""

    n: int
    uncertain: int
    times: DataTimes


def house_facts(admissions: DataFrame, as_of: datetime, config: Config) -> HouseFacts:
    """Count the house and find the first and the last ADMITTIME, in one pass.

    admissions: all of them, also those without an ADMITTIME.
    """
    begun = F.col("unread.admittime") | (F.col("admittime") <= timestamp(as_of))
    there = begun & _not_ended(config)
    row = (
        _without_later_ends(admissions, as_of)
        .agg(
            F.count(F.when(there & ~_uncertain(), 1)),
            F.count(F.when(there & _uncertain(), 1)),
            # As text: pyspark would convert times to the local time zone.
            *(end("admittime").cast("string") for end in (F.min, F.max)),
        )
        .first()
    )
    assert row is not None  # an aggregate without groups always has one row
    return HouseFacts(row[0], row[1], DataTimes(_time(row[2]), _time(row[3])))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _without_later_ends(admissions: DataFrame, as_of: datetime) -> DataFrame:
    """Return the admissions with DISCHTIME, DEATHTIME and DIED null if later than `as_of`."""
    for name in ("dischtime", "deathtime", "died"):
        recorded = F.when(F.col(name) <= timestamp(as_of), F.col(name))
        admissions = admissions.withColumn(name, recorded)
    return admissions


def _not_ended(config: Config) -> Column:
    """Return whether the admission has no end that can be believed, and both ids."""
    ended = _at_or_after_admission("dischtime") | _at_or_after_admission("deathtime")
    return (
        ~ended
        & ~is_newborn(config)
        & ~is_no_admission(config)
        & F.col("subject_id").isNotNull()
        & F.col("hadm_id").isNotNull()
    )


def _at_or_after_admission(name: str) -> Column:
    return F.col(name).isNotNull() & F.coalesce(F.col(name) >= F.col("admittime"), F.lit(True))


def _uncertain() -> Column:
    """Return whether a time that decides who is in the house is not understood or impossible."""
    impossible = F.least("dischtime", "deathtime") < F.col("admittime")  # `least` ignores nulls
    return (
        F.col("unread.admittime")
        | F.col("unread.dischtime")
        | F.col("unread.deathtime")
        | F.coalesce(impossible, F.lit(False))
    )


def night_rule(config: Config, as_of: datetime) -> NoteRule:
    """Return the rule that selects a night's notes. UserError if nightly.window is `discharge`."""
    rule = NoteRule.of(config, config.nightly.window, as_of)
    if rule.window.days is None:
        raise UserError(
            "nightly.window: a patient in the house has no discharge summary yet; set Ndays"
        )
    return rule


def night_notes(
    notes: DataFrame,
    house: DataFrame,
    rule: NoteRule,
    counts: Observation,
    repeated: Observation,
) -> DataFrame:
    """Build subject_id, hadm_id, row_id, category, chartdate, charttime, available, digest, text:
    the notes that the night may read, one row for each ROW_ID.

    house: from `in_house`. rule: from `night_rule`. If a note was delivered several times, the
    version saved last counts. When the table is computed, `counts` gets the number of notes by
    reason, and `repeated` that of notes which could not be told from a version: their ROW_ID and
    time are those of a note with another text. `split_counts` reads `counts`.
    """
    admitted = F.broadcast(house.select(*_IDS, "admittime"))
    of_house = F.col("admittime").isNotNull()
    reason = F.when(of_house, F.coalesce(rule.reason(), F.lit("usable")))
    usable = (
        notes.drop("malformed", "unread")
        # Not an inner join, which may leave `notes` unread where nobody is in the house: those who
        # count the notes that were read need all of them.
        .join(admitted, list(_IDS), "left")
        .withColumn("reason", reason)
        .observe(
            counts,
            *count_reasons(F.col("reason"), _REASONS),
            *time_counts(F.col("reason") == "usable"),
            F.max(F.when(of_house, available_from())).cast("string").alias(_LAST),
        )
        .where("reason = 'usable'")
        .withColumn("available", available_from())
        .withColumn("digest", F.sha2("text", 256))
    )
    # Without a ROW_ID, notes with the same text are versions of one note.
    version = Window.partitionBy(*_IDS, F.coalesce(F.col("row_id").cast("string"), "digest"))
    newest_first = version.orderBy(F.desc("available"), F.desc("digest"))
    other_text = (
        (F.col("version") > 1)
        & F.col("row_id").isNotNull()
        & (F.col("available") == F.col("newest.available"))
        & (F.col("digest") != F.col("newest.digest"))
    )
    return (
        usable.withColumn("version", F.row_number().over(newest_first))
        .withColumn("newest", F.first(F.struct("available", "digest")).over(newest_first))
        .observe(repeated, F.count(F.when(other_text, 1)).alias("repeated_row_id"))
        .where("version = 1")
        .select(
            *_IDS, "row_id", "category", "chartdate", "charttime", "available", "digest", "text"
        )
    )


def split_counts(counts: Observation) -> tuple[dict[str, int], datetime | None]:
    """Return the number of notes by reason, and the time of the last note of any reason."""
    found = dict(counts.get)
    return found, _time(found.pop(_LAST))


def document_digests(notes: DataFrame) -> DataFrame:
    """Build subject_id, hadm_id, n_notes, document: one row for each admission.

    `document` is a digest of the admission's notes in order. It changes if any of them changes.
    """
    note = F.struct(*note_order(), "digest")
    ordered = F.array_sort(F.collect_list(note))
    marks = F.transform(
        ordered, lambda n: F.concat_ws(":", n["row_id"].cast("string"), n["digest"])
    )
    return notes.groupBy(*_IDS).agg(
        F.count(F.lit(1)).cast("int").alias("n_notes"),
        F.sha2(F.concat_ws(",", marks), 256).alias("document"),
    )


def document_notes(notes: DataFrame, documents: DataFrame) -> DataFrame:
    """Build hadm_id, document, notes (row_id, category, text; in order) for these `documents`."""
    note = F.struct(*note_order(), "digest", "category", "text")
    ordered = F.array_sort(F.collect_list(note))
    fields = F.transform(ordered, lambda n: F.struct(n["row_id"], n["category"], n["text"]))
    return (
        notes.join(F.broadcast(documents.select("hadm_id", "document")), "hadm_id", "inner")
        .groupBy("hadm_id", "document")
        .agg(fields.alias("notes"))
    )
