"""Over time: compute the score of each admission after each day of its stay."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.insight.over_time_page import Day, OverTime, render_over_time
from readmit_spark.insight.risk_by_day import (
    day_chunks,
    day_windows,
    earlier_scores,
    risk_by_day,
)
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.check_scored import check_scored
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import score_chunks
from readmit_spark.scoring.scorer_settings import scorer_settings
from readmit_spark.scoring.workload import unscored_chunks, workload
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.run import Run
from readmit_spark.storage.text_ids import published_ids, texts_of

STAGES = 4
PAGE = "over_time.html"


def over_time(run: Run, model: Model, admission: int | None) -> str:
    """Publish the table `risk_by_day` and the page; return the summary lines.

    Uses the admissions that jobs/score.py scored, or only HADM_ID `admission`. Chunks that already
    have a probability are not scored again.
    """
    config = run.config
    prepared = Prepared.read(run.spark, config.output_root)
    scored = Scored.read(run.spark, config.output_root)
    tokenizer = check_scored(config, model, prepared, scored)
    chunk_scores = scored.table("chunk_scores")
    cohort = _cohort(prepared.table("cohort"), chunk_scores, admission)
    with run.stage("notes, day by day"):
        chunks = _chunks_by_day(run, cohort, tokenizer)
    with run.stage("new scores"):
        earlier = run.write_temp(earlier_scores(prepared.table("chunks"), chunk_scores), "earlier")
        scores, n_new = _all_scores(run, model, chunks, earlier)
    with run.stage("risk by day"):
        risk = run.write_table(risk_by_day(chunks, scores, cohort, scored.c), "risk_by_day")
    with run.stage("page"):
        rows = pd.DataFrame(risk.orderBy("hadm_id", "day").toPandas())
        shown = _highest(rows, config.explain.top)
        page = OverTime(
            model=model.name,
            rows=rows,
            days=_days(rows, config),
            shown=shown,
            horizon_days=config.label.horizon_days,
            ids=texts_of(published_ids(prepared), shown),
        )
        verdict = f"{rows.hadm_id.nunique():,} admissions, {len(rows):,} days with a score"
        facts = {"model": model.name, "chunks_scored": n_new, "verdict": verdict}
        run.publish(facts, {PAGE: render_over_time(page)})
    return f"{verdict}; {n_new:,} chunks were new\nwritten   {config.output_root}/{PAGE}"


def _chunks_by_day(run: Run, cohort: DataFrame, tokenizer: ChunkTokenizer) -> DataFrame:
    """Return the chunks of each admission's document after each day, with their digests."""
    source = read_checked_notes(run.spark, run.config)
    by_day = replace(run.config, windows=day_windows(run.config.over_time.days))
    documents = documents_table(
        source.rows, cohort, cohort, by_day, Observation("notes"), Observation("repeated")
    )
    chunks = run.write_temp(day_chunks(documents, Preparation.of(run.config, tokenizer)), "chunks")
    source.check(run.say)
    if not chunks.count():
        raise UserError("over_time: no admission has a chunk to score")
    return chunks


def _all_scores(
    run: Run, model: Model, chunks: DataFrame, earlier: DataFrame
) -> tuple[DataFrame, int]:
    """Score the distinct chunks without a probability in `earlier`. Return the probabilities of all
    chunks, and the number of new ones."""
    new_chunks = run.write_temp(unscored_chunks(chunks, earlier), "to_score")
    work = workload(new_chunks)
    run.say(
        f"{chunks.select('digest').distinct().count():,} distinct chunks, "
        f"{work.distinct:,} of them without a score"
    )
    if not work.distinct:
        return earlier, 0
    settings = scorer_settings(run, model, run.config.model.max_tokens, run.config.text_rules)
    new = score_chunks(new_chunks, work.tasks, settings)
    return earlier.unionByName(run.write_temp(new, "scores")), work.distinct


def _cohort(cohort: DataFrame, scores: DataFrame, admission: int | None) -> DataFrame:
    scored = cohort.join(scores.select("hadm_id").distinct(), "hadm_id", "left_semi")
    if admission is None:
        return scored
    selected = scored.where(F.col("hadm_id") == admission)
    if not selected.count():
        raise UserError(f"--admission {admission}: it has no score of jobs/score.py")
    return selected


def _days(rows: pd.DataFrame, config: Config) -> list[Day]:
    """Measure the scores of each day on test admissions that last at least that long."""
    days = []
    for day in sorted(rows.day.unique()):
        day_rows = rows[rows.day == day]
        measured = day_rows[
            day_rows.label.notna() & day_rows.actionable & (day_rows.split == "test")
        ]
        metrics = evaluate(
            measured.score.to_numpy(float), measured.label.to_numpy(int),
            measured.subject_id.to_numpy(), replicates=config.score.bootstrap,
            seed=config.split.seed,
        )  # fmt: skip
        days.append(Day(int(day), len(day_rows), len(measured), metrics["auroc"]))
    return days


def _highest(rows: pd.DataFrame, top: int) -> list[int]:
    """Return the HADM_IDs of the `top` admissions with the highest last scores."""
    last = rows.sort_values("day").groupby("hadm_id").tail(1)
    ranked = last.sort_values(["score", "hadm_id"], ascending=[False, True])
    return [int(hadm_id) for hadm_id in ranked.hadm_id[:top]]
