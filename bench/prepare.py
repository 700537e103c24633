"""Measure how fast prepare is, and how it compares with two pandas programs.

    python bench/prepare.py --text FILE                   8 minutes on 2 idle cores
    python bench/prepare.py --text FILE --notes 500       a quick check, 2 minutes

Claims: seconds and memory of prepare for 128,000 notes from Parquet and from CSV, minutes for all
of MIMIC-III at these rates, how much longer chunks of whole segments take than chunks of words, how
many times faster than a linear pandas loop cleaning and chunking are, and how many times faster
than spaCy segments are made.

The job runs as a user runs it, in a process of its own, on 2 cores, for three windows. A ratio is
the median over rounds in which both programs take turns. Both must make the same chunks and
segments.

Writes bench/results/prepare.json (fewer notes: prepare_small.json).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
import spacy
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common import peers
from bench.common.machine import describe, quiet_libraries, use_cores
from bench.common.processes import ProcessWatch, run_job
from bench.common.results import write_result
from bench.common.texts import Cohort, load_sentences, parse_options, write_cohort
from bench.common.timing import median_ratio, say, timed
from readmit_spark.config_file import load_config
from readmit_spark.notes.chunks_table import chunk_rows
from readmit_spark.notes.clean import clean
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.segment import segment
from readmit_spark.scoring.load_tokenizer import ChunkTokenizer
from readmit_spark.storage.session import build_session
from readmit_spark.text_rules import DEFAULT

CORES = 2
NOTES = 128_000
MIMIC_NOTES = 2_083_180
MODES = ("segments", "words")
WINDOWS = ("2days", "3days", "discharge")
ROUNDS = 3
SEGMENTED, TURN = 2_000, 100  # notes; each program takes a turn of so many
TOKEN_COLUMNS = ("input_ids", "n_tokens", "n_tokens_cut")
ASSUMPTION = (
    "MIMIC-III's notes are taken to be like the bench's: of as many characters, 35 an admission, "
    "evenly over the stay"
)


class CleanAndChunk(NamedTuple):
    seconds: float
    chunks: int


def main(arguments: list[str] | None = None) -> int:
    options = parse_options(arguments, __doc__, NOTES)
    quiet_libraries()
    use_cores(CORES)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        sentences = load_sentences(options.text)
        cohort = write_cohort(Path(folder) / "cohort", options.notes, sentences)
        say(f"{cohort.notes:,} notes written")
        result = _measure(cohort, Path(folder) / "out")
    path = write_result("prepare", machine, result, full=options.notes >= NOTES)
    print(json.dumps(result, indent=1))
    print(path)
    return 0


def _measure(cohort: Cohort, out: Path) -> dict[str, Any]:
    jobs = [_job(cohort, kind, mode, out) for kind in ("parquet", "csv") for mode in MODES]
    spark = build_session("bench-prepare")
    try:
        linear = _compare_with_linear(spark, cohort)
    finally:
        spark.stop()
    return {
        "text": {
            "windows": WINDOWS,
            "words_a_note": round(cohort.words / cohort.notes),
            "characters_a_note": round(cohort.characters / cohort.notes),
        },
        "prepare": jobs,
        "full_mimic": _extrapolate(jobs),
        "times_the_words_mode": _times_words(jobs),
        "clean_and_chunk": linear,
        "segments": _compare_with_spacy(cohort),
    }


def _job(cohort: Cohort, kind: str, mode: str, out: Path) -> dict[str, Any]:
    """Run jobs/prepare.py. `seconds` adds up its stages; `wall_seconds` includes Java's start."""
    settings = {
        "data.admissions": cohort.path("ADMISSIONS", kind),
        "data.notes": cohort.path("NOTEEVENTS", kind),
        "output.root": str(out),
        "output.overwrite": "true",
        "windows": f"[{','.join(WINDOWS)}]",
        "data.patients": "null",
        "data.truth": "null",
        "chunk.mode": mode,
    }
    run = run_job("prepare", [], [f"{key}={value}" for key, value in settings.items()])
    manifest = json.loads((out / "_manifests" / "prepare.json").read_text())
    seconds = sum(manifest["seconds"].values())
    say(f"prepare from {kind}, chunks of {mode}: {seconds:.1f} s")
    return {
        "format": kind,
        "mode": mode,
        "notes": cohort.notes,
        "admissions": cohort.admissions,
        "chunks": manifest["tables"]["chunks"]["rows"],
        "seconds": round(seconds, 1),
        "wall_seconds": run.wall_seconds,
        "notes_per_second": round(cohort.notes / seconds),
        "cpu_seconds": run.cpu_seconds,
        "peak_gib": run.peak_gib,
    }


