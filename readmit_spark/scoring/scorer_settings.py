"""Scoring as the jobs share it: how a worker makes the model, and what the test patients get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import SAMPLE, check_precision
from readmit_spark.scoring.classifier import alert_threshold, vote_c
from readmit_spark.scoring.locate import Located
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    check_gpus,
    distinct_chunks,
    patient_scores,
    probe,
    score_chunks,
)
from readmit_spark.scoring.ship_model import ship
from readmit_spark.scoring.workload import workload


def scorer_settings(spark: SparkSession, config: Config, located: Located) -> ScorerSettings:
    """What `score` in the configuration makes of the model, which is sent to the nodes."""
    score = config.score
    return ScorerSettings(
        ship(spark, located.folder, located.source),
        score.backend,
        score.precision,
        score.batch_tokens,
        score.device,
    )


def check_scorer(
    config: Config,
    settings: ScorerSettings,
    distinct: DataFrame,
    threshold: float,
    progress: Progress,
) -> str:
    """Builds the scorer on an executor, says which it is and gives its backend's name; UserError
    where 16 bits move a probability too far from fp32. threshold: of an alert."""
    found = probe(distinct, settings, SAMPLE, threshold)
    check_precision(config, found, threshold, progress)
    return found.backend


def scores_of_test_split(
    spark: SparkSession,
    config: Config,
    prepared: dict[str, Any],
    located: Located,
    windows: Sequence[str],
    keep: Callable[[DataFrame], DataFrame],
    progress: Progress,
) -> DataFrame:
    """`patient_scores` of the test admissions of known outcome, by the vote that the model brings
    along. `keep` holds a table that is read several times."""
    check_gpus(spark)
    chunks, cohort = (spark.read.parquet(f"{prepared['path']}/{t}") for t in ("chunks", "cohort"))
    asked = chunks.where(
        F.col("window").isin(list(windows))
        & (F.col("split") == "test")
        & F.col("label").isNotNull()
    )
    distinct = keep(distinct_chunks(asked))
    settings = scorer_settings(spark, config, located)
    threshold = alert_threshold(config, located.folder, windows)
    check_scorer(config, settings, distinct, threshold, progress)
    scores = score_chunks(distinct, workload(distinct).tasks, settings, located.name)
    return patient_scores(scores, cohort, windows, vote_c(config, located.folder))
