"""Score: prepared chunks to patient risk, ledger, metrics and report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, Vote, to_dict
from readmit_spark.errors import UserError
from readmit_spark.evaluation.card import card_of
from readmit_spark.evaluation.card_page import card_page
from readmit_spark.evaluation.evaluate import evaluate_windows, report_of, write_result
from readmit_spark.evaluation.report_page import TokenLoss
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_before_test
from readmit_spark.scoring.classifier import alert_threshold, vote_c
from readmit_spark.scoring.ledger import ledger_table
from readmit_spark.scoring.locate import Located, fingerprint
from readmit_spark.scoring.score_chunks import (
    check_gpus,
    chunk_facts,
    distinct_chunks,
    patient_scores,
    score_chunks,
)
from readmit_spark.scoring.scorer_settings import check_scorer, scorer_settings
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.input_tables import read_risks
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.session import tasks_done

STAGES = 4


@dataclass(frozen=True)
class Scored:
    """What the job prints, per window: admissions by status, and metrics.json."""

    counts: dict[str, dict[str, int]]
    metrics: dict[str, Any]


def score(
    spark: SparkSession,
    config: Config,
    located: Located,
    prepared: dict[str, Any],
    progress: Progress,
    now: Callable[[], datetime],
) -> Scored:
    """Publishes the tables, metrics, pictures and report under output.root."""
    started = now()
    windows = _windows(config, prepared)
    unseen = check_before_test(config, located, prepared, progress)
    config = replace(config, vote=Vote(vote_c(config, located.folder)))
    publication = Publication(spark, config.output_root, "score", config.output.overwrite, now)
    cohort, exclusions, documents, chunks = (
        spark.read.parquet(f"{prepared['path']}/{name}")
        for name in ("cohort", "exclusions", "documents", "chunks")
    )
    asked = chunks.where(F.col("window").isin(windows))
    if config.score.split != "all":
        asked = asked.where(F.col("split") == config.score.split)
    check_gpus(spark)
    settings = scorer_settings(spark, config, located)
    try:
        with progress.stage("start", tasks_done(spark)):
            # Read and told apart by their tokens once; all that follows goes by this table.
            distinct = publication.write_work(distinct_chunks(asked), "distinct_chunks")
            threshold = alert_threshold(config, located.folder, windows)
            check_scorer(config, settings, distinct, threshold, progress)
            work = workload(distinct)
            progress.say(
                f"{work.chunks:,} chunks, {work.distinct:,} distinct ones to score "
                f"({1 - work.distinct / max(1, work.chunks):.0%} saved), "
                f"{work.tokens:,} tokens in {work.tasks} tasks"
            )
        with progress.stage("chunk scores", tasks_done(spark)):
            chunk_scores = publication.write_table(
                score_chunks(distinct, work.tasks, settings, located.name), "chunk_scores"
            )
        with progress.stage("patient scores and ledger", tasks_done(spark)):
            patients = publication.write_table(
                patient_scores(chunk_scores, cohort, windows, config.vote.c), "patient_scores"
            )
            ledger = publication.write_table(
                ledger_table(cohort, exclusions, documents, patients, windows, config.score.split),
                "ledger",
            )
            counts = _counts(ledger, prepared, windows)
        with progress.stage("metrics and report", tasks_done(spark)):
            measured = _measured(patients, config)
            evaluations = evaluate_windows(
                measured.toPandas(),
                chunk_facts(chunk_scores, measured).toPandas(),
                _risks(spark, config),
                windows,
                config,
            )
            report = report_of(
                config, located.name, prepared, evaluations, ledger.toPandas(), _token_loss(asked),
                progress.seconds,
            )  # fmt: skip
            card = card_of(
                config, prepared, located.name, {e.window: e.measured for e in evaluations},
                evaluations[0].metrics["split"], report.facts, unseen,
            )  # fmt: skip
            with tempfile.TemporaryDirectory() as folder:
                files = write_result(evaluations, report, Path(folder))
                files.append(Path(folder) / "model_card.html")
                files[-1].write_text(card_page(card), encoding="utf-8")
                for file in files:
                    publication.put(file, file.name)
                facts = {
                    "started": started.isoformat(timespec="seconds"),
                    "finished": now().isoformat(timespec="seconds"),
                    "config": to_dict(config),
                    "model": located.name,
                    "fingerprint": fingerprint(located.folder),
                    "prepared": prepared["run"],
                    "counts": counts,
                    "seconds": progress.seconds,
                }
                publication.publish(facts, front=files)
    except BaseException:
        publication.abandon()
        raise
    return Scored(counts, {e.window: e.metrics for e in evaluations})


def _windows(config: Config, prepared: dict[str, Any]) -> list[str]:
    made: list[str] = prepared["config"]["windows"]
    asked = list(config.score.windows or made)
    missing = [window for window in asked if window not in made]
    if missing:
        raise UserError(
            f"score.windows: {', '.join(missing)} was not prepared (there are {', '.join(made)}); "
            "add it to `windows` and run jobs/prepare.py again"
        )
    return asked


def _counts(
    ledger: DataFrame, prepared: dict[str, Any], windows: list[str]
) -> dict[str, dict[str, int]]:
    """Admissions by window and status; a fault where one is missing or counted twice."""
    counts: dict[str, dict[str, int]] = {
        window: {"scored": 0, "unscored": 0, "excluded": 0} for window in windows
    }
    lost = ledger.where("status = 'unscored' and reason is null").count()
    if lost:
        raise RuntimeError(f"{lost:,} admissions have chunks and no score")
    for row in ledger.groupBy("window", "status").count().collect():
        counts[row["window"]][row["status"]] = row["count"]
    expected = prepared["admissions"]["rows"] - prepared["admissions"]["duplicate_rows"]
    for window, by_status in counts.items():
        if sum(by_status.values()) != expected:
            raise RuntimeError(
                f"the ledger of {window} has {sum(by_status.values()):,} admissions, "
                f"the input {expected:,}"
            )
    return counts


def _risks(spark: SparkSession, config: Config) -> dict[int, float] | None:
    """HADM_ID to true risk, of a generated cohort."""
    if config.data.truth is None:
        return None
    rows = read_risks(spark, config.data.truth).collect()
    return {row.hadm_id: row.risk for row in rows}


def _measured(patients: DataFrame, config: Config) -> DataFrame:
    """The admissions that metrics are of: outcome known, actionable, in the split."""
    split = "test" if config.score.split == "all" else config.score.split
    return patients.where(
        F.col("label").isNotNull() & F.col("actionable") & (F.col("split") == split)
    )


def _token_loss(chunks: DataFrame) -> dict[str, TokenLoss]:
    cut = F.col("n_tokens_cut")
    rows = chunks.groupBy("window").agg(
        F.count(F.lit(1)).alias("chunks"),
        F.count(F.when(cut > 0, 1)).alias("chunks_cut"),
        F.sum(F.col("n_tokens") + cut).alias("tokens"),
        F.sum(cut).alias("tokens_cut"),
    )
    return {
        row.window: TokenLoss(row.chunks, row.chunks_cut, row.tokens, row.tokens_cut)
        for row in rows.collect()
    }
