"""Measure what a night costs, and how much work earlier nights save.

    python bench/nightly.py --part counts     30 nights, each also from nothing; 1 core, an hour
    python bench/nightly.py --part seconds    nights with nothing new; 2 cores, 25 minutes
    python bench/nightly.py --part counts --nights 2 --patients 200    a quick check, 4 minutes

Claims: in 30 nights, the chunks scored, beside all chunks of the patients in the house, all
chunks of every admission so far, and the distinct chunks; that each night equals one computed
from nothing, to the last bit (counts). Seconds of a night without news, as a process and by the
number of nights stored (seconds).

The hospital is the demo's. For the counts its notes have 426 words, like MIMIC-III's (six chunks
a patient; the demo's own short notes give one). The model is MiniLM under a random head: one
layer for the counts, which do not depend on the model or the machine, and all layers for the
seconds.

Writes bench/results/nightly_counts.json or nightly_seconds.json (other sizes: NAME_small.json).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from pyspark.sql import SparkSession

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.demo_nights import (
    FIRST,
    House,
    copy_night,
    delete_night,
    make_house,
    make_model,
    read_manifest,
    read_table,
    run_night,
)
from bench.common.machine import describe, quiet_libraries, use_cores
from bench.common.processes import run_job
from bench.common.results import write_result
from bench.common.timing import median_ratio, say
from readmit_spark.storage.session import build_session

NIGHTS = 30
PATIENTS = 1600  # as in conf/demo_nights.yaml
LONG_NOTES = 426  # words
STORED = (1, 30, 365)  # nights
# Counts do not measure time. With one core a session has one Python worker, which keeps its model
# from night to night.
CORES = {"counts": 1, "seconds": 2}
SUBMIT = {
    "counts": "--conf spark.sql.shuffle.partitions=2 --conf spark.sql.codegen.wholeStage=false "
    "--driver-java-options -XX:TieredStopAtLevel=1 pyspark-shell",
    "seconds": "pyspark-shell",
}
# Columns of patient_risk that do not depend on the night before.
COMPARED = (
    *("as_of", "subject_id", "hadm_id", "day_of_stay", "n_notes", "n_chunks", "max_probability"),
    *("mean_probability", "score", "rank", "alert", "basis", "drivers"),
)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    quiet_libraries()
    use_cores(CORES[options.part])
    machine = describe()
    measure = {"counts": _counts, "seconds": _seconds}[options.part]
    os.environ["PYSPARK_SUBMIT_ARGS"] = SUBMIT[options.part]
    spark = build_session("bench-nightly")
    with tempfile.TemporaryDirectory(prefix="bench-nightly-") as folder:
        result = measure(spark, Path(folder), options)
    spark.stop()
    full = (options.nights, options.patients) == (NIGHTS, PATIENTS)
    path = write_result(f"nightly_{options.part}", machine, result, full=full)
    print(json.dumps(result, indent=1))
    print(path)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("counts", "seconds"), required=True)
    parser.add_argument("--nights", type=int, default=NIGHTS, help="of the counts")
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--rounds", type=int, default=3, help="of the seconds")
    return parser.parse_args(arguments)


def _counts(spark: SparkSession, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run each night twice: with earlier nights stored, and from nothing.

    `everything` counts all chunks of all patients in the house; `at_best` the distinct chunks of
    all nights, by token ids, each once.
    """
    # Ratios do not depend on the size, and a long note costs twenty times the arithmetic.
    house = make_house(
        folder, options.patients // 8, LONG_NOTES, make_model(folder / "model", layers=1)
    )
    stored, alone = folder / "stored", folder / "alone"
    earlier_digests: set[str] = set()
    chunks_by_admission: dict[int, int] = {}
    rows, different = [], []
    for as_of in (FIRST + timedelta(days=night) for night in range(options.nights)):
        manifest = run_night(spark, house, stored, as_of)
        run_night(spark, house, alone, as_of)
        risk, expected = (read_table(root, as_of, "patient_risk") for root in (stored, alone))
        if _compared_columns(risk) != _compared_columns(expected):
            different.append(as_of.isoformat())
        digests = {row["digest"] for row in read_table(alone, as_of, "chunks") if row["digest"]}
        chunks_by_admission |= {row["hadm_id"]: row["n_chunks"] for row in expected}
        shutil.rmtree(alone)
        rows.append(
            {
                "night": as_of.isoformat(),
                "patients": manifest["counts"]["in_house"],
                "everything": sum(row["n_chunks"] for row in expected),
                "at_best": len(digests - earlier_digests),
                "with_store": manifest["counts"]["chunks_to_score"],
                "every_admission": sum(chunks_by_admission.values()),
                "documents_prepared": manifest["counts"]["documents_prepared"],
            }
        )
        earlier_digests |= digests
        say(f"{as_of:%d %B}: {rows[-1]}")
    return _sum_counts(house, rows, different)


