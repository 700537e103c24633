"""Recalibrate: fit risks and alert thresholds again on the settled nights of a hospital."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.recalibration import recalibrate as fit_again
from readmit_spark.evaluation.recalibration import unseen_risks
from readmit_spark.evaluation.risk_curve import MIN_EVENTS
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.nightly.day_fits import day_fits
from readmit_spark.nightly.settled_rows import SettledNights, settled_nights
from readmit_spark.notes.windows import parse_window
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.load_tokenizer import read_tokenizer
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.registry import champion_name, make_champion, register
from readmit_spark.storage.run import Run
from readmit_spark.storage.ward_actions import acted_on, acted_on_line

STAGES = 3
RECORD = "recalibrate.json"
SHOWN = ("brier", "observed_over_expected", "calibration_intercept", "calibration_slope")


def recalibrate(run: Run, model: Model) -> str:
    """Register `model` with risks and thresholds of the hospital's own nights; publish the figures
    before and after. Return the summary lines.

    The new version becomes the champion if `model` is the champion and the risks agree better with
    outcomes of patients that they were not fitted on; otherwise it is the challenger. UserError if
    no night is settled with at least `MIN_EVENTS` readmissions.
    """
    config, window = run.config, run.config.nightly.window
    days = parse_window(window).days
    if days is None:
        raise UserError("nightly.window: nights have no discharge summary; set Ndays")
    with run.stage("settled nights"):
        settled = settled_nights(run, f"{model.name}@{model.fingerprint}", day_fits(window, {}, {}))
        run.say(
            f"{len(settled.nights):,} nights, {settled.rows.hadm_id.nunique():,} admissions with a "
            f"settled outcome, {settled.rows[settled.rows.alert].hadm_id.nunique():,} of them "
            "alerted"
        )
        if config.nightly.actions:
            done = {row["hadm_id"] for row in acted_on(run.spark, config).collect()}
            followed = set(settled.rows.hadm_id)
            run.say(acted_on_line(len(followed & done), len(followed), "settled"))
    with run.stage("risks before and after"):
        fitted = _earlier(model, config)
        new, figures = _fit(settled.rows, fitted, window, days, config)
        better = _log_loss(figures, "after") < _log_loss(figures, "before")
    with run.stage("register"):
        name, alias = _register(config, model, new, settled, figures, better)
        record = {
            "from": model.name, "registered": name, "alias": alias,
            "nights": [settled.nights[-1].as_of.isoformat(), settled.nights[0].as_of.isoformat()],
            "windows": figures,
        }  # fmt: skip
        run.publish(record, {RECORD: json.dumps(record, indent=1)})
    return "\n".join([*_lines(figures), f"registered {name} as the {alias}"])


def _earlier(model: Model, config: Config) -> FittedSettings:
    """Return what the model has fitted for the c of the nights; nothing for another c."""
    c, fitted = model.vote_c(config), model.fitted
    if fitted is None:
        return FittedSettings(config.nightly.window, config.model.max_tokens, c, {})
    return fitted if fitted.vote_c == c else replace(fitted, vote_c=c, alerts={}, risks={})


def _fit(
    rows: pd.DataFrame, fitted: FittedSettings, window: str, days: int, config: Config
) -> tuple[FittedSettings, dict[str, Any]]:
    """Return the new settings, and by window n, readmitted and the figures before and after."""
    alerts, risks = dict(fitted.alerts), dict(fitted.risks)
    figures: dict[str, Any] = {}
    for day in range(1, days + 1):
        name, of_day = f"{day}days", rows[rows.fit == day - 1]
        data = (
            of_day.score.to_numpy(float), of_day.label.to_numpy(int), of_day.subject_id.to_numpy()
        )  # fmt: skip
        old = fitted.risks.get(name, fitted.risks.get(window))
        curve = fit_again(old, *data)
        if curve is None:
            continue
        risks[name], alerts[name] = curve, operating_points(*data)
        before = data[0] if old is None else old.risks(data[0])
        figures[name] = {
            "n": len(of_day),
            "readmitted": int(of_day.label.sum()),
            "curve": asdict(curve),
            "before": _agreement(before, *data[1:], config),
            "after": _agreement(unseen_risks(old, *data), *data[1:], config),
        }
    if not figures:
        raise UserError(
            f"output.root: after no number of nights have {MIN_EVENTS} patients with a settled "
            "outcome been readmitted, and as many not: wait for more nights"
        )
    return replace(fitted, alerts=alerts, risks=risks), figures


def _agreement(risks: Any, labels: Any, patients: Any, config: Config) -> dict[str, Any]:
    measures = evaluate(
        risks, labels, patients, replicates=config.score.bootstrap, seed=config.split.seed
    )
    inside = np.clip(risks, 1e-12, 1 - 1e-12)
    log_loss = -np.log(np.where(labels == 1, inside, 1 - inside)).sum()
    return {name: measures[name] for name in SHOWN} | {"log_loss": float(log_loss)}


def _log_loss(figures: Mapping[str, Any], when: str) -> float:
    return float(sum(of_window[when]["log_loss"] for of_window in figures.values()))


def _register(
    config: Config,
    model: Model,
    fitted: FittedSettings,
    settled: SettledNights,
    figures: Mapping[str, Any],
    better: bool,
) -> tuple[str, str]:
    """Register the weights with the new settings; return name/version and the alias."""
    from transformers import AutoModelForSequenceClassification

    from readmit_spark.scoring.whole_model import load_whole

    settings = deepcopy(model.settings)
    setattr(settings, KEY, fitted.to_dict())
    weights = load_whole(AutoModelForSequenceClassification, model.folder, settings)
    nights = f"{settled.nights[-1].as_of:%Y-%m-%d} to {settled.nights[0].as_of:%Y-%m-%d}"
    was_champion = champion_name(config.tracking_uri, config.model.name) == model.name
    with job_run(config, "recalibrate") as mlflow:
        mlflow.log_params({"from": model.name, "nights": nights})
        mlflow.log_dict({"windows": figures}, RECORD)
        mlflow.log_dict(fitted.to_dict(), "learnt.json")
        name, alias = register(
            mlflow, weights, read_tokenizer(model.folder), config.model.name,
            {
                "window": fitted.window, "max_tokens": fitted.max_tokens, "from": model.name,
                "split": model.seen_split, "recalibrated_on": nights,
            },
            doubts=model.doubts(),
        )  # fmt: skip
        registered, _, version = name.partition("/")
        mlflow.MlflowClient().update_model_version(
            registered, version,
            f"The weights of {model.name} with risks and alert thresholds of the nights {nights}.",
        )  # fmt: skip
    if better and was_champion:
        why = f"the weights of {model.name}, recalibrated on the nights {nights}"
        make_champion(config.tracking_uri, registered, version, why)
        alias = "champion"
    return name, alias


def _lines(figures: Mapping[str, Any]) -> list[str]:
    lines = []
    for window, of_window in figures.items():
        for when in ("before", "after"):
            found = of_window[when]
            shown = ", ".join(f"{name.replace('_', ' ')} {_value(found[name])}" for name in SHOWN)
            lines.append(
                f"{window}  {when:6}  {of_window['n']:,} admissions, "
                f"{of_window['readmitted']:,} readmitted: {shown}"
            )
    return lines


def _value(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return "-"
    if measure.get("low") is None:
        return f"{measure['value']:.3f}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"
