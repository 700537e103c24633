"""Compare the transformer with the baselines on the same patients, and with published figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.comparison.baselines import NAMES
from readmit_spark.comparison.comparison_metrics import (
    comparison_result,
    first_gate,
    windows_by_training,
)
from readmit_spark.comparison.comparison_page import comparison_page
from readmit_spark.comparison.incumbents import check_incumbents, incumbent_scores
from readmit_spark.comparison.train_and_score import COLUMNS, Models, union
from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.scoring.registry import FIRST_GATE, tag_version
from readmit_spark.storage.input_tables import read_true_risks
from readmit_spark.storage.manifests import Compared, Prepared
from readmit_spark.storage.run import Run
from readmit_spark.training.choose_model import delete_checkpoints
from readmit_spark.training.launch import Launch

STAGES = 2 + len(NAMES)
SCORES = "model_scores"
_VERSION = 2  # of the baselines; a new version runs them again


def compare(run: Run, prepared: Prepared, launch: Launch) -> dict[str, Any]:
    """Publish compare.json, compare.html and every model's scores; return compare.json's content.

    A model that was compared before, on these chunks and with these settings, is not run again.
    Transformers of another `model.name` stay in the table.
    """
    config = run.config
    prepared.check_codes()
    prepared.check_notes(config.train.window)
    missing = [window for window in config.windows if window not in prepared.windows]
    if missing:
        raise UserError(
            f"windows: {', '.join(missing)} not prepared, only {', '.join(prepared.windows)}; run "
            "jobs/prepare.py with all of them, or set windows"
        )
    check_incumbents(run, [config.model.name, *NAMES])
    trainings = windows_by_training(config, prepared.windows)
    earlier = Compared.read_if_complete(run.spark, config.output_root)
    earlier_keys = dict(earlier.models) if earlier else {}
    models = Models(run, prepared, launch)
    new_scores, keys = _run_models(run, models, trainings, earlier_keys)
    with run.stage("table"):
        reused = {
            model: key
            for model, key in earlier_keys.items()
            if model not in new_scores and {**key, "what": None} == models.key(None)
        }
        frames = _named(new_scores)
        if earlier and reused:
            earlier_scores = earlier.table(SCORES)
            frames.insert(0, earlier_scores.where(F.col("model").isin(list(reused))))
        incumbents = incumbent_scores(run, prepared.table("cohort"), _admissions(frames, config))
        frames += _named(incumbents)
        scores = run.write_table(union(frames), SCORES)
        measured = [window for of_model in trainings.values() for window in of_model]
        risks = read_true_risks(run.spark, config, prepared.table("cohort"), measured)
        result = comparison_result(
            scores.toPandas(), risks, config, [*NAMES, *incumbents], first=config.model.name
        )
        _judge_champion(config, models, result)
        verdict = f"first gate {result['first_gate']}" if "first_gate" in result else ""
        run.publish(
            {"prepared": prepared.run, "models": {**reused, **keys}, "verdict": verdict},
            {
                "compare.json": json.dumps(result, indent=1),
                "compare.html": comparison_page(result),
            },
        )
    delete_checkpoints(models.candidates)
    return result


def _named(scores: Mapping[str, DataFrame]) -> list[DataFrame]:
    """Return the scores of each model with its name, in the columns of the table."""
    return [rows.withColumn("model", F.lit(name)).select(*COLUMNS) for name, rows in scores.items()]


def _admissions(frames: Sequence[DataFrame], config: Config) -> DataFrame:
    """Return the admissions that the transformer was measured on, without folds."""
    measured = union(frames).where(F.col("model") == config.model.name)
    return measured.select(F.lit(-1).alias("fold"), *COLUMNS[2:5], "label")


def _judge_champion(config: Config, models: Models, result: dict[str, Any]) -> None:
    """Put the first gate into the result, and into the tags of the champion that was compared."""
    if config.train.window not in result["windows"]:
        return
    verdict = first_gate(result["windows"][config.train.window], config.promote.margin)
    result["first_gate"] = verdict
    champion = models.champions.get(config.train.window)
    if champion is not None:
        tag_version(config.tracking_uri, champion.name, FIRST_GATE, verdict)


def _run_models(
    run: Run, models: Models, trainings: Mapping[str, Sequence[str]], earlier: Mapping[str, Any]
) -> tuple[dict[str, DataFrame], dict[str, Any]]:
    """Return model -> test scores for the models that had to run, and model -> key for all models.

    earlier: the keys of the last comparison.
    """
    new_scores: dict[str, DataFrame] = {}
    keys: dict[str, Any] = {}
    name = run.config.model.name
    with run.progress.stage(f"transformer {name}"):
        rows, keys[name] = models.transformer(trainings, earlier.get(name))
        if rows is not None:
            new_scores[name] = rows
    for baseline in NAMES:
        with run.progress.stage(baseline):
            keys[baseline] = models.key(_VERSION)
            if earlier.get(baseline) == keys[baseline]:
                run.say("compared before: reused")
            else:
                new_scores[baseline] = models.baseline(baseline, trainings)
    return new_scores, keys
