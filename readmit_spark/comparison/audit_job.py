"""Audit: whether the cohort gives its answer away. Counts and shares alone leave here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison import leaks
from readmit_spark.config import Config, to_dict
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.notes.windows import parse_window
from readmit_spark.pages.html import page_environment
from readmit_spark.progress import Progress
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.publish import Publication, has_result, manifest
from readmit_spark.storage.session import tasks_done

STAGES = 6


@dataclass(frozen=True)
class Check:
    """passed is None for what is told without a limit."""

    name: str
    window: str
    found: str
    limit: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return "-" if self.passed is None else "passed" if self.passed else "FAILED"


def audit(
    spark: SparkSession,
    config: Config,
    prepared: dict[str, Any],
    progress: Progress,
    now: Callable[[], datetime],
) -> list[Check]:
    """Publishes audit.json and audit.html, and gives the checks."""
    chunks, documents, cohort = (
        spark.read.parquet(f"{prepared['path']}/{name}")
        for name in ("chunks", "documents", "cohort")
    )
    windows = prepared["config"]["windows"]
    early = [window for window in windows if parse_window(window).days is not None]
    publication = Publication(spark, config.output_root, "audit", True, now)
    try:
        with progress.stage("patients on both sides", tasks_done(spark)):
            checks = [_sides(leaks.patients_on_both_sides(cohort))]
        with progress.stage("near-duplicate texts", tasks_done(spark)):
            for window in windows:
                here = chunks.where(F.col("window") == window)
                checks.append(_duplicates(window, *leaks.near_duplicates(here), config))
        with progress.stage("text out of the window", tasks_done(spark)):
            if early:
                whole = read_checked_notes(spark, config)
                found = leaks.out_of_window(
                    chunks, whole.rows, cohort, early, config.audit.sample
                ).toPandas()
                whole.check()
                checks += _out_of_window(found, early)
        with progress.stage("label words", tasks_done(spark)):
            checks += _words(leaks.label_words(chunks).toPandas(), windows, config)
        with progress.stage("length", tasks_done(spark)):
            lengths = leaks.lengths(documents, chunks).toPandas()
            checks += _lengths(lengths, windows, config)
            checks += _score_by_length(lengths, _scores(spark, config, prepared), windows)
        with progress.stage("publish"):
            _publish(publication, checks, config, prepared, now)
    except BaseException:
        publication.abandon()
        raise
    return checks


def table(checks: list[Check]) -> str:
    """A line a check."""
    rows = [("", "check", "notes read", "found", "limit")]
    rows += [(c.verdict, c.name, c.window, c.found, c.limit) for c in checks]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _sides(n: int) -> Check:
    return Check("patients on both sides of the split", "all", f"{n:,}", "0", n == 0)


def _duplicates(window: str, near: int, of: int, config: Config) -> Check:
    share = near / of if of else 0.0
    limit = config.audit.max_duplicates
    found = f"{near:,} of {of:,} chunks ({share:.1%})"
    name = "near-duplicates of training chunks"
    return Check(name, window, found, f"{limit:.1%}", share <= limit)


def _out_of_window(found: pd.DataFrame, early: list[str]) -> list[Check]:
    checks = []
    for column, name in (
        ("discharge", "discharge summaries inside"),
        ("late", "notes after the cut-off inside"),
    ):
        for window in early:
            rows = found[found.window == window]
            n = int(rows[column].sum())
            said = f"{n:,} of {len(rows):,} documents"
            checks.append(Check(name, window, said, "0", n == 0))
    return checks


def _words(rows: pd.DataFrame, windows: list[str], config: Config) -> list[Check]:
    checks = []
    for window in windows:
        here = rows[rows.window == window]
        for word in leaks.LABEL_WORDS:
            share = here.groupby("label")[word].mean()
            auroc, passed = _told(here, word, config)
            found = (
                f"{share.get(1, 0):.1%} of the readmitted, {share.get(0, 0):.1%} of others; "
                f"AUROC {auroc}"
            )
            checks.append(Check(f"label word: {word}", window, found, _limit(config), passed))
    return checks


def _lengths(rows: pd.DataFrame, windows: list[str], config: Config) -> list[Check]:
    checks = []
    for window in windows:
        here = rows[rows.window == window]
        for what in ("notes", "chunks", "words"):
            auroc, passed = _told(here, what, config)
            name = f"length: number of {what} alone"
            checks.append(Check(name, window, f"AUROC {auroc}", _limit(config), passed))
    return checks


def _score_by_length(
    lengths: pd.DataFrame, scores: pd.DataFrame | None, windows: list[str]
) -> list[Check]:
    """How far the published scores follow the number of words: Spearman's rho among those who were
    not readmitted, whose scores have no reason to rise with it."""
    name = "the score follows the number of words"
    if scores is None:
        return [Check(name, "all", "not told: jobs/score.py has not scored these chunks", "", None)]
    both = lengths.merge(scores, on=["window", "hadm_id"])
    checks = []
    for window in windows:
        rows = both[(both.window == window) & (both.label == 0) & (both.split == "test")]
        if rows.score.nunique() > 1 and rows.words.nunique() > 1:
            rho = rows.score.corr(rows.words, method="spearman")
            said = f"rho {rho:+.2f} over {len(rows):,} test admissions not readmitted"
        else:
            said = f"not told: {len(rows):,} scored test admissions not readmitted, all alike"
        checks.append(Check(name, window, said, "", None))
    return checks


def _told(rows: pd.DataFrame, column: str, config: Config) -> tuple[str, bool]:
    """The AUROC of a number by itself, whichever way it points; passed unless its 95 % interval
    lies above the limit."""
    measured = evaluate(
        rows[column].to_numpy(float), rows.label.to_numpy(int), rows.subject_id.to_numpy(),
        replicates=min(config.score.bootstrap, 200), seed=config.split.seed,
    )["auroc"]  # fmt: skip
    if measured["value"] is None:
        return f"none ({measured['reason']})", True
    value, low, high = (measured[k] for k in ("value", "low", "high"))
    if value < 0.5:
        value, low, high = 1 - value, *(None if v is None else 1 - v for v in (high, low))
    if low is None:
        return f"{value:.3f}", True
    return f"{value:.3f} ({low:.3f} to {high:.3f})", low <= config.audit.max_auroc


def _limit(config: Config) -> str:
    return f"AUROC {config.audit.max_auroc:g}"


def _scores(spark: SparkSession, config: Config, prepared: dict[str, Any]) -> pd.DataFrame | None:
    """Of the last run of score, where it scored these chunks."""
    if not has_result(spark, config.output_root, "score"):
        return None
    found = manifest(spark, config.output_root, "score")
    if found["prepared"] != prepared["run"]:
        return None
    patients: DataFrame = spark.read.parquet(f"{found['path']}/patient_scores")
    return patients.select("window", "hadm_id", "score", "split").toPandas()


def _publish(
    publication: Publication,
    checks: list[Check],
    config: Config,
    prepared: dict[str, Any],
    now: Callable[[], datetime],
) -> None:
    facts = {
        "finished": now().isoformat(timespec="seconds"),
        "config": to_dict(config),
        "prepared": prepared["run"],
    }
    page = (
        page_environment()
        .get_template("comparison/audit.html.j2")
        .render(checks=checks, facts=facts)
    )
    told = json.dumps([asdict(check) for check in checks], indent=1)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, content in (("audit.json", told), ("audit.html", page)):
            files.append(Path(folder) / name)
            files[-1].write_text(content, encoding="utf-8")
            publication.put(files[-1], name)
        publication.publish(facts, front=files)
