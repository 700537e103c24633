"""Metrics, pictures, report and model card of the published scores.

They are a result of their own, `score/report`, and can be made again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Config, Vote, to_dict
from readmit_spark.errors import UserError
from readmit_spark.evaluation.card import model_card
from readmit_spark.evaluation.card_page import card_page
from readmit_spark.evaluation.doubts import Evidence
from readmit_spark.evaluation.evaluate import (
    Evaluation,
    build_report,
    evaluate_windows,
    report_files,
)
from readmit_spark.evaluation.meds_predictions import meds_predictions
from readmit_spark.evaluation.report_page import TokenLoss
from readmit_spark.evaluation.summary_table import auroc_line
from readmit_spark.scoring.check_model import check_unseen
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.registry import FIRST_GATE, SELECTED_ON, TEST_EVIDENCE, tag_version
from readmit_spark.scoring.score_chunks import chunk_facts
from readmit_spark.scoring.score_job import chunks_to_score, is_scored, windows_to_score
from readmit_spark.storage.input_tables import read_true_risks
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.run import Run

NAME = "score/report"
STAGES = 1


@dataclass(frozen=True)
class ScoreResult:
    """What the job prints.

    path: folder of the tables. counts, metrics: by window, admissions by status, and the content of
    metrics.json.
    """

    path: str
    counts: Mapping[str, Mapping[str, int]]
    metrics: dict[str, Any]


def report(run: Run, model: Model, prepared: Prepared) -> ScoreResult:
    """Publish metrics, pictures, report and model card of the published scores.

    Raise a UserError if the scores are not those of the run's configuration, of this model and of
    these chunks.
    """
    if not is_scored(run.spark, run.config, model, prepared):
        raise UserError(
            "output.root: other scores were published meanwhile; run jobs/score.py again"
        )
    scored = Scored.read(run.spark, run.config.output_root)
    config = replace(run.config, vote=Vote(scored.c))
    with run.stage("metrics and report"):
        try:
            files, metrics = _report_files(run, config, model, prepared, scored)
            verdict = auroc_line(metrics)
            facts = {"config": to_dict(config), "scored": scored.run, "verdict": verdict}
            run.publish(facts, files)
        except BaseException:
            run.say(
                f"the scores are published in {scored.path}; their report is not: run "
                "jobs/score.py again with the same configuration, which writes it and scores "
                "nothing"
            )
            raise
    return ScoreResult(scored.path, scored.counts, metrics)


def _report_files(
    run: Run, config: Config, model: Model, prepared: Prepared, scored: Scored
) -> tuple[dict[str, str | bytes], dict[str, Any]]:
    """Return name -> content of the files, and the content of metrics.json."""
    windows = windows_to_score(config, prepared)
    measured = _measured(scored.table("patient_scores"), config)
    if config.split.by == "time":
        times = prepared.table("cohort").select("hadm_id", "admittime")
        measured = measured.join(times, "hadm_id")
    evaluations = evaluate_windows(
        measured.toPandas(),
        chunk_facts(scored.table("chunk_scores"), measured).toPandas(),
        read_true_risks(run.spark, config, prepared.table("cohort"), windows),
        windows,
        config,
        model.alert_points(config),
        _died(scored.table("patient_scores"), config, prepared),
    )
    report = build_report(
        config, model.name, prepared, evaluations, ledger_counts(scored.table("ledger")),
        _token_loss(chunks_to_score(config, prepared, windows)), scored.seconds,
    )  # fmt: skip
    report = replace(report, doubts=_doubts(run, model, evaluations))
    card = model_card(
        config, prepared, model.name, {e.window: e.measured for e in evaluations},
        evaluations[0].metrics["split"], report.facts, check_unseen(model, prepared.split_name),
        remarks(model, config),
        {e.window: e.metrics["alerts"] for e in evaluations}, report.doubts,
    )  # fmt: skip
    files = {**report_files(evaluations, report), "model_card.html": card_page(card)}
    if config.score.meds:
        files |= _meds_files(config, model, prepared, evaluations)
    return files, {e.window: e.metrics for e in evaluations}


def _meds_files(
    config: Config, model: Model, prepared: Prepared, evaluations: Sequence[Evaluation]
) -> dict[str, bytes]:
    """Return name -> content of `predictions_WINDOW.parquet`."""
    # As text: pyspark would convert times to the local time zone.
    names = ("admittime", "dischtime")
    columns = (F.col(name).cast("string").alias(name) for name in names)
    times = prepared.table("cohort").select("hadm_id", *columns).toPandas()
    points = model.alert_points(config)
    return {
        f"predictions_{e.window}.parquet": meds_predictions(
            e.window,
            e.measured.drop(columns="admittime", errors="ignore").merge(times, on="hadm_id"),
            points.get(e.window, ()),
        )
        for e in evaluations
    }


def _doubts(run: Run, model: Model, evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the doubts about the model, in the window that it was trained on or else the last.

    What the test patients show is tagged in the registry, so that the lists of the nights know it.
    """
    if evaluations[0].metrics["split"] != "test":
        return model.doubts()
    trained = model.fitted.window if model.fitted else None
    measured = {e.window: e.metrics["natural"] for e in evaluations}
    test = Evidence.of(measured.get(trained or "", evaluations[-1].metrics["natural"]))
    if model.tags is not None:
        tag_version(run.config.tracking_uri, model.name, TEST_EVIDENCE, json.dumps(asdict(test)))
    found = model.doubts(test)
    for doubt in found:
        run.say(f"warning: {doubt}")
    return found


def remarks(model: Model, config: Config) -> list[str]:
    """Return what the card says about how a registered version was selected."""
    if model.tags is None:
        return []
    lines = []
    if SELECTED_ON in model.tags and config.score.split in ("test", "all"):
        lines.append(
            f"Selected on these patients: this version was {model.tags[SELECTED_ON]}. Its figures "
            "here are slightly too good."
        )
    not_yet = "not compared with simpler models yet; jobs/compare.py does it"
    lines.append(f"First gate: {model.tags.get(FIRST_GATE, not_yet)}.")
    return lines


def _measured(patients: DataFrame, config: Config) -> DataFrame:
    """Select the admissions to measure: outcome known, actionable, in the split."""
    return patients.where(F.col("label").isNotNull() & _in_measured_split(config))


def _in_measured_split(config: Config) -> Column:
    split = "test" if config.score.split == "all" else config.score.split
    return F.col("actionable") & (F.col("split") == split)


def _died(patients: DataFrame, config: Config, prepared: Prepared) -> pd.DataFrame | None:
    """Select the admissions to measure if a death counts as a readmission does: those without a
    label because the patient died within the horizon."""
    if "unlabelled" not in prepared.tables or not prepared.outcomes.get("died_within_horizon"):
        return None
    dead = prepared.table("unlabelled").where("reason = 'died_within_horizon'").select("hadm_id")
    return patients.where(_in_measured_split(config)).join(dead, "hadm_id", "left_semi").toPandas()


def ledger_counts(ledger: DataFrame) -> pd.DataFrame:
    """Count the admissions by window, status and reason: n."""
    counts = ledger.groupBy("window", "status", "reason").agg(F.count(F.lit(1)).alias("n"))
    return counts.orderBy("window", "status", "reason").toPandas()


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
