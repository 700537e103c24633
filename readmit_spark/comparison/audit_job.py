"""Audit: does the text give the label away? Only counts and shares are published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from pyspark.sql import functions as F

from readmit_spark.comparison import leaks
from readmit_spark.config import Config
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.notes.windows import parse_window
from readmit_spark.pages.html import page_environment
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.publish import has_result
from readmit_spark.storage.run import Run

STAGES = 6


@dataclass(frozen=True)
class Check:
    """One row of the audit. passed is None where a figure has no limit."""

    name: str
    window: str
    found: str
    limit: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        return "-" if self.passed is None else "passed" if self.passed else "FAILED"


def audit(run: Run, prepared: Prepared) -> list[Check]:
    """Publish audit.json and audit.html; return the checks."""
    config, windows = run.config, prepared.windows
    chunks, cohort = prepared.table("chunks"), prepared.table("cohort")
    with run.stage("patients on both sides"):
        checks = [_sides(leaks.patients_on_both_sides(cohort))]
    with run.stage("near-duplicate texts"):
        for window in windows:
            of_window = chunks.where(F.col("window") == window)
            checks.append(_duplicates(window, *leaks.near_duplicates(of_window), config))
    with run.stage("text out of the window"):
        checks += _text_out_of_window(run, prepared)
    with run.stage("label words"):
        checks += _words(leaks.label_words(chunks).toPandas(), windows, config)
    with run.stage("length"):
        lengths = leaks.lengths(prepared.table("documents"), chunks).toPandas()
        checks += _lengths(lengths, windows, config)
        checks += _score_by_length(lengths, _scores(run, prepared), windows)
    with run.stage("publish"):
        facts = {"prepared": prepared.run}
        page = page_environment().get_template("comparison/audit.html.j2")
        run.publish(
            facts,
            {
                "audit.json": json.dumps([asdict(check) for check in checks], indent=1),
                "audit.html": page.render(
                    checks=checks,
                    facts={"finished": run.now().isoformat(timespec="seconds"), **facts},
                ),
            },
        )
    return checks


def _text_out_of_window(run: Run, prepared: Prepared) -> list[Check]:
    early = [window for window in prepared.windows if parse_window(window).days is not None]
    if not early:
        return []
    source = read_checked_notes(run.spark, run.config)
    found = leaks.out_of_window(
        prepared.table("chunks"), source.rows, prepared.table("cohort"), early,
        run.config.audit.sample,
    ).toPandas()  # fmt: skip
    source.check()
    return _out_of_window(found, early)


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


def _out_of_window(found: pd.DataFrame, early: Sequence[str]) -> list[Check]:
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


def _words(rows: pd.DataFrame, windows: Sequence[str], config: Config) -> list[Check]:
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


def _lengths(rows: pd.DataFrame, windows: Sequence[str], config: Config) -> list[Check]:
    checks = []
    for window in windows:
        here = rows[rows.window == window]
        for what in ("notes", "chunks", "words"):
            auroc, passed = _told(here, what, config)
            name = f"length: number of {what} alone"
            checks.append(Check(name, window, f"AUROC {auroc}", _limit(config), passed))
    return checks


def _score_by_length(
    lengths: pd.DataFrame, scores: pd.DataFrame | None, windows: Sequence[str]
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


def _scores(run: Run, prepared: Prepared) -> pd.DataFrame | None:
    """Patient scores of the last run of score; None where it scored other chunks."""
    root = run.config.output_root
    if not has_result(run.spark, root, Scored.JOB):
        return None
    scored = Scored.read(run.spark, root)
    if scored.prepared != prepared.run:
        return None
    return scored.table("patient_scores").select("window", "hadm_id", "score", "split").toPandas()
