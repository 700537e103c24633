"""How fast prepare is, where its time and memory go, and how it does beside two pandas programs.

    python bench/prepare.py --text FILE           1x, 4x and 16x, about 10 minutes on 2 cores
    python bench/prepare.py --text FILE --full    each three times; about 25 minutes

Writes bench/results/prepare.json (figures, machine, commit) and prepare.png. The job runs as a user
runs it, in a process of its own, on 2 cores, for three windows. A ratio is the median over rounds
in which ours and the peer take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import peers
import spacy
from _machine import ROOT, Watch, describe, keep_to_cores, write_result
from _parts import spark_session, time_clean_and_chunk, time_parts
from _picture import draw
from _text import Cohort, add_text, load_sentences, write_cohort

from readmit_spark.notes.clean import clean
from readmit_spark.notes.segment import segment

CORES = 2
BASE_NOTES, SCALES = 8_000, (1, 4, 16)
MIMIC_NOTES = 2_083_180
WINDOWS = ("2days", "3days", "discharge")
SEGMENTED, TURN = 2_000, 100  # notes, of which each of ours and spaCy takes so many in turn
ASSUMPTION = (
    "MIMIC-III's notes are taken to be like the bench's: of as many characters, 35 an admission, "
    "evenly over the stay"
)


def main() -> int:
    arguments = _arguments()
    keep_to_cores(CORES)
    machine = describe()
    rounds = 3 if arguments.full else 1
    sentences = load_sentences(arguments.text)
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as folder:
        cohorts = {}
        for scale in SCALES:
            cohorts[scale] = write_cohort(Path(folder) / f"{scale}x", BASE_NOTES * scale, sentences)
            _say(f"{scale}x: {cohorts[scale].notes:,} notes written")
        result = _measure(cohorts, rounds, Path(folder) / "out")
    path = write_result("prepare", machine, result)
    picture = draw(result, path.with_suffix(".png"))
    print(json.dumps(result, indent=1))
    print(f"{path}\n{picture}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="three rounds")
    add_text(parser)
    return parser.parse_args()


def _measure(cohorts: dict[int, Cohort], rounds: int, out: Path) -> dict[str, Any]:
    jobs, published = [], []
    for scale, cohort in cohorts.items():
        for round_ in range(rounds):
            jobs.append({"scale": scale, **_job(cohort, "parquet", out)})
            published.append({"scale": scale, **_published(cohort)})
            took = f"{jobs[-1]['seconds']} s, published {published[-1]['seconds']} s"
            _say(f"{scale}x, round {round_ + 1}: {took}")
        jobs.append({"scale": scale, **_job(cohort, "csv", out)})
        _say(f"{scale}x from CSV: {jobs[-1]['seconds']} s")
    largest = cohorts[max(cohorts)]
    spark = spark_session()
    try:
        parts = time_parts(spark, largest, WINDOWS, rounds)
        _say(f"parts: {parts['seconds']}")
        linear = _against_linear(spark, largest, max(3, rounds))
    finally:
        spark.stop()
    growth = {kind: _growth(jobs, kind) for kind in ("parquet", "csv")}
    return {
        "text": {
            "windows": WINDOWS,
            "words_a_note": round(largest.words / largest.notes),
            "characters_a_note": round(largest.characters / largest.notes),
        },
        "prepare": jobs,
        "growth_exponent": growth,
        "full_mimic": _extrapolated(jobs, growth),
        "parts": parts,
        "published": {"rows": published, "times_faster": _ratios(jobs, published)},
        "clean_and_chunk": linear,
        "segments": _against_spacy(largest),
    }


def _job(cohort: Cohort, kind: str, out: Path) -> dict[str, Any]:
    """jobs/prepare.py from start to end. `seconds` is its steps, `wall` Java's start too."""
    settings = {
        "data.admissions": cohort.path("ADMISSIONS", kind),
        "data.notes": cohort.path("NOTEEVENTS", kind),
        "output.root": str(out),
        "output.overwrite": "true",
        "windows": f"[{','.join(WINDOWS)}]",
    }
    command = [sys.executable, str(ROOT / "jobs" / "prepare.py")]
    command += ["--config", str(ROOT / "conf" / "local.yaml")]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        with Watch(process.pid) as watch:
            code = process.wait()
        wall = time.monotonic() - start
        if code:
            log.seek(0)
            raise RuntimeError(f"jobs/prepare.py ended with {code}:\n{log.read()[-2000:]}")
    manifest = json.loads((out / "_manifests" / "prepare.json").read_text())
    seconds = sum(manifest["seconds"].values())
    return {
        "format": kind,
        "notes": cohort.notes,
        "admissions": cohort.admissions,
        "chunks": manifest["tables"]["chunks"]["rows"],
        "seconds": round(seconds, 1),
        "wall_seconds": round(wall, 1),
        "notes_per_second": round(cohort.notes / seconds),
        "cpu_seconds": round(watch.cpu_seconds, 1),
        "peak_gib": watch.peak_gib(),
    }


