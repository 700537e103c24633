"""Turn the tables of a night into the contents of its page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.nightly.alert_effects import alert_of_night
from readmit_spark.nightly.alerts import AlertRule
from readmit_spark.nightly.model_in_use import ModelInUse
from readmit_spark.nightly.night_risk import new_notes, passage_texts
from readmit_spark.nightly.published_nights import Nights, table_of_night
from readmit_spark.nightly.shown_columns import names_of_columns
from readmit_spark.nightly.worklist_types import (
    Change,
    Driver,
    Left,
    NewNote,
    Passage,
    Patient,
    Worklist,
)
from readmit_spark.storage.manifests import Night
from readmit_spark.storage.run import Run
from readmit_spark.storage.text_ids import shown


def worklist(
    run: Run,
    tables: Mapping[str, DataFrame],
    notes: DataFrame,
    admissions_at: DataFrame,
    nights: Nights,
    in_use: ModelInUse,
    rule: AlertRule,
    facts: Mapping[str, Any],
    ids: Mapping[int, str],
    columns: Mapping[int, Mapping[str, str]],
) -> Worklist:
    """Return the contents of the night's page.

    tables: the night's tables. notes: its notes with their texts; the page shows texts only if
    nightly.include_text is true. admissions_at: all admissions as recorded at as-of. facts: as in
    the manifest. ids: the texts that the page shows for numbers of ids. columns: hadm_id -> values
    of `nightly.columns`.
    """
    config = run.config
    rows = sorted(_rows(tables["patient_risk"]), key=lambda row: row["rank"])
    listed = _listed(nights.previous, admissions_at)
    added = _new_notes_of(run, tables["notes"], nights.previous, listed, ids)
    texts: dict[tuple[int, int, int], str] = {}
    if config.nightly.include_text:
        for row in _rows(passage_texts(tables["patient_risk"], notes)):
            texts[row["row_id"], row["start"], row["end"]] = row["text"]
    as_of = datetime.fromisoformat(facts["as_of"])
    patients = [
        _patient(
            row,
            added.get(row["hadm_id"], []),
            texts,
            _patient_history(row, in_use, as_of),
            ids,
            columns.get(row["hadm_id"], {}),
        )
        for row in rows
    ]
    reasons = Counter(row["reason"] for row in tables["unscored"].select("reason").collect())
    return Worklist(
        as_of=as_of,
        previous=nights.previous.as_of if nights.previous else None,
        window=config.nightly.window,
        model=facts["model"],
        patients=patients,
        left=_left(listed, ids),
        unscored=dict(sorted(reasons.items())),
        alert=alert_of_night(in_use.fits, rule, patients, nights, as_of),
        outcomes=facts["outcomes"],
        facts=_facts_of_page(facts, config),
        seconds=run.progress.seconds,
        uncertain=facts["counts"]["uncertain"],
        old_sources=facts["old_sources"],
        horizon_days=config.label.horizon_days,
        has_risks=in_use.fits.has_risks,
        doubts=facts["doubts"],
        columns=names_of_columns(config),
    )


def _new_notes_of(
    run: Run,
    notes: DataFrame,
    previous: Night | None,
    listed: list[dict[str, Any]],
    ids: Mapping[int, str],
) -> dict[int, list[NewNote]]:
    """Return HADM_ID -> notes that came since the night before. Patients who were not listed then
    are left out, because all their notes are new."""
    if not previous:
        return {}
    before = {row["hadm_id"] for row in listed}
    added: dict[int, list[NewNote]] = {}
    for row in _rows(new_notes(notes, table_of_night(run.spark, previous, "notes"))):
        if row["hadm_id"] in before:
            row_id, written = shown(row["row_id"], ids), _time(row["charttime"])
            note = NewNote(row_id, row["category"] or "", written)
            added.setdefault(row["hadm_id"], []).append(note)
    return added


def outcome_figures(outcomes: DataFrame, config: Config) -> dict[str, Any] | None:
    """Measure earlier worklists: n, readmitted, from, to (dates of discharge), auroc and
    alert_precision. None if no outcome is settled yet. outcomes: `night_risk.outcomes`."""
    day = F.date_format("dischtime", "yyyy-MM-dd")
    rows = pd.DataFrame(outcomes.withColumn("dischtime", day).orderBy("hadm_id").toPandas())
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
    history: list[tuple[datetime, float]],
    ids: Mapping[int, str],
    columns: Mapping[str, str],
) -> Patient:
    """Make a patient of the list; history: from `_patient_history`, tonight last."""
    change: Change = "new"
    tonight, before = history[-1][1], None
    if row["previous_score"] is not None:
        before = history[-2][1]
        change = "same" if tonight == before else "risen" if tonight > before else "fallen"
    has_risk = row["risk"] is not None
    return Patient(
        rank=row["rank"],
        subject_id=shown(row["subject_id"], ids),
        hadm_id=shown(row["hadm_id"], ids),
        day_of_stay=row["day_of_stay"],
        n_notes=row["n_notes"],
        n_chunks=row["n_chunks"],
        score=row["score"],
        previous_score=row["previous_score"],
        change=change,
        alert=row["alert"],
        history=history,
        drivers=[_driver(driver, texts, ids) for driver in row["drivers"]],
        new_notes=added,
        risk=tonight if has_risk else None,
        previous_risk=before if has_risk else None,
        columns=columns,
    )


def _driver(
    driver: dict[str, Any], texts: Mapping[tuple[int, int, int], str], ids: Mapping[int, str]
) -> Driver:
    passages = [
        Passage(
            shown(p["row_id"], ids), p["category"] or "", p["start"], p["end"],
            texts.get((p["row_id"], p["start"], p["end"])),
        )
        for p in driver["passages"]
    ]  # fmt: skip
    return Driver(
        driver["chunk_index"],
        driver["probability"],
        driver["share"],
        passages,
    )


def _listed(previous: Night | None, admissions_at: DataFrame) -> list[dict[str, Any]]:
    """Return the patients of the night before: subject_id, hadm_id, value (the risk, or the score
    without one), and the reason why they are no longer in the house (None if they are)."""
    if not previous:
        return []
    reason = (
        F.when(
            F.col("admission_type").isNull() & F.col("admittime").isNull(), "no longer in the data"
        )
        .when(F.col("deathtime").isNotNull(), "died")
        .when(F.col("dischtime").isNotNull(), "discharged")
    )
    listed = previous.table("patient_risk")
    if "risk" not in listed.columns:  # a night of an earlier version
        listed = listed.withColumn("risk", F.lit(None).cast("double"))
    listed = listed.select("subject_id", "hadm_id", F.coalesce("risk", "score").alias("value"))
    admissions = admissions_at.select(
        "hadm_id", "admittime", "admission_type", "deathtime", "dischtime"
    )
    reasons = listed.join(admissions, "hadm_id", "left").withColumn("reason", reason)
    return _rows(reasons.select("subject_id", "hadm_id", "value", "reason"))


def _left(listed: list[dict[str, Any]], ids: Mapping[int, str]) -> list[Left]:
    """Return those of `_listed` who are no longer in the house."""
    left = [row for row in listed if row["reason"]]
    left.sort(key=lambda row: (-row["value"], row["hadm_id"]))
    return [
        Left(shown(r["subject_id"], ids), shown(r["hadm_id"], ids), r["value"], r["reason"])
        for r in left
    ]


def _patient_history(
    row: dict[str, Any], in_use: ModelInUse, as_of: datetime
) -> list[tuple[datetime, float]]:
    """Return (night, risk or score) of the nights whose scores can be compared with tonight's."""
    points = []
    for point in row["history"]:
        if point["basis"] == in_use.basis:
            night = datetime.fromisoformat(point["as_of"]).replace(tzinfo=None)
            day_of_stay = row["day_of_stay"] - (as_of.date() - night.date()).days
            fit = in_use.fits.days[in_use.fits.at(day_of_stay, night)]
            points.append((night, fit.value(point["score"])))
    return points


def _facts_of_page(facts: Mapping[str, Any], config: Config) -> dict[str, str]:
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
        **{
            f"{table}: {name.replace('_', ' ')}": f"{n:,}"
            for table, key in (("admissions", "admissions"), ("all notes", "notes_read"))
            for name, n in facts[key].items()
            if n and name not in ("rows", "notes")
        },
    }


def _rows(frame: DataFrame) -> list[dict[str, Any]]:
    """Collect the rows as dicts. Through JSON: pyspark would convert times to local time."""
    rows = frame.select(F.to_json(F.struct("*"), {"ignoreNullFields": "false"}).alias("row"))
    return [json.loads(row["row"]) for row in rows.collect()]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
