"""Risks are fitted again on the settled nights of a small hospital."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.risk_curve import fit_risk_curve
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.scoring.model import Model, resolve_scorer
from readmit_spark.storage.publish import read_manifest
from tests.runs import run_nightly, start_run
from tests.tables_in import note, stay, words, write_csv

NIGHTS = [datetime(2020, 1, day, 2) for day in (2, 3, 6)]
PATIENTS = 36


class House(NamedTuple):
    config: Config
    model: Model
    root: Path


@pytest.fixture(scope="module")
def house(spark: SparkSession, tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> House:
    """36 patients come on 1 January and leave after two nights; every third comes back that day.
    Their outcomes are settled by the last night."""
    folder = tmp_path_factory.mktemp("recalibrated")
    stays = [stay(900, 9001, "2020-01-05", None)]
    notes = [note(9000, 900, 9001, words(30, 5), "2020-01-05", "13:00:00")]
    for i in range(PATIENTS):
        subject, hadm = i + 1, 10 * i + 11
        stays.append(stay(subject, hadm, "2020-01-01", "2020-01-03"))
        if i % 3 == 0:
            stays.append(stay(subject, hadm + 1, "2020-01-03 18:00:00", "2020-01-03 22:00:00"))
        notes.append(note(2 * i, subject, hadm, words(20, 30 * i), "2020-01-01", "14:00:00"))
        notes.append(note(2 * i + 1, subject, hadm, words(9, 40 * i), "2020-01-02", "14:00:00"))
    config = load_config(
        overrides=[
            f"data.admissions={write_csv(folder / 'ADMISSIONS.csv', stays)}",
            f"data.notes={write_csv(folder / 'NOTES.csv', notes)}",
            f"output.root={folder / 'out'}", f"model.path={tiny_model}", "model.max_tokens=128",
            "chunk.words=12", "chunk.min_tail_words=3", "nightly.alert_value=4",
            "score.bootstrap=20", "label.horizon_days=1",
        ]
    )  # fmt: skip
    model = Model(tiny_model, "tiny")
    for night in NIGHTS:
        run_nightly(spark, config, model, night)
    return House(config, model, folder / "out")


def recalibrate(spark: SparkSession, config: Config, model: Model) -> str:
    from readmit_spark.nightly.recalibrate_job import recalibrate as job

    with start_run(spark, config, "recalibrate") as run:
        return job(run, model)


def scores_of(spark: SparkSession, house: House, night: datetime) -> pd.DataFrame:
    name = f"nightly/{night:%Y-%m-%dT%H%M%S}"
    path = read_manifest(spark, str(house.root), name)["path"]
    rows = pq.read_table(f"{path}/patient_risk").to_pandas().sort_values("hadm_id")
    rows = rows[rows.hadm_id % 10 == 1]
    return rows.assign(label=(rows.subject_id % 3 == 1).astype(int))


def test_a_version_has_the_risks_and_thresholds_of_the_settled_nights(
    spark: SparkSession, house: House
) -> None:
    lines = recalibrate(spark, house.config, house.model)
    assert "registered readmission/1 as the champion" in lines
    champion = replace(house.config.model, path="models:/readmission@champion")
    fitted = resolve_scorer(replace(house.config, model=champion)).fitted
    assert fitted is not None and set(fitted.risks) == {"1days", "2days"}
    record: dict[str, Any] = json.loads((house.root / "recalibrate.json").read_text())
    for window, night in (("1days", NIGHTS[0]), ("2days", NIGHTS[1])):
        rows = scores_of(spark, house, night)
        data = (rows.score.to_numpy(), rows.label.to_numpy(), rows.subject_id.to_numpy())
        curve = fit_risk_curve(*data)
        assert curve is not None and curve.method == "intercept"
        assert fitted.risks[window].intercept == pytest.approx(curve.intercept, abs=1e-9)
        assert fitted.alerts[window] == operating_points(*data)
        found = record["windows"][window]
        assert (found["n"], found["readmitted"]) == (PATIENTS, PATIENTS / 3)
        before = ((data[0] - data[1]) ** 2).mean()
        assert found["before"]["brier"]["value"] == pytest.approx(before)
        ratio = found["after"]["observed_over_expected"]["value"]
        assert abs(np.log(ratio)) < abs(np.log(data[1].sum() / data[0].sum()))


def test_nights_of_another_model_are_refused(spark: SparkSession, house: House) -> None:
    other = Model(house.model.folder, "other")
    with pytest.raises(UserError, match=r"was scored by tiny@.* and not by other@"):
        recalibrate(spark, house.config, other)


def test_without_a_settled_outcome_nothing_is_registered(spark: SparkSession, house: House) -> None:
    waiting = replace(house.config, label=load_config().label)  # 30 days have not passed
    with pytest.raises(UserError, match="wait for more nights"):
        recalibrate(spark, waiting, house.model)