def _published(cohort: Cohort) -> dict[str, Any]:
    """The published algorithm, reading included, tokenisation not."""

    def run() -> pd.DataFrame:
        admissions, notes = (
            pd.read_parquet(cohort.path(table, "parquet")) for table in ("ADMISSIONS", "NOTEEVENTS")
        )
        return peers.published(admissions, notes, WINDOWS)

    seconds, chunks = _timed(run)
    return {"notes": cohort.notes, "chunks": len(chunks), "seconds": round(seconds, 1)}


def _against_linear(spark: Any, cohort: Cohort, rounds: int) -> dict[str, Any]:
    """Clean and chunk alone, each note a text: from the same Parquet files to chunk rows."""
    path = cohort.path("NOTEEVENTS", "parquet")
    texts = pd.read_parquet(path, columns=["TEXT"])["TEXT"]
    chunks = time_clean_and_chunk(spark, path).chunks  # the first round starts Python workers
    made = len(peers.linear(texts))
    if chunks != made:
        raise RuntimeError(f"ours made {chunks} chunks and the linear peer {made}")
    ours, cpu, with_reading, in_memory = [], [], [], []
    for round_ in range(rounds):
        with Watch(os.getpid()) as watch:
            ours.append(time_clean_and_chunk(spark, path).seconds)
        cpu.append(watch.cpu_seconds)
        with_reading.append(
            _timed(lambda: peers.linear(pd.read_parquet(path, columns=["TEXT"])["TEXT"]))[0]
        )
        in_memory.append(_timed(lambda: peers.linear(texts))[0])
        _say(f"clean and chunk, round {round_ + 1}: {ours[-1]:.1f} s, linear {in_memory[-1]:.1f} s")
    return {
        "notes": cohort.notes,
        "chunks": made,
        "notes_per_second": round(cohort.notes / median(ours)),
        "linear_notes_per_second": round(cohort.notes / median(with_reading)),
        "linear_in_memory_notes_per_second": round(cohort.notes / median(in_memory)),
        "notes_per_cpu_second": round(cohort.notes / median(cpu)),
        "times_faster": _ratio(with_reading, ours),
        "times_faster_than_in_memory": _ratio(in_memory, ours),
    }


def _against_spacy(cohort: Cohort) -> dict[str, Any]:
    """Sentences of cleaned notes on one core, with no word met before; the two take turns."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    table = pd.read_parquet(cohort.path("NOTEEVENTS", "parquet"), columns=["TEXT"])
    texts = [clean(text) for text in table["TEXT"].dropna()[:SEGMENTED]]
    ours, theirs = [], []
    for first in range(0, len(texts), TURN):
        turn = texts[first : first + TURN]
        seconds, made = _timed(lambda turn=turn: [segment(text) for text in turn])
        ours.append(seconds)
        seconds, expected = _timed(lambda turn=turn: [peers.segments(nlp, text) for text in turn])
        theirs.append(seconds)
        if made != expected:
            raise RuntimeError("ours and spaCy cut a note differently")
    _say(f"segments: {sum(ours):.1f} s, spaCy {sum(theirs):.1f} s")
    return {
        "notes": len(texts),
        "notes_per_second": round(len(texts) / sum(ours)),
        "spacy_notes_per_second": round(len(texts) / sum(theirs)),
        "times_faster": round(sum(theirs) / sum(ours), 2),
        "times_faster_at_first": round(theirs[0] / ours[0], 2),
    }


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return round(median(a / b for a, b in zip(theirs, ours, strict=True)), 2)


def _ratios(jobs: list[dict[str, Any]], published: list[dict[str, Any]]) -> dict[str, float]:
    """By scale; the whole job, tokens and tables on disk included, against the peer's chunks."""
    result = {}
    for scale in dict.fromkeys(row["scale"] for row in published):
        ours = [r["seconds"] for r in jobs if r["scale"] == scale and r["format"] == "parquet"]
        theirs = [r["seconds"] for r in published if r["scale"] == scale]
        result[f"{scale}x"] = _ratio(theirs, ours)
    return result


def _growth(jobs: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """The exponent of seconds in notes, by least squares in logarithms: over all scales, and over
    the two largest alone, where fixed costs flatter it least."""
    rows = [row for row in jobs if row["format"] == kind]
    last = sorted({row["notes"] for row in rows})[-2:]

    def slope(some: list[dict[str, Any]]) -> float:
        logs = np.log([[row["notes"], row["seconds"]] for row in some])
        return round(float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0]), 3)

    return {"all": slope(rows), "two_largest": slope([row for row in rows if row["notes"] in last])}


def _extrapolated(
    jobs: list[dict[str, Any]], growth: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """All of MIMIC-III at the rate of the largest scale, which still holds the fixed costs: in wall
    time, and as what the CPU time comes to where idle cores share it evenly."""
    result: dict[str, Any] = {"notes": MIMIC_NOTES, "assumption": ASSUMPTION}
    notes = max(row["notes"] for row in jobs)
    for kind, exponents in growth.items():
        rows = [row for row in jobs if row["notes"] == notes and row["format"] == kind]
        times = (MIMIC_NOTES / notes) ** max(1.0, *exponents.values())
        wall, cpu = (median(row[name] for row in rows) for name in ("seconds", "cpu_seconds"))
        result[kind] = {
            "minutes": round(wall * times / 60, 1),
            "cpu_minutes_a_core": round(cpu * times / 60 / CORES, 1),
        }
    return result


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