def _extrapolate(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return minutes for all of MIMIC-III at the measured rates: wall time, and CPU time a core."""
    result: dict[str, Any] = {"notes": MIMIC_NOTES, "assumption": ASSUMPTION}
    for job in jobs:
        factor = MIMIC_NOTES / job["notes"]
        result[f"{job['format']}, {job['mode']}"] = {
            "minutes": round(job["seconds"] * factor / 60, 1),
            "cpu_minutes_a_core": round(job["cpu_seconds"] * factor / 60 / CORES, 1),
        }
    return result


def _times_words(jobs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return how many times the seconds of the words mode the segments mode takes, by format."""
    by_kind = {(job["format"], job["mode"]): job for job in jobs}
    return {
        kind: {
            name: round(by_kind[kind, "segments"][name] / by_kind[kind, "words"][name], 2)
            for name in ("seconds", "cpu_seconds")
        }
        for kind in ("parquet", "csv")
    }


def _compare_with_linear(spark: SparkSession, cohort: Cohort) -> dict[str, Any]:
    """Time cleaning and chunking alone, each note a document, from Parquet files to chunk rows."""
    path = cohort.path("NOTEEVENTS", "parquet")
    texts = pd.read_parquet(path, columns=["TEXT"])["TEXT"]
    chunks = _clean_and_chunk(spark, path).chunks  # this first pass starts the Python workers
    expected = len(peers.linear(texts))
    if chunks != expected:
        raise RuntimeError(f"ours made {chunks} chunks and the linear loop {expected}")
    ours, cpu, with_reading, in_memory = [], [], [], []
    for round_ in range(ROUNDS):
        with ProcessWatch(os.getpid()) as watch:
            ours.append(_clean_and_chunk(spark, path).seconds)
        cpu.append(watch.cpu_seconds)
        with_reading.append(
            timed(lambda: peers.linear(pd.read_parquet(path, columns=["TEXT"])["TEXT"]))[0]
        )
        in_memory.append(timed(lambda: peers.linear(texts))[0])
        say(f"clean and chunk, round {round_ + 1}: {ours[-1]:.1f} s, linear {in_memory[-1]:.1f} s")
    return {
        "notes": cohort.notes,
        "chunks": chunks,
        "notes_per_second": round(cohort.notes / median(ours)),
        "linear_notes_per_second": round(cohort.notes / median(with_reading)),
        "linear_in_memory_notes_per_second": round(cohort.notes / median(in_memory)),
        "notes_per_cpu_second": round(cohort.notes / median(cpu)),
        "times_faster": median_ratio(with_reading, ours),
        "times_faster_than_in_memory": median_ratio(in_memory, ours),
    }


def _clean_and_chunk(spark: SparkSession, path: str) -> CleanAndChunk:
    """Clean and cut each note of a Parquet table into chunk rows, which are not stored."""
    config = load_config(overrides=["profile=paper"])
    documents = spark.read.parquet(path).select(
        F.lit("note").alias("window"),
        F.col("SUBJECT_ID").alias("subject_id"),
        F.col("ROW_ID").alias("hadm_id"),
        F.lit(0).alias("label"),
        F.lit("train").alias("split"),
        F.lit(1).alias("n_notes"),
        F.col("TEXT").alias("text"),
    )
    tokenizer = ChunkTokenizer("", config.model.max_tokens)  # chunks of words do not use it
    observation = Observation()
    rows: DataFrame = chunk_rows(documents, Preparation.of(config, tokenizer)).drop(*TOKEN_COLUMNS)
    rows = rows.observe(observation, F.count("chunk_index").alias("chunks"))
    start = time.perf_counter()
    rows.write.format("noop").mode("overwrite").save()
    return CleanAndChunk(time.perf_counter() - start, observation.get["chunks"])


def _compare_with_spacy(cohort: Cohort) -> dict[str, Any]:
    """Time segments of cleaned notes on one core. Both programs start with empty word caches."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    table = pd.read_parquet(cohort.path("NOTEEVENTS", "parquet"), columns=["TEXT"])
    texts = [clean(text, DEFAULT) for text in table["TEXT"].dropna()[:SEGMENTED]]
    ours, theirs = [], []
    for first in range(0, len(texts), TURN):
        turn = texts[first : first + TURN]
        seconds, segments = timed(lambda turn=turn: [segment(text) for text in turn])
        ours.append(seconds)
        seconds, expected = timed(
            lambda turn=turn: [peers.spacy_segments(nlp, text) for text in turn]
        )
        theirs.append(seconds)
        if segments != expected:
            raise RuntimeError("ours and spaCy cut a note differently")
    say(f"segments: {sum(ours):.1f} s, spaCy {sum(theirs):.1f} s")
    return {
        "notes": len(texts),
        "notes_per_second": round(len(texts) / sum(ours)),
        "spacy_notes_per_second": round(len(texts) / sum(theirs)),
        "times_faster": round(sum(theirs) / sum(ours), 2),
        "times_faster_at_first": round(theirs[0] / ours[0], 2),
    }


if __name__ == "__main__":
    sys.exit(main())
