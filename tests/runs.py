"""Run jobs in this process, each in its own Run and without output."""

from __future__ import annotations

import io
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from readmit_spark.progress import Progress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from readmit_spark.comparison.promote_job import Decision
    from readmit_spark.config import Config
    from readmit_spark.insight.explain_job import ExplainRequest
    from readmit_spark.notes.tokenizer import ChunkTokenizer
    from readmit_spark.scoring.model import Model
    from readmit_spark.scoring.score_report import ScoreResult
    from readmit_spark.storage.manifests import Prepared
    from readmit_spark.storage.run import Run


def start_run(
    spark: SparkSession,
    config: Config,
    name: str,
    out: TextIO | None = None,
    overwrite: bool = True,
) -> Run:
    """Return a run of the job. out: receives the progress lines; None discards them."""
    from readmit_spark.storage.run import Run

    progress = Progress(name.partition("/")[0], 9, out or io.StringIO())
    return Run(spark, config, name, progress, datetime.now, overwrite)


def run_prepare(
    spark: SparkSession, config: Config, tokenizer: ChunkTokenizer, out: TextIO | None = None
) -> dict[str, Any]:
    from readmit_spark.notes.prepare_job import prepare

    with start_run(spark, config, "prepare", out, config.output.overwrite) as run:
        return prepare(run, tokenizer)


def run_score(
    spark: SparkSession,
    config: Config,
    model: Model,
    prepared: Prepared | None = None,
    out: TextIO | None = None,
) -> ScoreResult:
    """As jobs/score.py does. prepared: None reads the result in output.root."""
    from readmit_spark.scoring import score_report
    from readmit_spark.scoring.score_job import is_scored, score
    from readmit_spark.storage.manifests import Prepared

    prepared = prepared or Prepared.read(spark, config.output_root)
    if not is_scored(spark, config, model, prepared):
        with start_run(spark, config, "score", out, config.output.overwrite) as run:
            score(run, model, prepared)
    with start_run(spark, config, score_report.NAME, out) as run:
        return score_report.report(run, model, prepared)


def run_nightly(
    spark: SparkSession,
    config: Config,
    model: Model,
    as_of: datetime,
    out: TextIO | None = None,
    estimate: bool = False,
) -> str:
    from readmit_spark.nightly.nightly_job import nightly
    from readmit_spark.nightly.published_nights import night_name

    with start_run(spark, config, night_name(as_of), out) as run:
        return nightly(run, model, as_of, estimate)


def run_monitor(
    spark: SparkSession, config: Config, as_of: datetime | None = None, out: TextIO | None = None
) -> str:
    from readmit_spark.nightly.monitor_job import monitor

    with start_run(spark, config, "monitor", out) as run:
        return monitor(run, as_of)


def run_explain(
    spark: SparkSession,
    config: Config,
    model: Model,
    request: ExplainRequest,
    out: TextIO | None = None,
) -> str:
    from readmit_spark.insight.explain_job import explain_scores

    request.check(config.explain.source)
    with start_run(spark, config, "explain", out) as run:
        return explain_scores(run, model, request)


def run_over_time(
    spark: SparkSession, config: Config, model: Model, admission: int | None = None
) -> str:
    from readmit_spark.insight.over_time_job import over_time

    with start_run(spark, config, "over_time") as run:
        return over_time(run, model, admission)


def run_promote(
    spark: SparkSession, config: Config, prepared: Prepared, out: TextIO | None = None
) -> Decision:
    from readmit_spark.comparison.promote_job import promote

    with start_run(spark, config, "promote", out) as run:
        return promote(run, prepared)
