"""From a night's tables to what its page shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.evaluation.metrics import evaluate, wilson
from readmit_spark.nightly.alerts import effect_on_validation
from readmit_spark.nightly.model_in_use import Made
from readmit_spark.nightly.night_risk import new_notes, notes_before, passage_texts
from readmit_spark.nightly.published_nights import Nights
from readmit_spark.nightly.worklist_types import (
    Alert,
    Change,
    Driver,
    Left,
    NewNote,
    Night,
    Passage,
    Patient,
)


def night_page(
    spark: SparkSession,
    tables: Mapping[str, DataFrame],
    text: DataFrame,
    known: DataFrame,
    nights: Nights,
    made: Made,
    facts: Mapping[str, Any],
    config: Config,
) -> Night:
    """`tables`: the night's. `text`: its notes with their texts, which reach the page only where
    nightly.include_text asks for it. `facts`: the run record."""
    rows = sorted(_rows(tables["patient_risk"]), key=lambda row: row["rank"])
    added: dict[int, list[NewNote]] = {}
    if nights.previous:
        before = {row["hadm_id"] for row in _rows(nights.previous.table(spark, "patient_risk"))}
        for row in _rows(new_notes(tables["notes"], notes_before(spark, nights.previous))):
            if row["hadm_id"] in before:  # of a new patient every note is new
                note = NewNote(row["row_id"], row["category"] or "", _time(row["charttime"]))
                added.setdefault(row["hadm_id"], []).append(note)
    texts: dict[tuple[int, int, int], str] = {}
    if config.nightly.include_text:
        for row in _rows(passage_texts(tables["patient_risk"], text)):
            texts[row["row_id"], row["start"], row["end"]] = row["text"]
    patients = [_patient(row, added.get(row["hadm_id"], []), texts, made.basis) for row in rows]
    reasons = tables["unscored"].groupBy("reason").count().collect()
    return Night(
        as_of=datetime.fromisoformat(facts["as_of"]),
        previous=nights.previous.as_of if nights.previous else None,
        window=config.nightly.window,
        model=facts["model"],
        patients=patients,
        left=_left(spark, nights, known),
        unscored={row["reason"]: row["count"] for row in sorted(reasons)},
        alert=_alert(made, config.nightly.window, patients, nights),
        outcomes=facts["outcomes"],
        facts=_shown(facts, config),
        seconds=facts["seconds"],
        horizon_days=config.label.horizon_days,
    )


def outcome_figures(known: DataFrame, config: Config) -> dict[str, Any] | None:
    """How earlier lists did, of `night_risk.outcomes`: n, readmitted, from, to (dates of
    discharge), auroc, alert_precision; None where no outcome is known yet."""
    day = F.date_format("dischtime", "yyyy-MM-dd")
    rows = pd.DataFrame(known.withColumn("dischtime", day).orderBy("hadm_id").toPandas())
    if rows.empty:
        return None
    measured = evaluate(
        rows.score.to_numpy(float),
        rows.label.to_numpy(int),
        rows.subject_id.to_numpy(),
        replicates=config.score.bootstrap,
        seed=config.split.seed,
    )
    alerted = rows[rows.alerted]
    hits, n = int(alerted.label.sum()), len(alerted)
    low, high = wilson(hits, n) if n else (None, None)
    return {
        "n": len(rows),
        "readmitted": int(rows.label.sum()),
        "from": rows.dischtime.min(),
        "to": rows.dischtime.max(),
        "auroc": measured["auroc"],
        "alert_precision": {"value": hits / n if n else None, "low": low, "high": high, "n": n},
    }


def _patient(
    row: dict[str, Any],
    added: list[NewNote],
    texts: Mapping[tuple[int, int, int], str],
    basis: str,
) -> Patient:
    change: Change = "new"
    if row["change"] is not None:
        change = "same" if row["change"] == 0 else "risen" if row["change"] > 0 else "fallen"
    return Patient(
        rank=row["rank"],
        subject_id=row["subject_id"],
        hadm_id=row["hadm_id"],
        day_of_stay=row["day_of_stay"],
        n_notes=row["n_notes"],
        n_chunks=row["n_chunks"],
        score=row["score"],
        previous_score=row["previous_score"],
        change=change,
        alert=row["alert"],
        history=[
            (datetime.fromisoformat(point["as_of"]).replace(tzinfo=None), point["score"])
            for point in row["history"]
            if point["basis"] == basis
        ],
        drivers=[_driver(driver, texts) for driver in row["drivers"]],
        new_notes=added,
    )


def _driver(driver: dict[str, Any], texts: Mapping[tuple[int, int, int], str]) -> Driver:
    passages = [
        Passage(p["row_id"], p["category"] or "", p["start"], p["end"]) for p in driver["passages"]
    ]
    return Driver(
        driver["chunk_index"],
        driver["probability"],
        driver["share"],
        [replace(p, text=texts.get((p.row_id, p.start, p.end))) for p in passages],
    )


def _left(spark: SparkSession, nights: Nights, known: DataFrame) -> list[Left]:
    if not nights.previous:
        return []
    reason = (
        F.when(
            F.col("admission_type").isNull() & F.col("admittime").isNull(), "no longer in the data"
        )
        .when(F.col("deathtime").isNotNull(), "died")
        .when(F.col("dischtime").isNotNull(), "discharged")
    )
    before = nights.previous.table(spark, "patient_risk").select("subject_id", "hadm_id", "score")
    now = known.select("hadm_id", "admittime", "admission_type", "deathtime", "dischtime")
    gone = before.join(now, "hadm_id", "left").withColumn("reason", reason)
    rows = _rows(gone.where(F.col("reason").isNotNull()))
    left = [Left(r["subject_id"], r["hadm_id"], r["score"], r["reason"]) for r in rows]
    return sorted(left, key=lambda one: (-one.score, one.hadm_id))


def _alert(made: Made, window: str, patients: list[Patient], nights: Nights) -> Alert:
    rule = made.alert
    marked = [patient for patient in patients if patient.alert]
    threshold = rule.threshold
    if rule.rule == "capacity":
        threshold = min((patient.score for patient in marked), default=None)
    found = effect_on_validation(threshold, window, made.learnt)
    earlier = [night.facts["counts"]["alerts"] for night in nights.used if night is not nights.own]
    usual = rule.value if rule.rule == "capacity" else None
    if usual is None and earlier:
        usual = sum(earlier) / len(earlier)
    elif usual is None and found:
        usual = found.share_alerted * len(patients)
    return Alert(
        rule=rule.rule,
        value=rule.value,
        threshold=threshold,
        tonight=len(marked),
        expected_a_night=usual,
        precision=found.precision if found else None,
        precision_low=found.low if found else None,
        precision_high=found.high if found else None,
        prevalence=found.prevalence if found else None,
        n_validation=found.n if found else 0,
        note=_note(made, window, threshold, found.threshold if found else None),
    )


def _note(made: Made, window: str, threshold: float | None, learnt_at: float | None) -> str:
    if made.learnt is None:
        return "the model brings no figures from validation; fine-tune it with jobs/finetune.py"
    if window not in made.learnt.alerts:
        return f"the model has figures from validation for {', '.join(made.learnt.alerts)} only"
    if learnt_at is not None and learnt_at != threshold:
        return f"the figures from validation are those of alerting from a score of {learnt_at:.3f}"
    return ""


def _shown(facts: Mapping[str, Any], config: Config) -> dict[str, str]:
    counts = facts["counts"]
    return {
        "code": facts["code"],
        "vote": f"c = {facts['c']:g}",
        "profile": config.profile,
        "precision": config.score.precision,
        "patients in the house": f"{counts['in_house']:,}",
        "chunks": f"{counts['chunks']:,}, of which {counts['chunks_to_score']:,} scored tonight",
        "patients with new notes": f"{counts['documents_prepared']:,}",
        **{
            f"notes: {reason.replace('_', ' ')}": f"{n:,}"
            for reason, n in facts["notes"].items()
            if n
        },
    }


def _rows(frame: DataFrame) -> list[dict[str, Any]]:
    """Through JSON, as pyspark would shift times into this machine's zone."""
    told = frame.select(F.to_json(F.struct("*"), {"ignoreNullFields": "false"}).alias("row"))
    return [json.loads(row["row"]) for row in told.collect()]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
