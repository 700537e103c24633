"""Prepare: from the hospital's tables to cohort, exclusions, subgroups, documents and chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.chunks_table import chunk_rows, chunks_table, document_facts
from readmit_spark.notes.cohort import (
    cohort_table,
    died_after_discharge,
    exclusions_table,
    label_admissions,
    unlabelled_table,
)
from readmit_spark.notes.demographics import subgroups_table
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.notes.made_of import made_of
from readmit_spark.notes.note_rule import timestamp
from readmit_spark.notes.outcome import (
    days_between,
    end_of_follow_up,
    last_event,
    outcome_counts,
)
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.notes.windows import parse_window
from readmit_spark.storage.check_csv import large_csv_bytes
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.codes import known_types
from readmit_spark.storage.input_tables import (
    read_demographics,
    read_notes,
    read_patients,
    read_sites,
)
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.run import Run
from readmit_spark.storage.table_source import ingested_format
from readmit_spark.storage.text_ids import TABLE, ids_of_inputs
from readmit_spark.storage.unread import check_row_ids, report_unread, unread_counts

STAGES = 3
_LARGEST_OPEN_SHARE = 0.01  # of the stays, whose follow-up may end with the data before it is said


def prepare(run: Run, tokenizer: ChunkTokenizer) -> dict[str, Any]:
    """Publish the cohort, exclusions, subgroups, documents and chunks.

    Return the manifest's facts, with the numbers of rows that were read or left out. Raise a
    UserError for a missing or damaged table.
    """
    config = run.config
    # A missing file or column is an error before any work.
    read_notes(run.spark, required(config.data.notes, "data.notes"), Reading.of(config))
    with run.stage("admissions: labels and split"):
        labelled, admission_counts, outcomes = _admissions(run)
        cohort = run.write_table(cohort_table(*_with_sites(run, labelled)), "cohort")
        run.write_table(exclusions_table(labelled), "exclusions")
        run.write_table(unlabelled_table(labelled), "unlabelled")
        _warn_if_follow_up_ends(run, labelled)
        run.write_table(_subgroups(run, cohort, labelled), "subgroups")
    with run.stage("notes: documents, chunks, tokens"):
        _warn_if_large(run)
        _warn_of_radiology_alone(run)
        note_counts = _notes(run, tokenizer, labelled, cohort)
        ids = ids_of_inputs(run)
        if ids is not None:
            run.write_table(ids, TABLE)
    with run.stage("publish"):
        return run.publish(
            {
                "made_of": made_of(run.spark, config, tokenizer),
                "tokenizer": tokenizer.fingerprint,
                "admissions": admission_counts,
                "outcomes": outcomes,
                "notes": note_counts,
                "notes_format": ingested_format(
                    run.spark, required(config.data.notes, "data.notes")
                ),
            }
        )


def _admissions(run: Run) -> tuple[DataFrame, dict[str, int], dict[str, int]]:
    """Return all admissions with labels, as a temporary table, and counts of the input rows and of
    the outcomes."""
    distinct, read = all_admissions(run)
    patients = _patients(run)
    _check_patients(run, patients)
    known_until = end_of_follow_up(distinct, run.config)
    labels = label_admissions(distinct, run.config, patients, known_until)
    labelled = run.write_temp(labels, "admissions")
    row = labelled.agg(
        F.count(F.lit(1)).alias("distinct"),
        F.count(F.when(died_after_discharge(), 1)).alias("died_after_discharge"),
        *outcome_counts(run.config),
    ).first()
    assert row is not None  # an aggregate without groups always has one row
    outcomes = row.asDict()
    read["duplicate_rows"] = read["rows"] - outcomes.pop("distinct")
    read["died_after_discharge"] = outcomes.pop("died_after_discharge")
    return labelled, read, outcomes


def _with_sites(run: Run, labelled: DataFrame) -> tuple[DataFrame, Config, Sequence[str]]:
    """Return the arguments of `cohort_table`; with `split.by=site`, the sites of all admissions.

    UserError if a site of the configuration has no admission.
    """
    config = run.config
    if config.split.by != "site":
        return labelled, config, ()
    sites = read_sites(run.spark, config)
    found = sorted(row.site for row in sites.select("site").distinct().collect() if row.site)
    for key in ("validation_sites", "test_sites"):
        unknown = sorted(set(getattr(config.split, key) or ()) - set(found))
        if unknown:
            raise UserError(
                f"split.{key}: no admission has the site {unknown[0]!r} in "
                f"{config.split.site_column}; it has {', '.join(found[:10])}"
            )
    without = sites.where("site is null").count()
    if without:
        run.say(f"split.site_column: {without:,} admissions have no site and are on no side")
    return labelled.join(sites, "hadm_id", "left"), config, found


def _warn_if_follow_up_ends(run: Run, labelled: DataFrame) -> None:
    """Say how many labels 0 may only mean that the data end before the horizon."""
    last = last_event(labelled) if run.config.label.known_until is None else None
    if last is None:
        return
    horizon = run.config.label.horizon_days
    left = days_between(F.col("dischtime"), timestamp(last))
    is_open = (F.col("label") == 0) & (left < horizon)
    row = (
        labelled.where(F.col("exclusion").isNull())
        .agg(F.count(F.when(is_open, 1)).alias("open"), F.count(F.lit(1)).alias("all"))
        .first()
    )
    assert row is not None  # an aggregate without groups always has one row
    open_stays, stays = row.open, row.all
    if open_stays > _LARGEST_OPEN_SHARE * stays:
        run.say(
            f"label.known_until is not set: {open_stays:,} of {stays:,} stays end less than "
            f"{horizon:g} days before the last event of data.admissions ({last:%Y-%m-%d}) and "
            "count as not readmitted; set label.known_until=auto, unless dates were shifted"
        )


def _stored_late(notes: int, available: str) -> str:
    counted = (
        "they are left out"
        if available == "stored"
        else "with window.available=charted they count, though nobody could read them in time"
    )
    late = f"{notes:,} notes were charted in an early window and stored after it"
    return f"data.notes: {late}; {counted}"


def _warn_if_large(run: Run) -> None:
    path = required(run.config.data.notes, "data.notes")
    size = large_csv_bytes(run.spark, path, "data.notes")
    if size:
        run.say(
            f"data.notes: {path} has {size >> 20:,} MB and is read by one task, because texts span "
            "lines; jobs/ingest.py makes Parquet of it once, which all tasks read"
        )


def _notes_format(run: Run) -> str | None:
    return ingested_format(run.spark, required(run.config.data.notes, "data.notes"))


def _warn_of_radiology_alone(run: Run) -> None:
    early = [name for name in run.config.windows if parse_window(name).days is not None]
    if early and _notes_format(run) == "mimic4":
        run.say(
            f"windows: {', '.join(early)} hold radiology alone: MIMIC-IV has no other notes but "
            "discharge summaries, so training on them is refused; set windows=[discharge] and "
            "train.window=discharge"
        )


def _subgroups(run: Run, cohort: DataFrame, labelled: DataFrame) -> DataFrame:
    path = required(run.config.data.admissions, "data.admissions")
    people = read_demographics(run.spark, path, Reading.of(run.config))
    patients, types = _patients(run), known_types(run.config.codes)
    return subgroups_table(cohort, people, patients, types, labelled)


def _patients(run: Run) -> DataFrame | None:
    path = run.config.data.patients
    return read_patients(run.spark, path, Reading.of(run.config)) if path else None


def _check_patients(run: Run, patients: DataFrame | None) -> None:
    """Raise a UserError if too many values of data.patients are not understood."""
    if patients is None:
        return
    counts = patients.agg(*unread_counts(patients)).first()
    assert counts is not None  # an aggregate without groups always has one row
    data = run.config.data
    path, key = required(data.patients, "data.patients"), "data.patients"
    report_unread(key, path, counts.asDict(), data.max_unread_share, run.say)


def _notes(
    run: Run, tokenizer: ChunkTokenizer, labelled: DataFrame, cohort: DataFrame
) -> dict[str, int]:
    """Write the tables chunks and documents; return counts of the notes."""
    config = run.config
    counts, repeated = Observation("notes"), Observation("repeated")
    preparation = Preparation.of(config, tokenizer)
    run.say(preparation.rules.title(tokenizer.max_tokens))
    source = read_checked_notes(run.spark, config)
    documents = documents_table(source.rows, cohort, labelled, config, counts, repeated)
    # Both tables come from one pass over the texts. Its rows are written to disk, so that memory
    # does not grow with the cohort.
    rows = run.write_temp(chunk_rows(documents, preparation), "rows")
    found = source.check(run.say) | counts.get | repeated.get
    if found["notes"] == 0:
        raise UserError(f"data.notes: {source.path} has no rows")
    check_row_ids(
        source.path,
        found["repeated_row_id"],
        found["notes"],
        config.data.max_unread_share,
        run.say,
    )
    if found["stored_after_the_window"]:
        run.say(_stored_late(found["stored_after_the_window"], config.window_available))
    if not found["discharge_summaries"] and "discharge" in config.windows:
        raise UserError(
            f"windows: `discharge` needs discharge summaries, and no note of {source.path} is one: "
            f"no CATEGORY is {' or '.join(config.codes.discharge_summary)}; set "
            "codes.discharge_summary, or leave `discharge` out of windows"
        )
    run.write_table(chunks_table(rows), "chunks")
    run.write_table(document_facts(rows), "documents")
    return found
