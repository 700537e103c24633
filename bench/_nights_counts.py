"""Thirty nights with what earlier nights left, and each of them again from nothing."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from _nights import FIRST, House, read_table, run_night, say
from pyspark.sql import SparkSession

# Of patient_risk; the others tell of the night before, which a night from nothing has not.
SAME = (
    *("as_of", "subject_id", "hadm_id", "day_of_stay", "n_notes", "n_chunks", "max_probability"),
    *("mean_probability", "score", "rank", "alert", "basis", "drivers"),
)


def count_inferences(spark: SparkSession, house: House, scratch: Path, n: int) -> dict[str, Any]:
    """What is scored with the store, without it, and what cannot be avoided.

    `everything` is every chunk of every patient in the house each night; `at_best` the distinct
    chunks of all nights, by token ids, each once.
    """
    stored, alone = scratch / "stored", scratch / "alone"
    seen: set[str] = set()
    stays: dict[int, int] = {}  # chunks of every admission so far
    rows, differing = [], []
    for as_of in (FIRST + timedelta(days=night) for night in range(n)):
        manifest = run_night(spark, house, stored, as_of)
        run_night(spark, house, alone, as_of)
        risk, again = (read_table(root, as_of, "patient_risk") for root in (stored, alone))
        if _same_columns(risk) != _same_columns(again):
            differing.append(as_of.isoformat())
        # From the night that had no store, which is no part of what is measured.
        digests = {row["digest"] for row in read_table(alone, as_of, "chunks") if row["digest"]}
        stays |= {row["hadm_id"]: row["n_chunks"] for row in again}
        shutil.rmtree(alone)
        rows.append(
            {
                "night": as_of.isoformat(),
                "patients": manifest["counts"]["in_house"],
                "everything": sum(row["n_chunks"] for row in again),
                "at_best": len(digests - seen),
                "with_store": manifest["counts"]["chunks_to_score"],
                "every_admission": sum(stays.values()),
                "documents_prepared": manifest["counts"]["documents_prepared"],
            }
        )
        seen |= digests
        say(f"{as_of:%d %B}: {rows[-1]}")
    return _summary(house, rows, differing)


def _summary(house: House, rows: list[dict[str, Any]], differing: list[str]) -> dict[str, Any]:
    everything, at_best, stored, every = (
        sum(row[name] for row in rows)
        for name in ("everything", "at_best", "with_store", "every_admission")
    )
    return {
        "words_a_note": house.words or "as the demo has them",
        "patients_a_night": round(sum(row["patients"] for row in rows) / len(rows)),
        "inferences": {
            "everything": everything,
            "at_best": at_best,
            "with_store": stored,
            "every_admission": every,
        },
        "times_fewer": round(everything / stored, 2),
        "times_fewer_at_best": round(everything / at_best, 2),
        "share_of_best": round(at_best / stored, 4),
        "times_fewer_than_every_admission": round(every / stored, 2),
        "nights": len(rows),
        "nights_that_differ_from_scratch": differing,
        "by_night": rows,
    }


def _same_columns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Equal floats have equal bits: none of them is 0 or missing."""
    return [{name: row[name] for name in SAME} for row in rows]
