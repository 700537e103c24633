"""What `compare` measures: which model reads which window, and its figures from its scores."""

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


def trainings_of(config: Config, made: Sequence[str]) -> dict[str, list[str]]:
    """Window trained on -> windows measured: the discharge summaries have a model of their own,
    all early windows that of `train.window`."""
    early = [window for window in made if parse_window(window).days is not None]
    trainings: dict[str, list[str]] = {}
    if early:
        if config.train.window not in early:
            raise UserError(
                f"train.window is {config.train.window}: of the early windows prepare made "
                f"{', '.join(early)}; set one of these"
            )
        trainings[config.train.window] = early
    if "discharge" in made:
        trainings["discharge"] = ["discharge"]
    return trainings


def measured(
    scores: pd.DataFrame,
    risks: Mapping[int, float] | None,
    config: Config,
    baselines: Sequence[str] = (),
) -> Result:
    """compare.json: by window, `attainable_auroc` where true risks are known, and by model the
    measures at natural and balanced prevalence: with intervals, or over folds mean and SD.

    scores: of the table `model_scores`. Transformers come first, then `baselines` in their order.
    """
    order = {name: i for i, name in enumerate(baselines, start=1)}
    names = sorted(scores.model.unique(), key=lambda name: (order.get(name, 0), name))
    windows: Result = {}
    for window in dict.fromkeys(sorted(scores.window.unique(), key=_by_days)):
        here = scores[scores.window == window]
        models = {}
        for name in names:
            mine = here[here.model == name]
            folds = [
                {"windows": {window: at_both_prevalences(rows, config)}}
                for _, rows in mine.groupby("fold")
            ]
            if folds:
                single = len(folds) == 1
                models[name] = (folds[0]["windows"] if single else summary(folds))[window]
        windows[window] = {"models": models}
        if risks is not None:
            one = here[here.model == names[0]]
            windows[window]["attainable_auroc"] = attainable_auroc(one, risks, config)
    return {"folds": int(scores.fold.nunique()), "windows": windows}


def _by_days(window: str) -> tuple[bool, int]:
    days = parse_window(window).days
    return days is None, days or 0
