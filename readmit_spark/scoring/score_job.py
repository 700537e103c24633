"""Score: prepared chunks to chunk scores, patient scores and ledger.

`score_report` makes metrics and report of the published tables, so a fault there costs no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, Vote, to_dict
from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.scoring.check_model import check_before_test
from readmit_spark.scoring.kept_scores import KeptScores, scores_key
from readmit_spark.scoring.ledger import ledger_table
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.risk_column import with_risk
from readmit_spark.scoring.score_chunks import (
    chunk_scores_table,
    distinct_chunks,
    patient_scores,
)
from readmit_spark.scoring.scorer_settings import check_scores_of_windows, scorer_settings
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.run import Run

STAGES = 4  # with the report
_VERSION = 3  # raise it when the code changes scores by more than their last bits, or their table


def is_scored(spark: SparkSession, config: Config, model: Model, prepared: Prepared) -> bool:
    """Return whether the published scores are those of this model, these chunks and settings."""
    scored = Scored.read_if_complete(spark, config.output_root)
    return scored is not None and (
        (scored.made_of, scored.model, scored.c)
        == (made_of(config, model, prepared), model.name, model.vote_c(config))
    )


def made_of(config: Config, model: Model, prepared: Prepared) -> dict[str, Any]:
    """Return everything that decides the chunk scores, but for their last bits."""
    score = config.score
    return {
        "version": _VERSION,
        "model": model.fingerprint,
        "prepared": prepared.run,
        "windows": windows_to_score(config, prepared),
        "split": score.split,
        "precision": score.precision,
        "backend": score.backend,
        "batch_tokens": score.batch_tokens,
        "device": score.device,
    }


def score(run: Run, model: Model, prepared: Prepared) -> None:
    """Score the prepared chunks and publish the tables.

    Chunks that a killed run has scored are not scored again.

    Raise a UserError for an unprepared window, or a model that has another tokenizer, has seen test
    patients, or loses too much precision in 16 bits.
    """
    windows = windows_to_score(run.config, prepared)
    check_before_test(model, prepared, run.progress)
    config = replace(run.config, vote=Vote(model.vote_c(run.config)))
    kept, chunk_scores = _score_chunks(run, model, prepared, windows)
    with run.stage("patient scores and ledger"):
        cohort = prepared.table("cohort")
        scores = patient_scores(chunk_scores, cohort, windows, config.vote.c)
        curves = model.risk_curves(config)
        patients = run.write_table(with_risk(scores, curves), "patient_scores")
        _say_where_no_risk(run, windows, curves)
        ledger = run.write_table(
            ledger_table(
                cohort, prepared.table("exclusions"), prepared.table("documents"), patients,
                windows, config.score.split,
            ),
            "ledger",
        )  # fmt: skip
        counts = _counts(ledger, prepared, windows)
    run.publish(
        {
            "config": to_dict(config),
            "model": model.name,
            "fingerprint": model.fingerprint,
            "prepared": prepared.run,
            "made_of": made_of(config, model, prepared),
            "counts": counts,
        }
    )
    kept.delete()


def _say_where_no_risk(run: Run, windows: Sequence[str], curves: Mapping[str, RiskCurve]) -> None:
    without = [window for window in windows if window not in curves]
    if without:
        run.say(
            f"no risks for {', '.join(without)}: the model has no risk curve for scores of this "
            "window and c, so read its scores as a ranking only"
        )


def windows_to_score(config: Config, prepared: Prepared) -> list[str]:
    """Return the windows; raise a UserError for one that was not prepared."""
    windows = list(config.score.windows or prepared.windows)
    for window in windows:
        prepared.check_window(window, "score.windows")
    return windows


def chunks_to_score(config: Config, prepared: Prepared, windows: Sequence[str]) -> DataFrame:
    """Select the prepared chunks of the windows and the split."""
    chunks = prepared.table("chunks").where(F.col("window").isin(list(windows)))
    if config.score.split == "all":
        return chunks
    return chunks.where(F.col("split") == config.score.split)


def _score_chunks(
    run: Run, model: Model, prepared: Prepared, windows: Sequence[str]
) -> tuple[KeptScores, DataFrame]:
    """Write the table `chunk_scores`. Return what is kept of it until it is published, and the
    table as written."""
    # The table's files are listed first: one that is deleted later is an error then.
    chunks = chunks_to_score(run.config, prepared, windows)
    settings = scorer_settings(run, model, prepared.max_tokens, prepared.text_rules)
    with run.stage("start"):
        # Token ids are read once; everything below uses this table.
        distinct = run.write_temp(distinct_chunks(chunks), "distinct_chunks")
        measured = check_scores_of_windows(run, settings, chunks, model, windows)
        work, n = workload(distinct), chunks.count()
        run.say(
            f"{n:,} chunks, {work.distinct:,} distinct ones to score "
            f"({1 - work.distinct / max(1, n):.0%} saved), {work.tokens:,} tokens in "
            f"{work.tasks} tasks"
        )
    with run.stage("chunk scores"):
        kept = KeptScores(run, scores_key(made_of(run.config, model, prepared), measured))
        scores = kept.score(distinct, work.tasks, settings)
        written = run.write_table(chunk_scores_table(chunks, scores, model.name), "chunk_scores")
        if run.rows("chunk_scores") != n:
            raise RuntimeError(f"{run.rows('chunk_scores'):,} of {n:,} chunks have a score")
        return kept, written


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
