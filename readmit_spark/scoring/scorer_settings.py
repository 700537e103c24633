"""Shared by the jobs that score: scorer settings, the precision check, scores of the test split."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.scoring.check_model import SAMPLE, check_fitted_chunks, check_precision
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.precision_probe import PrecisionProbe, probe
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    check_gpus,
    chunk_scores_table,
    distinct_chunks,
    patient_scores,
    score_chunks,
)
from readmit_spark.scoring.ship_model import ship
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run
from readmit_spark.text_rules import TextRules


def scorer_settings(run: Run, model: Model, max_tokens: int, rules: TextRules) -> ScorerSettings:
    """Send the model to the nodes and return the settings that a worker builds it from.

    max_tokens, rules: of the chunks to score. UserError if the model was fine-tuned on other
    chunks, or if GPUs are configured wrongly.
    """
    check_fitted_chunks(model, max_tokens, rules)
    check_gpus(run.spark)
    score = run.config.score
    return ScorerSettings(
        ship(run.spark, model.folder, model.source),
        score.backend,
        score.precision,
        score.batch_tokens,
        score.device,
    )


def check_scorer(
    run: Run,
    settings: ScorerSettings,
    chunks: DataFrame,
    by: Sequence[str],
    threshold: float,
    c: float,
) -> PrecisionProbe:
    """Build the scorer on an executor and return what was measured.

    chunks, by: see `probe`. threshold: patient scores from this value on raise an alert. c: of the
    vote. UserError where a 16-bit precision moves a probability too far from fp32, or changes the
    alerts of too many patients.
    """
    measured = probe(chunks, by, settings, SAMPLE, threshold, c)
    check_precision(run.config, measured, threshold, run.progress)
    return measured


def check_scores_of_windows(
    run: Run,
    settings: ScorerSettings,
    chunks: DataFrame,
    model: Model,
    windows: Sequence[str],
) -> PrecisionProbe:
    """Call `check_scorer` for prepared chunks of the windows."""
    return check_scorer(
        run,
        settings,
        chunks,
        ("window", "hadm_id"),
        model.alert_threshold(run.config, windows),
        model.vote_c(run.config),
    )


def scores_of_test_split(
    run: Run, prepared: Prepared, model: Model, windows: Sequence[str]
) -> DataFrame:
    """Return `patient_scores` of the test admissions with a known outcome.

    c of the vote is `model.vote_c`.
    """
    chunks = prepared.table("chunks").where(
        F.col("window").isin(list(windows))
        & (F.col("split") == "test")
        & F.col("label").isNotNull()
    )
    name = "-".join(["distinct", *windows, *model.name.split("/")])
    distinct = run.write_temp(distinct_chunks(chunks), name)
    settings = scorer_settings(run, model, prepared.max_tokens, prepared.text_rules)
    check_scores_of_windows(run, settings, chunks, model, windows)
    scores = score_chunks(distinct, workload(distinct).tasks, settings)
    scores = chunk_scores_table(chunks, scores, model.name)
    return patient_scores(scores, prepared.table("cohort"), windows, model.vote_c(run.config))
