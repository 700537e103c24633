"""Prepare: raw tables to cohort, exclusions, documents and chunks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required, to_dict
from readmit_spark.errors import UserError
from readmit_spark.notes.chunks_table import chunk_rows, chunks_table, document_facts
from readmit_spark.notes.cohort import (
    cohort_table,
    distinct_admissions,
    exclusions_table,
    label_admissions,
)
from readmit_spark.notes.demographics import subgroups_table
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.notes.windows import parse_window
from readmit_spark.progress import Progress
from readmit_spark.storage.check_csv import check_records, expected_records, large_csv_bytes
from readmit_spark.storage.input_tables import (
    read_admissions,
    read_demographics,
    read_notes,
    read_patients,
)
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.session import tasks_done

STAGES = 3


def prepare(
    spark: SparkSession,
    config: Config,
    tokenizer: ChunkTokenizer,
    progress: Progress,
    now: Callable[[], datetime],
) -> dict[str, Any]:
    """Publishes the tables under output.root and gives the manifest's facts: counts of what was
    read, left out and made."""
    for name in config.windows:
        parse_window(name)
    started = now()
    publication = Publication(spark, config.output_root, "prepare", config.output.overwrite, now)
    try:
        # Not there, or without its columns: said before any work.
        source = read_notes(spark, required(config.data.notes, "data.notes"))
        with progress.stage("admissions: labels and split", tasks_done(spark)):
            labelled, admissions = _admissions(spark, config, publication)
            cohort = publication.write_table(cohort_table(labelled, config), "cohort")
            publication.write_table(exclusions_table(labelled), "exclusions")
            publication.write_table(_subgroups(spark, config, cohort), "subgroups")
        with progress.stage("notes: documents, chunks, tokens", tasks_done(spark)):
            _say_if_large(spark, config, progress)
            notes = _notes(source, config, tokenizer, labelled, cohort, publication)
        with progress.stage("publish"):
            facts = {
                "started": started.isoformat(timespec="seconds"),
                "finished": now().isoformat(timespec="seconds"),
                "config": to_dict(config),
                "tokenizer": tokenizer.fingerprint,
                "admissions": admissions,
                "notes": notes,
                "seconds": progress.seconds,
            }
            publication.publish(facts)
    except BaseException:
        publication.abandon()
        raise
    return facts


def _admissions(
    spark: SparkSession, config: Config, publication: Publication
) -> tuple[DataFrame, dict[str, int]]:
    """All admissions, labelled, as a table of the staging folder; and what was counted."""
    distinct, rows = all_admissions(spark, config)
    labelled = publication.write_work(label_admissions(distinct, config), "admissions")
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


def all_admissions(spark: SparkSession, config: Config) -> tuple[DataFrame, int]:
    """The distinct rows of data.admissions, and how many rows it has; a UserError where it has none
    or cannot be read whole."""
    path = required(config.data.admissions, "data.admissions")
    expected = expected_records(spark, path, "data.admissions")
    read = read_admissions(spark, path)
    found = read.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count(F.when(F.col("malformed"), 1)).alias("malformed"),
        F.count("hadm_id"),  # Spark refuses a query of a CSV's broken records alone
    ).first()
    assert found is not None  # an aggregate without groups always has one row
    rows = found["rows"]
    if rows == 0:
        raise UserError(f"data.admissions: {path} has no rows")
    check_records(path, "data.admissions", expected, rows, found["malformed"])
    return distinct_admissions(read.drop("malformed")), rows


def _say_if_large(spark: SparkSession, config: Config, progress: Progress) -> None:
    path = required(config.data.notes, "data.notes")
    size = large_csv_bytes(spark, path)
    if size:
        progress.say(
            f"data.notes: {path} has {size >> 20:,} MB and is read by one task, as texts span "
            "lines; jobs/ingest.py makes Parquet of it once, which all tasks read"
        )


def _subgroups(spark: SparkSession, config: Config, cohort: DataFrame) -> DataFrame:
    people = read_demographics(spark, required(config.data.admissions, "data.admissions"))
    patients = read_patients(spark, config.data.patients) if config.data.patients else None
    return subgroups_table(cohort, people, patients)


def _notes(
    source: DataFrame,
    config: Config,
    tokenizer: ChunkTokenizer,
    labelled: DataFrame,
    cohort: DataFrame,
    publication: Publication,
) -> dict[str, int]:
    path = required(config.data.notes, "data.notes")
    counts, repeated = Observation("notes"), Observation("repeated")
    expected = expected_records(source.sparkSession, path, "data.notes")
    documents = documents_table(source, cohort, labelled, config, counts, repeated)
    # Two tables come out of one pass over the text; what lies between is on disk, so that memory
    # does not grow with the cohort.
    rows = publication.write_work(chunk_rows(documents, config.chunk, tokenizer), "rows")
    found = counts.get | repeated.get
    publication.write_table(chunks_table(rows), "chunks", partition_by=["window"])
    publication.write_table(document_facts(rows), "documents")
    if found["notes"] == 0:
        raise UserError(f"data.notes: {path} has no rows")
    check_records(path, "data.notes", expected, found["notes"], found.pop("malformed"))
    return found
