"""Cross-validate by patient, or by site: each admission is tested once, by a model that never saw
its patient or its site."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import pandas as pd

from readmit_spark.comparison.crossval_page import crossval_page
from readmit_spark.config import Config
from readmit_spark.evaluation.calibration import CALIBRATION
from readmit_spark.evaluation.card import folds_of, read_prepared
from readmit_spark.evaluation.evaluate import at_both_prevalences
from readmit_spark.evaluation.subgroups import by_subgroup, with_factors
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_tokens, check_unseen
from readmit_spark.scoring.mlflow_run import TRAINING, job_run
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.registry import nested_run
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.storage.manifests import Prepared
from readmit_spark.training.choose_model import (
    Watch,
    absolute_path,
    choose,
    delete_checkpoints,
    training_key,
)
from readmit_spark.training.launch import Launch
from readmit_spark.training.loop import Log, progress_line
from readmit_spark.training.plan import TrainingPlan

MEASURES = ("auroc", "auprc", "rp80")
CALIBRATED = ("brier", *CALIBRATION)
PAGE = "crossval.html"

Result = dict[str, Any]


def crossval(
    config: Config,
    model: Model,
    prepared: Prepared,
    progress: Progress,
    launch: Launch,
) -> Result:
    """Train and test once for each fold. Return, and write to `crossval.json` under output.root,
    the metrics of each fold, their mean and standard deviation, and those of all folds together.

    Learning rate, epoch and c are tuned on each fold's own validation patients. The results of
    finished folds are stored, so a job that was killed continues in the fold where it stopped.
    """
    prepared.check_codes()
    prepared.check_notes(config.train.window)
    check_tokens(model, prepared)
    check_unseen(model, None)
    rates = config.tune.learning_rates or (config.train.learning_rate,)
    tuned = [rates, config.tune.vote_c, config.score.bootstrap]
    key = training_key(config, model, prepared, "crossval with scores", tuned)
    root = absolute_path(config.output_root)
    store = FileStore(f"{root}/_crossval/{key}")
    folds = []
    with job_run(config, f"crossval-{config.train.window}", TRAINING) as mlflow:
        number = folds_of(prepared)
        for fold in range(number):
            with progress.stage(f"fold {fold + 1} of {number}"):
                fold_result = store.read_json(f"fold-{fold}.json")
                if fold_result is None:
                    with nested_run(mlflow, f"fold {fold + 1}"):
                        fold_result = _fold(mlflow, config, model, prepared, launch, fold, progress)
                    store.write_json(f"fold-{fold}.json", fold_result)
                else:
                    progress.say("is done already")
                folds.append(fold_result)
                progress.say(_line(fold_result))
        scores = _out_of_fold([fold.pop("scores") for fold in folds])
        groups = by_subgroup(with_factors(scores, read_prepared(prepared, "subgroups")))
        pooled = {w: at_both_prevalences(rows, config)["natural"] for w, rows in scores.items()}
        subgroups = {w: [asdict(group) for group in own] for w, own in groups.items()}
        result: Result = {"folds": folds, "summary": summary(folds), "pooled": pooled}
        result["subgroups"] = subgroups
        mlflow.log_dict(result, "crossval.json")
        for window, by_prevalence in result["summary"].items():
            for measure, value in by_prevalence["natural"].items():
                if value["mean"] is not None:
                    mlflow.log_metric(f"{window}_{measure}_mean", value["mean"])
    FileStore(root).write_json("crossval.json", result)
    page = crossval_page(pooled, groups).encode()
    FileStore(root).write(PAGE, lambda file: file.write(page))
    store.remove()
    return result


def summary(folds: list[Result]) -> Result:
    """Return mean, sample standard deviation and fold count by window, prevalence and measure.

    Folds where a measure is undefined do not count. Calibration is measured at natural prevalence.
    """
    return {
        window: {
            prevalence: {
                measure: _spread(
                    [fold["windows"][window][prevalence][measure]["value"] for fold in folds]
                )
                for measure in (*MEASURES, *(CALIBRATED if prevalence == "natural" else ()))
            }
            for prevalence in ("natural", "balanced")
        }
        for window in folds[0]["windows"]
    }


def table(result: Result) -> str:
    """Format mean ± standard deviation, one line for each window and prevalence."""
    lines = [
        f"{window}: pooled AUROC {_with_interval(measures['auroc'])}, observed / expected "
        f"{_with_interval(measures['observed_over_expected'])}"
        for window, measures in result["pooled"].items()
    ]
    lines.append(f"{'':24}" + "".join(f"{m.upper():>18}" for m in MEASURES))
    for window, by_prevalence in result["summary"].items():
        for prevalence, values in by_prevalence.items():
            shown = "".join(f"{_plus_minus(values[m]):>18}" for m in MEASURES)
            lines.append(f"{f'{window}, {prevalence}':<24}{shown}")
    return "\n".join(lines)


def _out_of_fold(folds: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Return window -> the scores of all folds. folds: window -> columns."""
    return {
        window: pd.concat([pd.DataFrame(fold[window]) for fold in folds], ignore_index=True)
        for window in folds[0]
    }


def watch_fold(mlflow: Any, progress: Progress) -> Watch:
    """Return a Watch that logs the values of a fold's trainings, by learning rate, to the active
    MLflow run."""

    @contextmanager
    def watch(plan: TrainingPlan) -> Iterator[tuple[Log, Log]]:
        rate = plan.settings.learning_rate

        def record(values: dict[str, float], step: int, steps: int) -> None:
            mlflow.log_metrics({f"{k}_lr_{rate:g}": v for k, v in values.items()}, step=step)

        yield record, lambda *logged: progress.say(progress_line(*logged))

    return watch


def _fold(
    mlflow: Any,
    config: Config,
    model: Model,
    prepared: Prepared,
    launch: Launch,
    fold: int,
    progress: Progress,
) -> Result:
    watch = watch_fold(mlflow, progress)
    best, candidates = choose(config, model, prepared, launch, watch, fold)
    tested = {w: best.patients("test", w).table() for w in best.plan.scored_windows}
    result: Result = {
        "fold": fold,
        "learning_rate": best.plan.settings.learning_rate,
        "c": best.c,
        "windows": {w: at_both_prevalences(rows, config) for w, rows in tested.items()},
    }
    mlflow.log_dict(result, "fold.json")
    delete_checkpoints(candidates)
    # For the figures of all folds together; they stay in output.root until the job ends.
    return result | {"scores": {w: rows.to_dict("list") for w, rows in tested.items()}}


def _line(fold: Result) -> str:
    aurocs = {w: m["natural"]["auroc"]["value"] for w, m in fold["windows"].items()}
    return ", ".join(
        f"{window} AUROC {'-' if value is None else f'{value:.3f}'}"
        for window, value in aurocs.items()
    )


def _spread(values: list[float | None]) -> Result:
    defined = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(defined) if defined else None,
        "sd": statistics.stdev(defined) if len(defined) > 1 else None,
        "folds": len(defined),
    }


def _with_interval(measure: Result) -> str:
    if measure["value"] is None:
        return f"none ({measure['reason']})"
    if measure["low"] is None:
        return f"{measure['value']:.3f}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"


def _plus_minus(value: Result) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.3f}" + ("" if value["sd"] is None else f" ± {value['sd']:.3f}")
