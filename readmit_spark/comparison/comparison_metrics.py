"""Decide which model scores which windows, and compute the figures that `compare` reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from readmit_spark.comparison.crossval_job import summary
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.cross_fit import cross_fitted_risks
from readmit_spark.evaluation.curves import why_no_curve
from readmit_spark.evaluation.evaluate import (
    at_both_prevalences,
    attainable_auroc,
    decision_curve_of,
)
from readmit_spark.evaluation.paired import auroc_gain
from readmit_spark.notes.windows import parse_window

Result = dict[str, Any]


def windows_by_training(config: Config, prepared: Sequence[str]) -> dict[str, list[str]]:
    """Return for each window that a model is trained on the windows that this model scores.

    One model, trained on `train.window`, scores all early windows. Discharge summaries have a model
    of their own. prepared: the windows of prepare. Raises UserError if `train.window` is not one.
    """
    early = [window for window in prepared if parse_window(window).days is not None]
    trainings: dict[str, list[str]] = {}
    if early:
        if config.train.window not in early:
            raise UserError(
                f"train.window is {config.train.window}: of the early windows prepare made "
                f"{', '.join(early)}; set one of these"
            )
        trainings[config.train.window] = early
    if "discharge" in prepared:
        trainings["discharge"] = ["discharge"]
    return trainings


def comparison_result(
    scores: pd.DataFrame,
    risks: Mapping[str, Mapping[int, float]] | None,
    config: Config,
    baselines: Sequence[str] = (),
    first: str | None = None,
) -> Result:
    """Compute the content of compare.json.

    scores: the table `model_scores`. risks: true risks by window and admission, if known. first:
    the transformer that the others are compared with. Returns for each window the measures of each
    model at natural and balanced prevalence; `gains` in AUROC of the first model over each other;
    `decision_curves` after recalibration; and `attainable_auroc` if risks are known. Measures
    have intervals, or mean and SD over several folds; then `pooled` has those of all folds
    together, with intervals. Transformers come first, then `baselines` in their order.
    """
    order = {name: i for i, name in enumerate(baselines, start=1)}
    names = sorted(
        scores.model.unique(), key=lambda name: (order.get(name, 0), name != first, name)
    )
    windows: Result = {}
    for window in dict.fromkeys(sorted(scores.window.unique(), key=_by_days)):
        in_window = scores[scores.window == window]
        models: Result = {}
        for name in names:
            own = in_window[in_window.model == name]
            folds = [
                {"windows": {window: at_both_prevalences(rows, config)}}
                for _, rows in own.groupby("fold")
            ]
            if folds:
                single = len(folds) == 1
                models[name] = (folds[0]["windows"] if single else summary(folds))[window]
                if not single:
                    models[name]["pooled"] = at_both_prevalences(own, config)["natural"]
        first = in_window[in_window.model == next(iter(models))]
        windows[window] = {
            "models": models,
            "gains": {
                name: _gain(first, in_window[in_window.model == name]) for name in list(models)[1:]
            },
            "decision_curves": {
                name: _decision_curve(in_window[in_window.model == name], config) for name in models
            },
        }
        if risks is not None:
            one = in_window[in_window.model == names[0]]
            windows[window]["attainable_auroc"] = attainable_auroc(one, risks[window], config)
    folds_of = scores.groupby("model").fold.nunique()
    return {"folds": int(folds_of.max()), "windows": windows}


def first_gate(values: Result, margin: float) -> str:
    """Say whether the first model is better than the structured baseline and not worse than TF-IDF.

    values: one window of compare.json. margin: the loss of AUROC that would not matter.
    """
    needed = {"structured": 0.0, "TF-IDF": -margin}
    if missing := [name for name in needed if name not in values["gains"]]:
        return f"cannot tell: {', '.join(missing)} was not compared"
    found, failed = [], False
    for name, least in needed.items():
        gain = values["gains"][name]
        passes = gain["low"] is not None and gain["low"] > least
        failed |= not passes
        asked = f"better than {name}" if least == 0 else f"not worse than {name} by {margin:g}"
        found.append(f"{'' if passes else 'not shown to be '}{asked} ({gain_text(gain)})")
    return f"{'not passed' if failed else 'passed'}: {'; '.join(found)}"


def gain_text(gain: Mapping[str, Any]) -> str:
    """Return a gain in AUROC with its interval."""
    if gain["value"] is None:
        return "-"
    spread = (
        " (too few to say)"
        if gain["low"] is None
        else f" ({gain['low']:+.3f} to {gain['high']:+.3f})"
    )
    return f"AUROC {gain['value']:+.3f}{spread}"


def _gain(first: pd.DataFrame, other: pd.DataFrame) -> Result:
    """Compute the gain in AUROC of the first model on the admissions that both have scored."""
    both = first.merge(other[["hadm_id", "score"]], on="hadm_id", suffixes=("", "_other"))
    result: Result = {"n": len(both), "value": None, "low": None, "high": None}
    if why_no_curve(both.label.to_numpy(int)):
        return result
    gain = auroc_gain(
        both.score_other.to_numpy(float),
        both.score.to_numpy(float),
        both.label.to_numpy(int),
        both.subject_id.to_numpy(),
    )
    return result | {"value": gain.gain, "low": gain.low, "high": gain.high}


def _decision_curve(rows: pd.DataFrame, config: Config) -> Result:
    """Compute the decision curve after recalibration: training had another prevalence."""
    rows = rows.sort_values("hadm_id")
    risks = cross_fitted_risks(
        rows.score.to_numpy(float),
        rows.label.to_numpy(int),
        rows.subject_id.to_numpy(),
        config.split.seed,
    )
    return decision_curve_of(rows.assign(score=risks), config)


def _by_days(window: str) -> tuple[bool, int]:
    days = parse_window(window).days
    return days is None, days or 0
