"""The settled outcomes of the published nights, by the nights that a patient had spent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.nightly.day_fits import DayFits
from readmit_spark.nightly.in_house import admissions_at
from readmit_spark.nightly.night_risk import settled
from readmit_spark.nightly.published_nights import NIGHT_NAME, find_nights, tables_of_nights
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.storage.manifests import Night
from readmit_spark.storage.run import Run


@dataclass(frozen=True)
class SettledNights:
    """nights: those of one basis, the last one first. rows: fit (index of `DayFits.days`),
    subject_id, hadm_id, score, alert, label; one row for each admission and fit, of the first night
    with this fit. So an admission counts once with each number of nights."""

    nights: Sequence[Night]
    rows: pd.DataFrame


def settled_nights(run: Run, model: str, fits: DayFits) -> SettledNights:
    """Read the nights of the model `model` (name@fingerprint) whose scores can be compared with
    those of the last night. UserError if the last night is of another model."""
    root = run.config.output_root
    published = find_nights(run, datetime.max, sys.maxsize, ("patient_risk",)).used
    if not published:
        raise UserError(f"output.root: {root} has no complete night; run jobs/nightly.py first")
    last = published[0]
    if not last.model.startswith(f"{model} "):
        raise UserError(
            f"model.path: the last night, {last.as_of}, was scored by {last.model} and not by "
            f"{model}; give the model of the nights"
        )
    nights = [night for night in published if night.basis == last.basis]
    distinct, _ = all_admissions(run)
    labelled = label_admissions(admissions_at(distinct, last.as_of), run.config)
    outcomes = settled(labelled, last.as_of, run.config.label.horizon_days)
    risk = tables_of_nights(run.spark, nights, "patient_risk").join(outcomes, "hadm_id", "inner")
    columns = ("night", "subject_id", "hadm_id", "day_of_stay", "score", "alert", "label")
    rows = pd.DataFrame(risk.select(*map(F.col, columns)).toPandas())
    times = pd.to_datetime(rows.night, format=NIGHT_NAME)
    rows["fit"] = [fits.at(day, time) for day, time in zip(rows.day_of_stay, times, strict=True)]
    first = rows.sort_values(["night", "hadm_id"]).drop_duplicates(["hadm_id", "fit"])
    return SettledNights(nights, first.drop(columns=["night", "day_of_stay"]))
