"""Over time: the score of each scored admission after each day of its stay."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, to_dict
from readmit_spark.errors import UserError
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.insight.over_time_page import Day, OverTime, render_over_time
from readmit_spark.insight.risk_by_day import (
    day_chunks,
    day_windows,
    known_scores,
    risk_by_day,
    to_score,
)
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_scores import check_scored
from readmit_spark.scoring.locate import Located
from readmit_spark.scoring.score_chunks import check_gpus, score_chunks
from readmit_spark.scoring.scorer_settings import scorer_settings
from readmit_spark.scoring.workload import workload
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.publish import Publication, manifest
from readmit_spark.storage.session import tasks_done

STAGES = 4
PAGE = "over_time.html"


def over_time(
    spark: SparkSession,
    config: Config,
    located: Located,
    admission: int | None,
    progress: Progress,
    now: Callable[[], datetime],
) -> str:
    """Publishes the table `risk_by_day` and the page under output.root, and gives the lines that a
    person reads at the end.

    The admissions are those of jobs/score.py, or the one that is asked for; chunks that it has
    scored are not scored again.
    """
    prepared = manifest(spark, config.output_root, "prepare")
    scored = manifest(spark, config.output_root, "score")
    tokenizer = check_scored(config, located, prepared, scored)
    check_gpus(spark)
    settings = scorer_settings(spark, config, located)
    publication = Publication(spark, config.output_root, "over_time", True, now)
    try:
        of_score = spark.read.parquet(f"{scored['path']}/chunk_scores")
        everybody = spark.read.parquet(f"{prepared['path']}/cohort")
        cohort = _cohort(everybody, of_score, admission)
        with progress.stage("notes, day by day", tasks_done(spark)):
            whole = read_checked_notes(spark, config)
            by_day = replace(config, windows=day_windows(config.over_time.days))
            documents = documents_table(
                whole.rows, cohort, cohort, by_day, Observation("notes"), Observation("repeated"),
            )  # fmt: skip
            chunks = publication.write_work(
                day_chunks(documents, config.chunk, tokenizer), "chunks"
            )
            whole.check()
            if not chunks.count():
                raise UserError("over_time: no admission has a chunk to score")
        with progress.stage("new scores", tasks_done(spark)):
            known = publication.write_work(
                known_scores(spark.read.parquet(f"{prepared['path']}/chunks"), of_score), "known"
            )
            todo = publication.write_work(to_score(chunks, known), "todo")
            work = workload(todo)
            progress.say(
                f"{chunks.select('digest').distinct().count():,} distinct chunks, "
                f"{work.distinct:,} of them without a score"
            )
            scores = known
            if work.distinct:
                new = score_chunks(todo, work.tasks, settings, located.name).drop("model")
                scores = known.unionByName(publication.write_work(new, "scores"))
        with progress.stage("risk by day", tasks_done(spark)):
            c = float(scored["config"]["vote"]["c"])
            risk = publication.write_table(risk_by_day(chunks, scores, cohort, c), "risk_by_day")
        with progress.stage("page"):
            rows = pd.DataFrame(risk.orderBy("hadm_id", "day").toPandas())
            page = OverTime(
                model=located.name,
                rows=rows,
                days=_days(rows, config),
                shown=_shown(rows, config.explain.top),
                horizon_days=config.label.horizon_days,
            )
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / PAGE
                file.write_text(render_over_time(page), encoding="utf-8")
                publication.put(file, PAGE)
                facts: dict[str, Any] = {
                    "finished": now().isoformat(timespec="seconds"),
                    "config": to_dict(config),
                    "model": located.name,
                    "chunks_scored": work.distinct,
                    "seconds": progress.seconds,
                }
                publication.publish(facts, front=[file])
    finally:
        publication.abandon()  # what has not been published
    return (
        f"{rows.hadm_id.nunique():,} admissions, {len(rows):,} days with a score; "
        f"{work.distinct:,} chunks were new\nwritten   {config.output_root}/{PAGE}"
    )


def _cohort(cohort: DataFrame, scores: DataFrame, admission: int | None) -> DataFrame:
    mine = cohort.join(scores.select("hadm_id").distinct(), "hadm_id", "left_semi")
    if admission is None:
        return mine
    one = mine.where(F.col("hadm_id") == admission)
    if not one.count():
        raise UserError(f"--admission {admission}: it has no score of jobs/score.py")
    return one


def _days(rows: pd.DataFrame, config: Config) -> list[Day]:
    """How well the scores of each day rank, on the test split's stays that last that long."""
    found = []
    for day in sorted(rows.day.unique()):
        here = rows[rows.day == day]
        known = here[here.label.notna() & here.actionable & (here.split == "test")]
        measured = evaluate(
            known.score.to_numpy(float), known.label.to_numpy(int), known.subject_id.to_numpy(),
            replicates=config.score.bootstrap, seed=config.split.seed,
        )  # fmt: skip
        found.append(Day(int(day), len(here), len(known), measured["auroc"]))
    return found


def _shown(rows: pd.DataFrame, top: int) -> list[int]:
    """The admissions with the highest last scores."""
    last = rows.sort_values("day").groupby("hadm_id").tail(1)
    best = last.sort_values(["score", "hadm_id"], ascending=[False, True])
    return [int(hadm) for hadm in best.hadm_id[:top]]
