"""Prepare: from the hospital's tables to cohort, exclusions, subgroups, documents and chunks."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import required
from readmit_spark.errors import UserError
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.chunks_table import chunk_rows, chunks_table, document_facts
from readmit_spark.notes.cohort import (
    cohort_table,
    exclusions_table,
    label_admissions,
)
from readmit_spark.notes.demographics import subgroups_table
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.notes.windows import parse_window
from readmit_spark.storage.check_csv import check_records, expected_records, large_csv_bytes
from readmit_spark.storage.input_tables import (
    read_demographics,
    read_notes,
    read_patients,
)
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.run import Run

STAGES = 3


def prepare(run: Run, tokenizer: ChunkTokenizer) -> dict[str, Any]:
    """Publish the cohort, exclusions, subgroups, documents and chunks.

    Return the manifest's facts, with the numbers of rows that were read or left out. Raise a
    UserError for a missing or damaged table, or an unknown window.
    """
    config = run.config
    for name in config.windows:
        parse_window(name)
    # A missing file or column is an error before any work.
    notes = read_notes(run.spark, required(config.data.notes, "data.notes"), Reading.of(config))
    with run.stage("admissions: labels and split"):
        labelled, admission_counts = _admissions(run)
        cohort = run.write_table(cohort_table(labelled, config), "cohort")
        run.write_table(exclusions_table(labelled), "exclusions")
        run.write_table(_subgroups(run, cohort), "subgroups")
    with run.stage("notes: documents, chunks, tokens"):
        _warn_if_large(run)
        note_counts = _notes(run, notes, tokenizer, labelled, cohort)
    with run.stage("publish"):
        return run.publish(
            {
                "tokenizer": tokenizer.fingerprint,
                "admissions": admission_counts,
                "notes": note_counts,
            }
        )


def _admissions(run: Run) -> tuple[DataFrame, dict[str, int]]:
    """Return all admissions with labels, as a temporary table, and counts of the input rows."""
    distinct, rows = all_admissions(run.spark, run.config)
    labelled = run.write_temp(label_admissions(distinct, run.config), "admissions")
    unparsed = [name for name in labelled.columns if name.endswith("_unparsed")]
    counts = labelled.agg(
        F.count(F.lit(1)).alias("distinct"),
        *(F.count(F.when(F.col(name), 1)).alias(name) for name in unparsed),
    ).first()
    assert counts is not None  # an aggregate without groups always has one row
    return labelled, {
        "rows": rows,
        "duplicate_rows": rows - counts["distinct"],
        **{name: counts[name] for name in unparsed},
    }


def _warn_if_large(run: Run) -> None:
    path = required(run.config.data.notes, "data.notes")
    size = large_csv_bytes(run.spark, path, "data.notes")
    if size:
        run.say(
            f"data.notes: {path} has {size >> 20:,} MB and is read by one task, because texts span "
            "lines; jobs/ingest.py makes Parquet of it once, which all tasks read"
        )


def _subgroups(run: Run, cohort: DataFrame) -> DataFrame:
    data = run.config.data
    reading = Reading.of(run.config)
    people = read_demographics(run.spark, required(data.admissions, "data.admissions"), reading)
    patients = read_patients(run.spark, data.patients, reading) if data.patients else None
    return subgroups_table(cohort, people, patients)


def _notes(
    run: Run,
    notes: DataFrame,
    tokenizer: ChunkTokenizer,
    labelled: DataFrame,
    cohort: DataFrame,
) -> dict[str, int]:
    """Write the tables chunks and documents; return counts of the notes."""
    config = run.config
    path = required(config.data.notes, "data.notes")
    counts, repeated = Observation("notes"), Observation("repeated")
    expected = expected_records(run.spark, path, "data.notes")
    documents = documents_table(notes, cohort, labelled, config, counts, repeated)
    # Both tables come from one pass over the texts. Its rows are written to disk, so that memory
    # does not grow with the cohort.
    rows = run.write_temp(chunk_rows(documents, config.chunk, tokenizer), "rows")
    found = counts.get | repeated.get
    run.write_table(chunks_table(rows), "chunks")
    run.write_table(document_facts(rows), "documents")
    if found["notes"] == 0:
        raise UserError(f"data.notes: {path} has no rows")
    check_records(path, "data.notes", expected, found["notes"], found.pop("malformed"))
    return found
