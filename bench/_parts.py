"""Seconds by part of prepare, inside one Spark session.

Spark fuses the parts of a stage, so none can be timed alone: each is the time of the pipeline up to
and with it, into a sink that throws rows away, less the time of the pipeline before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
from _text import Cohort
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.chunks_table import chunk_rows
from readmit_spark.notes.clean import clean
from readmit_spark.notes.cohort import cohort_table, distinct_admissions, label_admissions
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.notes.segment import segment
from readmit_spark.scoring.load_tokenizer import ChunkTokenizer, load_tokenizer
from readmit_spark.scoring.locate import locate
from readmit_spark.storage.input_tables import read_admissions, read_notes
from readmit_spark.storage.session import build_session

TOKENS = ("input_ids", "n_tokens", "n_tokens_cut")


class CleanAndChunk(NamedTuple):
    seconds: float
    chunks: int


def spark_session() -> SparkSession:
    """The session that the jobs use."""
    return build_session("bench-prepare")


def time_parts(
    spark: SparkSession, cohort: Cohort, windows: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Median seconds of read, join, clean, chunk, tokenise and write, from Parquet; beside them,
    `read_csv` in place of read, and `segment`, which only chunk.mode=tokens needs."""
    config = load_config(overrides=[f"windows=[{','.join(windows)}]"])
    tokenizer = load_tokenizer(locate(config).folder, config.model.max_tokens)
    admissions = read_admissions(spark, cohort.path("ADMISSIONS", "parquet"))
    labelled = label_admissions(distinct_admissions(admissions), config).cache()
    kept = cohort_table(labelled, config).cache()
    kept.count()

    def notes(kind: str = "parquet") -> DataFrame:
        return read_notes(spark, cohort.path("NOTEEVENTS", kind))

    def documents() -> DataFrame:
        return documents_table(notes(), kept, labelled, config, Observation(), Observation())

    def cleaned() -> DataFrame:
        return documents().withColumn("text", _clean("text"))

    written = str(cohort.folder / "parts")
    pipelines: dict[str, Callable[[], None]] = {
        "read_csv": lambda: _drop(notes("csv")),
        "read": lambda: _drop(notes()),
        "join": lambda: _drop(documents()),
        "clean": lambda: _drop(cleaned()),
        "segment": lambda: _drop(cleaned().withColumn("text", _segment("text"))),
        "chunk": lambda: _drop(_rows(documents(), config, tokenizer).drop(*TOKENS)),
        "tokenise": lambda: _drop(_rows(documents(), config, tokenizer)),
        "write": lambda: _write(_rows(documents(), config, tokenizer), written),
    }
    pipelines["tokenise"]()  # starts the Python workers, and has each import what it needs
    taken: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(rounds):
        for name, run in pipelines.items():
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    upto = {name: median(seconds) for name, seconds in taken.items()}
    before = {
        "join": "read", "clean": "join", "segment": "clean", "chunk": "clean",
        "tokenise": "chunk", "write": "tokenise",
    }  # fmt: skip
    parts = {name: s - upto[before[name]] if name in before else s for name, s in upto.items()}
    return {
        "notes": cohort.notes,
        "seconds": {name: round(s, 2) for name, s in parts.items()},
        "seconds_up_to": {name: round(s, 2) for name, s in upto.items()},
    }


def time_clean_and_chunk(spark: SparkSession, path: str) -> CleanAndChunk:
    """Each note of a Parquet table cleaned and cut, up to chunk rows that are thrown away."""
    config = load_config()
    texts = spark.read.parquet(path).select(
        F.lit("note").alias("window"),
        F.col("SUBJECT_ID").alias("subject_id"),
        F.col("ROW_ID").alias("hadm_id"),
        F.lit(0).alias("label"),
        F.lit("train").alias("split"),
        F.lit(1).alias("n_notes"),
        F.col("TEXT").alias("text"),
    )
    tokenizer = ChunkTokenizer("", config.model.max_tokens)  # word chunks never ask it
    counted = Observation()
    rows = _rows(texts, config, tokenizer).drop(*TOKENS)
    start = time.perf_counter()
    _drop(rows.observe(counted, F.count("chunk_index").alias("chunks")))
    return CleanAndChunk(time.perf_counter() - start, counted.get["chunks"])


def _rows(documents: DataFrame, config: Config, tokenizer: ChunkTokenizer) -> DataFrame:
    return chunk_rows(documents, config.chunk, tokenizer)


def _drop(frame: DataFrame) -> None:
    frame.write.format("noop").mode("overwrite").save()


def _write(frame: DataFrame, path: str) -> None:
    frame.write.parquet(str(Path(path)), mode="overwrite", partitionBy="window")


def _clean(name: str) -> Any:
    @F.pandas_udf(T.StringType())  # type: ignore[call-overload]
    def run(text: pd.Series) -> pd.Series:
        return text.map(clean)

    return run(name)


def _segment(name: str) -> Any:
    @F.pandas_udf(T.ArrayType(T.StringType()))  # type: ignore[call-overload]
    def run(text: pd.Series) -> pd.Series:
        return text.map(segment)

    return run(name)
