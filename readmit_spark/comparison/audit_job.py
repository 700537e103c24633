"""Audit: check that documents do not reveal the label. Publishes only counts and shares."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from pyspark.sql import functions as F

from readmit_spark.comparison import leaks
from readmit_spark.config import Config
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.notes.windows import parse_window
from readmit_spark.pages.html import page_environment
from readmit_spark.pages.text_table import aligned
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.manifests import Prepared, Scored
from readmit_spark.storage.publish import has_result
from readmit_spark.storage.run import Run

STAGES = 6


@dataclass(frozen=True)
class Check:
    """One row of the audit.

    found: the figure in words. passed: None if it has no limit. leak: whether a figure above the
    limit is a leak; else it is a warning.
    """

    name: str
    window: str
    found: str
    limit: str
    passed: bool | None
    leak: bool = True

    @property
    def failed(self) -> bool:
        """Whether this is a leak."""
        return self.passed is False and self.leak

    @property
    def verdict(self) -> str:
        """`passed`, `FAILED`, `warning`, or `-` if there is no limit."""
        if self.passed is None:
            return "-"
        return "passed" if self.passed else "FAILED" if self.leak else "warning"


def audit(run: Run, prepared: Prepared) -> list[Check]:
    """Publish audit.json and audit.html; return the checks."""
    config, windows = run.config, prepared.windows
    chunks, cohort = prepared.table("chunks"), prepared.table("cohort")
    with run.stage("patients on both sides"):
        checks = [_both_sides(leaks.patients_on_both_sides(cohort), prepared.split_name)]
    with run.stage("near-duplicate texts"):
        for window in windows:
            window_chunks = chunks.where(F.col("window") == window)
            checks.append(_duplicates(window, *leaks.near_duplicates(window_chunks), config))
    with run.stage("text out of the window"):
        checks += _text_out_of_window(run, prepared)
    with run.stage("label words"):
        checks += _words(leaks.label_words(chunks).toPandas(), windows, config)
    with run.stage("length"):
        lengths = leaks.lengths(prepared.table("documents"), chunks).toPandas()
        checks += _lengths(lengths, windows, config)
        checks += _score_by_length(lengths, _scores(run, prepared), windows)
    with run.stage("publish"):
        facts = {"prepared": prepared.run, "verdict": verdict(checks)}
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
    documents = leaks.out_of_window(
        prepared.table("chunks"), source.rows, prepared.table("cohort"), early,
        run.config.audit.sample, run.config.codes.discharge_summary,
        prepared.text_rules.cleaning,
    ).toPandas()  # fmt: skip
    source.check(run.say)
    return _out_of_window(documents, early, prepared.window_rule[0])


def verdict(checks: Sequence[Check]) -> str:
    """Return the result in a line: the leaks, or that there is none."""
    failed = dict.fromkeys(check.name for check in checks if check.failed)
    return f"the cohort leaks: {'; '.join(failed)}" if failed else "no leak found"


def table(checks: list[Check]) -> str:
    """Format the checks as a text table, one line for each."""
    rows = [("", "check", "notes read", "found", "limit")]
    rows += [(c.verdict, c.name, c.window, c.found, c.limit) for c in checks]
    return aligned(rows)


def _both_sides(n_patients: int, split: str) -> Check:
    by = split.split()[0]
    of_patients = by not in ("time", "site")
    return Check(
        "patients on both sides of the split",
        "all",
        f"{n_patients:,}",
        "0" if of_patients else f"any: the split is by {by}",
        n_patients == 0 or not of_patients,
    )


def _duplicates(window: str, near: int, total: int, config: Config) -> Check:
    """It passes unless the whole 95 % interval of the share is above the limit."""
    low, high = wilson(near, total) if total else (0.0, 0.0)
    limit = config.audit.max_duplicates
    share = near / total if total else 0.0
    figure = f"{near:,} of {total:,} chunks ({share:.1%}; {low:.1%} to {high:.1%})"
    name = "near-duplicates of training chunks"
    return Check(name, window, figure, f"{limit:.1%}", low <= limit)


def _out_of_window(documents: pd.DataFrame, early: Sequence[str], available: str) -> list[Check]:
    """Check the documents of the `early` windows. available: the `window.available` of prepare."""
    checks = []
    for column, name, limited in (
        ("discharge", "discharge summaries inside", True),
        # By the rule `stored`, a note that could be read in the window may have a later CHARTDATE.
        ("charted_late", "notes charted after the cut-off inside", available == "charted"),
        ("read_late", "notes not readable at the cut-off inside", True),
    ):
        for window in early:
            rows = documents[documents.window == window]
            n = int(rows[column].sum())
            figure = f"{n:,} of {len(rows):,} documents"
            limit, passed = ("0", n == 0) if limited else ("", None)
            checks.append(Check(name, window, figure, limit, passed))
    return checks


def _words(rows: pd.DataFrame, windows: Sequence[str], config: Config) -> list[Check]:
    checks = []
    for window in windows:
        in_window = rows[rows.window == window]
        for word in leaks.LABEL_WORDS:
            share = in_window.groupby("label")[word].mean()
            auroc, passed = _auroc_alone(in_window, word, config)
            figure = (
                f"{share.get(1, 0):.1%} of the readmitted, {share.get(0, 0):.1%} of others; "
                f"AUROC {auroc}"
            )
            checks.append(Check(f"label word: {word}", window, figure, _limit(config), passed))
    return checks


def _lengths(rows: pd.DataFrame, windows: Sequence[str], config: Config) -> list[Check]:
    checks = []
    for window in windows:
        in_window = rows[rows.window == window]
        for unit in ("notes", "chunks", "words"):
            auroc, passed = _auroc_alone(in_window, unit, config)
            name = f"length: number of {unit} alone"
            # Sicker patients have more notes: a correlation is no leak.
            checks.append(Check(name, window, f"AUROC {auroc}", _limit(config), passed, leak=False))
    return checks


def _score_by_length(
    lengths: pd.DataFrame, scores: pd.DataFrame | None, windows: Sequence[str]
) -> list[Check]:
    """Report Spearman's rho of score and number of words in each window.

    It is measured on test admissions that were not readmitted: their scores have no reason to rise
    with the number of words.
    """
    name = "the score follows the number of words"
    if scores is None:
        return [
            Check(name, "all", "not measured: jobs/score.py has not scored these chunks", "", None)
        ]
    joined = lengths.merge(scores, on=["window", "hadm_id"])
    checks = []
    for window in windows:
        rows = joined[(joined.window == window) & (joined.label == 0) & (joined.split == "test")]
        if rows.score.nunique() > 1 and rows.words.nunique() > 1:
            rho = rows.score.corr(rows.words, method="spearman")
            figure = f"rho {rho:+.2f} over {len(rows):,} test admissions not readmitted"
        else:
            figure = f"not measured: {len(rows):,} scored test admissions not readmitted, all alike"
        checks.append(Check(name, window, figure, "", None))
    return checks


def _auroc_alone(rows: pd.DataFrame, column: str, config: Config) -> tuple[str, bool]:
    """Return the AUROC of one column as the only predictor, and whether it passes.

    An AUROC below 0.5 is reversed. It passes unless its whole 95 % interval is above the limit.
    """
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
    """Read the patient scores of the last run of score; None if it scored other chunks."""
    root = run.config.output_root
    if not has_result(run.spark, root, Scored.JOB):
        return None
    scored = Scored.read(run.spark, root)
    if scored.prepared != prepared.run:
        return None
    return scored.table("patient_scores").select("window", "hadm_id", "score", "split").toPandas()
