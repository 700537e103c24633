"""Compare: the transformer and the baselines on the same patients, beside what was published."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison.baselines import NAMES
from readmit_spark.comparison.comparison_metrics import comparison_result, windows_by_training
from readmit_spark.comparison.comparison_page import comparison_page
from readmit_spark.comparison.train_and_score import COLUMNS, Models, union
from readmit_spark.config import Config, to_dict
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.storage.input_tables import read_risks
from readmit_spark.storage.publish import Publication, has_result, manifest
from readmit_spark.training.choose_model import forget
from readmit_spark.training.launch import Launch

STAGES = 2 + len(NAMES)
SCORES = "model_scores"
_VERSION = 1  # of the baselines: a change in how they are made makes them anew


def compare(
    spark: SparkSession,
    config: Config,
    prepared: dict[str, Any],
    progress: Progress,
    now: Callable[[], datetime],
    launch: Launch,
) -> dict[str, Any]:
    """Publishes compare.json, compare.html and every model's scores, and gives compare.json.

    A model that was compared before, on these chunks and with these settings, is not run again, and
    the transformers of other `model.name`s stay in the table.
    """
    windows = prepared["config"]["windows"]
    lacking = [window for window in config.windows if window not in windows]
    if lacking:
        raise UserError(
            f"windows: {', '.join(lacking)} not prepared, only {', '.join(windows)}; run "
            "jobs/prepare.py with all of them, or set windows"
        )
    trainings = windows_by_training(config, windows)
    name = config.model.name
    before, scores_before = _before(spark, config)
    publication = Publication(spark, config.output_root, "compare", True, now)
    try:
        run = Models(spark, config, prepared, publication, progress, launch)
        made: dict[str, DataFrame] = {}
        keys: dict[str, Any] = {}
        with progress.stage(f"transformer {name}"):
            rows, keys[name] = run.transformer(trainings, before.get(name))
            if rows is not None:
                made[name] = rows
        for baseline in NAMES:
            with progress.stage(baseline):
                keys[baseline] = run.key(_VERSION)
                if before.get(baseline) != keys[baseline]:
                    made[baseline] = run.baseline(baseline, trainings)
                else:
                    progress.say("compared before: reused")
        with progress.stage("table"):
            kept = {
                model: key
                for model, key in before.items()
                if model not in made and {**key, "what": None} == run.key(None)
            }
            frames = [scores_before.where(F.col("model").isin(list(kept)))] if kept else []
            frames += [
                rows.withColumn("model", F.lit(model)).select(*COLUMNS)
                for model, rows in made.items()
            ]
            scores = publication.write_table(union(frames), SCORES)
            result = comparison_result(scores.toPandas(), _risks(spark, config), config, NAMES)
            _publish(publication, result, {**kept, **keys}, config, prepared, now)
        forget(run.candidates)
    except BaseException:
        publication.abandon()
        raise
    return result


def _before(spark: SparkSession, config: Config) -> tuple[dict[str, Any], Any]:
    """Keys of the models of the last run, and the scores."""
    if not has_result(spark, config.output_root, "compare"):
        return {}, None
    try:
        found = manifest(spark, config.output_root, "compare")
    except UserError:  # damaged: all is made anew
        return {}, None
    return found["models"], spark.read.parquet(f"{found['path']}/{SCORES}")


def _publish(
    publication: Publication,
    result: dict[str, Any],
    keys: dict[str, Any],
    config: Config,
    prepared: dict[str, Any],
    now: Callable[[], datetime],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        contents = {
            "compare.json": json.dumps(result, indent=1),
            "compare.html": comparison_page(result),
        }
        files = []
        for name, content in contents.items():
            files.append(Path(folder) / name)
            files[-1].write_text(content, encoding="utf-8")
            publication.put(files[-1], name)
        facts = {
            "finished": now().isoformat(timespec="seconds"),
            "config": to_dict(config),
            "prepared": prepared["run"],
            "models": keys,
        }
        publication.publish(facts, front=files)


def _risks(spark: SparkSession, config: Config) -> dict[int, float] | None:
    if config.data.truth is None:
        return None
    return {row.hadm_id: row.risk for row in read_risks(spark, config.data.truth).collect()}