def _sum_counts(house: House, rows: list[dict[str, Any]], different: list[str]) -> dict[str, Any]:
    names = ("everything", "at_best", "with_store", "every_admission")
    sums = {name: sum(row[name] for row in rows) for name in names}
    return {
        "words_a_note": house.words,
        "patients_a_night": round(sum(row["patients"] for row in rows) / len(rows)),
        "inferences": sums,
        "times_fewer": round(sums["everything"] / sums["with_store"], 2),
        "times_fewer_at_best": round(sums["everything"] / sums["at_best"], 2),
        "share_of_best": round(sums["at_best"] / sums["with_store"], 4),
        "times_fewer_than_every_admission": round(sums["every_admission"] / sums["with_store"], 2),
        "nights": len(rows),
        "nights_that_differ_from_scratch": different,
        "by_night": rows,
    }


def _compared_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the compared columns. Equal floats have equal bits, as none is 0 or missing."""
    return [{name: row[name] for name in COMPARED} for row in rows]


def _seconds(spark: SparkSession, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    house = make_house(folder, options.patients, None, make_model(folder / "model"))
    stored = _by_nights_stored(spark, house, folder, options.rounds)
    # The processes run when this session is idle.
    root = folder / "stored-1"
    return {"stored": stored, "process": _processes(house, root, options.rounds)}


def _by_nights_stored(
    spark: SparkSession, house: House, folder: Path, rounds: int
) -> dict[str, Any]:
    """Time a night with nothing new in an open Spark session, by the number of nights stored."""
    roots = {stored: folder / f"stored-{stored}" for stored in STORED}
    for stored, root in roots.items():
        run_night(spark, house, root, FIRST)
        copy_night(root, FIRST, stored)
    seconds: dict[int, list[float]] = {stored: [] for stored in STORED}
    for round_ in range(-1, rounds):  # the first round warms up
        for stored in STORED[:: -1 if round_ % 2 else 1]:
            as_of = FIRST + timedelta(seconds=2 + round_)
            start = time.monotonic()
            manifest = run_night(spark, house, roots[stored], as_of)
            elapsed = time.monotonic() - start
            _check_nothing_new(manifest)
            delete_night(roots[stored], as_of)
            if round_ >= 0:
                seconds[stored].append(round(elapsed, 2))
                say(f"{stored} nights stored, round {round_ + 1}: {elapsed:.1f} s")
    most, least = seconds[STORED[-1]], seconds[STORED[0]]
    return {
        "seconds": {str(stored): times for stored, times in seconds.items()},
        "median": {str(stored): median(times) for stored, times in seconds.items()},
        f"ratio_{STORED[-1]}_to_{STORED[0]}": median_ratio(most, least),
    }


def _processes(house: House, root: Path, rounds: int) -> dict[str, Any]:
    """Time jobs/nightly.py from start to exit, for an as-of seconds after a published night."""
    runs, stages = [], []
    for round_ in range(rounds):
        as_of = FIRST + timedelta(seconds=1 + round_)
        run = run_job("nightly", ["--as-of", as_of.isoformat()], house.overrides(root))
        manifest = read_manifest(root, as_of)
        _check_nothing_new(manifest)
        runs.append(
            {
                "seconds": run.wall_seconds,
                "cpu_seconds": run.cpu_seconds,
                "peak_gib": run.peak_gib,
            }
        )
        stages.append(manifest["seconds"])
        say(f"night with nothing new, round {round_ + 1}: {runs[-1]}")
        delete_night(root, as_of)
    return {
        "patients": manifest["counts"]["in_house"],
        "chunks": manifest["counts"]["chunks"],
        "chunks_scored": manifest["counts"]["chunks_to_score"],
        "seconds": median(run["seconds"] for run in runs),
        "seconds_by_stage": {name: median(s[name] for s in stages) for name in stages[0]},
        "runs": runs,
    }


def _check_nothing_new(manifest: dict[str, Any]) -> None:
    counts = manifest["counts"]
    if counts["chunks_to_score"] or counts["documents_prepared"]:
        raise RuntimeError(f"the night of {manifest['as_of']} should have nothing new: {counts}")


if __name__ == "__main__":
    sys.exit(main())
