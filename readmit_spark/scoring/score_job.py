"""Score: prepared chunks to patient scores, ledger, metrics and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Config, Vote, to_dict
from readmit_spark.evaluation.card import model_card
from readmit_spark.evaluation.card_page import card_page
from readmit_spark.evaluation.evaluate import build_report, evaluate_windows, report_files
from readmit_spark.evaluation.report_page import TokenLoss
from readmit_spark.scoring.check_model import check_before_test
from readmit_spark.scoring.ledger import ledger_table
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import (
    chunk_facts,
    distinct_chunks,
    patient_scores,
    score_chunks,
)
from readmit_spark.scoring.scorer_settings import check_scorer, scorer_settings
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.input_tables import read_true_risks
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.run import Run

STAGES = 4


@dataclass(frozen=True)
class ScoreResult:
    """What the job prints, by window: admissions by status, and the content of metrics.json."""

    counts: dict[str, dict[str, int]]
    metrics: dict[str, Any]


def score(run: Run, model: Model, prepared: Prepared) -> ScoreResult:
    """Score the prepared chunks; publish tables, metrics, pictures, report and model card.

    Raise a UserError for an unprepared window, or a model that has another tokenizer, has seen test
    patients, or loses too much precision in 16 bits.
    """
    windows = _windows(run.config, prepared)
    unseen = check_before_test(model, prepared, run.progress)
    config = replace(run.config, vote=Vote(model.vote_c(run.config)))
    chunks = _chunks_to_score(config, prepared, windows)
    chunk_scores = _score_chunks(run, model, chunks, prepared.max_tokens, windows)
    with run.stage("patient scores and ledger"):
        cohort = prepared.table("cohort")
        patients = run.write_table(
            patient_scores(chunk_scores, cohort, windows, config.vote.c), "patient_scores"
        )
        ledger = run.write_table(
            ledger_table(
                cohort, prepared.table("exclusions"), prepared.table("documents"), patients,
                windows, config.score.split,
            ),
            "ledger",
        )  # fmt: skip
        counts = _counts(ledger, prepared, windows)
    with run.stage("metrics and report"):
        measured = _measured(patients, config)
        evaluations = evaluate_windows(
            measured.toPandas(),
            chunk_facts(chunk_scores, measured).toPandas(),
            read_true_risks(run.spark, config),
            windows,
            config,
        )
        report = build_report(
            config, model.name, prepared, evaluations, ledger.toPandas(), _token_loss(chunks),
            run.progress.seconds,
        )  # fmt: skip
        card = model_card(
            config, prepared, model.name, {e.window: e.measured for e in evaluations},
            evaluations[0].metrics["split"], report.facts, unseen,
        )  # fmt: skip
        files = {**report_files(evaluations, report), "model_card.html": card_page(card)}
        run.publish(
            {
                "config": to_dict(config),
                "model": model.name,
                "fingerprint": model.fingerprint,
                "prepared": prepared.run,
                "counts": counts,
            },
            files,
        )
    return ScoreResult(counts, {e.window: e.metrics for e in evaluations})


def _windows(config: Config, prepared: Prepared) -> list[str]:
    windows = list(config.score.windows or prepared.windows)
    for window in windows:
        prepared.check_window(window, "score.windows")
    return windows


def _chunks_to_score(config: Config, prepared: Prepared, windows: Sequence[str]) -> DataFrame:
    chunks = prepared.table("chunks").where(F.col("window").isin(list(windows)))
    if config.score.split == "all":
        return chunks
    return chunks.where(F.col("split") == config.score.split)


def _score_chunks(
    run: Run, model: Model, chunks: DataFrame, max_tokens: int, windows: Sequence[str]
) -> DataFrame:
    """Write the table `chunk_scores` and return it as written."""
    settings = scorer_settings(run, model, max_tokens)
    with run.stage("start"):
        # Chunks are read and grouped by their tokens once; everything below uses this table.
        distinct = run.write_temp(distinct_chunks(chunks), "distinct_chunks")
        check_scorer(run, settings, distinct, model.alert_threshold(run.config, windows))
        work = workload(distinct)
        run.say(
            f"{work.chunks:,} chunks, {work.distinct:,} distinct ones to score "
            f"({1 - work.distinct / max(1, work.chunks):.0%} saved), "
            f"{work.tokens:,} tokens in {work.tasks} tasks"
        )
    with run.stage("chunk scores"):
        return run.write_table(
            score_chunks(distinct, work.tasks, settings, model.name), "chunk_scores"
        )


def _counts(
    ledger: DataFrame, prepared: Prepared, windows: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count admissions by window and status.

    Raise a RuntimeError if one has chunks but no score, is missing or is counted twice.
    """
    counts: dict[str, dict[str, int]] = {
        window: {"scored": 0, "unscored": 0, "excluded": 0} for window in windows
    }
    lost = ledger.where("status = 'unscored' and reason is null").count()
    if lost:
        raise RuntimeError(f"{lost:,} admissions have chunks and no score")
    for row in ledger.groupBy("window", "status").count().collect():
        counts[row["window"]][row["status"]] = row["count"]
    expected = prepared.admissions["rows"] - prepared.admissions["duplicate_rows"]
    for window, by_status in counts.items():
        if sum(by_status.values()) != expected:
            raise RuntimeError(
                f"the ledger of {window} has {sum(by_status.values()):,} admissions, "
                f"the input {expected:,}"
            )
    return counts


def _measured(patients: DataFrame, config: Config) -> DataFrame:
    """Select the admissions to measure: outcome known, actionable, in the split."""
    split = "test" if config.score.split == "all" else config.score.split
    return patients.where(
        F.col("label").isNotNull() & F.col("actionable") & (F.col("split") == split)
    )


def _token_loss(chunks: DataFrame) -> Mapping[str, TokenLoss]:
    """Count by window the tokens that did not fit into their chunk."""
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
