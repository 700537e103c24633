"""A small cohort, the jobs on it, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.scoring.model import resolve_model, resolve_scorer
from readmit_spark.storage.publish import read_manifest
from tests import runs
from tests.tables_in import note, stay, words, write_csv

PATIENTS = 12
NIGHT = datetime(2020, 1, 16, 2)  # every other patient is in the house


def write_raw(folder: Path) -> tuple[str, str]:
    """ADMISSIONS.csv and NOTEEVENTS.csv.gz; every other patient is readmitted."""
    stays = [stay(i, i * 10, "2020-01-01", "2020-01-05") for i in range(1, PATIENTS + 1)]
    stays += [stay(i, i * 10 + 1, "2020-01-15", None) for i in range(1, PATIENTS + 1, 2)]
    notes = [
        note(i, i, i * 10, f'{words(60 + i, i)}\n"quoted", and\r\nmore') for i in range(1, PATIENTS)
    ]
    notes += [
        note(100 + i, i, i * 10 + 1, words(50, 3 * i), "2020-01-15", "12:30:00")
        for i in range(1, PATIENTS, 2)
    ]
    return write_csv(folder / "ADMISSIONS.csv", stays), write_csv(
        folder / "NOTEEVENTS.csv.gz", notes
    )


def settings(root: str, raw: tuple[str, str], model: str) -> list[str]:
    return [
        f"data.admissions={raw[0]}",
        f"data.notes={raw[1]}",
        f"output.root={root}",
        f"model.path={model}",
        "windows=[2days]",
        "model.max_tokens=128",
        "chunk.mode=words",
        "chunk.words=30",
        "score.bootstrap=5",
        "train.window=2days",
    ]


def run_prepare(spark: SparkSession, config: Config) -> dict[str, Any]:
    tokenizer = resolve_model(config).tokenizer(config.model.max_tokens)
    return runs.run_prepare(spark, config, tokenizer)


def run_score(spark: SparkSession, config: Config) -> None:
    runs.run_score(spark, config, resolve_scorer(config))


def run_nightly(spark: SparkSession, config: Config) -> None:
    runs.run_nightly(spark, config, resolve_scorer(config), NIGHT)


def results(spark: SparkSession, root: str, jobs: Sequence[str]) -> dict[str, list[str]]:
    """Return the sorted rows of all tables of these jobs' current results, by job and table."""
    tables = {}
    for job in jobs:
        published = read_manifest(spark, root, job)
        for table, facts in published["tables"].items():
            frame = spark.read.parquet(f"{published['path']}/{table}")
            rows = sorted(str(sorted(row.asDict().items())) for row in frame.collect())
            assert len(rows) == facts["rows"]
            tables[f"{job}: {table}"] = rows
    return tables
