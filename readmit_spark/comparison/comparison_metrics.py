"""Decide which model scores which windows, and compute the figures that `compare` reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from readmit_spark.comparison.crossval_job import summary
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.evaluate import at_both_prevalences, attainable_auroc
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
    risks: Mapping[int, float] | None,
    config: Config,
    baselines: Sequence[str] = (),
) -> Result:
    """Compute the content of compare.json.

    scores: the table `model_scores`. risks: true risks by admission, if known. Returns for each
    window the measures of each model at natural and balanced prevalence, and `attainable_auroc` if
    risks are known. Measures have intervals, or mean and SD over several folds. Transformers come
    first, then `baselines` in their order.
    """
    order = {name: i for i, name in enumerate(baselines, start=1)}
    names = sorted(scores.model.unique(), key=lambda name: (order.get(name, 0), name))
    windows: Result = {}
    for window in dict.fromkeys(sorted(scores.window.unique(), key=_by_days)):
        in_window = scores[scores.window == window]
        models = {}
        for name in names:
            own = in_window[in_window.model == name]
            folds = [
                {"windows": {window: at_both_prevalences(rows, config)}}
                for _, rows in own.groupby("fold")
            ]
            if folds:
                single = len(folds) == 1
                models[name] = (folds[0]["windows"] if single else summary(folds))[window]
        windows[window] = {"models": models}
        if risks is not None:
            one = in_window[in_window.model == names[0]]
            windows[window]["attainable_auroc"] = attainable_auroc(one, risks, config)
    return {"folds": int(scores.fold.nunique()), "windows": windows}


def _by_days(window: str) -> tuple[bool, int]:
    days = parse_window(window).days
    return days is None, days or 0
