"""What the jobs that score share: the scorer's settings, its check, and scores of test patients."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.scoring.check_model import SAMPLE, check_precision
from readmit_spark.scoring.model import Model
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
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run


def scorer_settings(run: Run, model: Model) -> ScorerSettings:
    """The settings of `score` for this model, which is sent to the nodes."""
    score = run.config.score
    return ScorerSettings(
        ship(run.spark, model.folder, model.source),
        score.backend,
        score.precision,
        score.batch_tokens,
        score.device,
    )


def check_scorer(run: Run, settings: ScorerSettings, distinct: DataFrame, threshold: float) -> str:
    """Build the scorer on an executor and return the name of its backend. UserError where 16 bits
    move a probability too far from fp32. threshold: the score from which on an alert is raised."""
    found = probe(distinct, settings, SAMPLE, threshold)
    check_precision(run.config, found, threshold, run.progress)
    return found.backend


def scores_of_test_split(
    run: Run, prepared: Prepared, model: Model, windows: Sequence[str]
) -> DataFrame:
    """`patient_scores` of the test admissions with a known outcome, with the model's own vote."""
    check_gpus(run.spark)
    chunks = prepared.table("chunks").where(
        F.col("window").isin(list(windows))
        & (F.col("split") == "test")
        & F.col("label").isNotNull()
    )
    name = "-".join(["distinct", *windows, *model.name.split("/")])
    distinct = run.write_temp(distinct_chunks(chunks), name)
    settings = scorer_settings(run, model)
    check_scorer(run, settings, distinct, model.alert_threshold(run.config, windows))
    scores = score_chunks(distinct, workload(distinct).tasks, settings, model.name)
    return patient_scores(scores, prepared.table("cohort"), windows, model.vote_c(run.config))
