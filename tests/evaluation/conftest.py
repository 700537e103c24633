"""A made-up run for the report's tests: three windows, the last without a readmission."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.decision_curve import decision_curve
from readmit_spark.evaluation.decision_page import decision_picture, decision_rows
from readmit_spark.evaluation.evaluate import ward_precision
from readmit_spark.evaluation.frozen_alerts import frozen_alerts
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.report_page import FlowStep, Pictures, Report, TokenLoss, WindowResult
from readmit_spark.evaluation.thresholds import operating_points

Cohort = tuple[Any, Any, Any]


@pytest.fixture
def cohort() -> Cohort:
    return scored()


def scored(n: int = 600, rate: float = 0.2, seed: int = 0, signal: float = 1.6) -> Cohort:
    """Return scores, labels, patients [n]. The scores are too high, as after balanced training."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rate).astype(int)
    scores = 1 / (1 + np.exp(0.6 - (rng.normal(size=n) + signal * labels)))
    return scores, labels, rng.integers(2 * n // 3, size=n)


def window(name: str, replicates: int = 50, **cohort: Any) -> WindowResult:
    scores, labels, patients = scored(**cohort)
    n = len(labels)
    natural = evaluate(scores, labels, patients, replicates=replicates)
    balanced = evaluate(scores, labels, patients, replicates=replicates, balanced=True)
    curve = decision_curve(scores, labels, patients, capacity_share=0.1)
    rows = pd.DataFrame({"score": scores, "label": labels})
    ward = ward_precision(rows, balanced["rp80"].get("threshold"))
    return WindowResult(
        name=name,
        natural=natural,
        balanced=balanced | {"ward_precision": ward},
        flow=(
            FlowStep(
                "in the cohort", 9 * n + 150, (("no_notes_in_window", 120), ("too_few_words", 30))
            ),
            FlowStep(
                "scored",
                9 * n,
                (("not_in_test_split", 7 * n), ("left_before_window_closed", n)),
            ),
            FlowStep("measured here", n),
        ),
        tokens=TokenLoss(chunks=12 * n, chunks_cut=3 * n, tokens=4900 * n, tokens_cut=211 * n),
        pictures=Pictures(
            roc=pictures.roc(scores, labels, patients, natural, title=f"ROC, {name}"),
            precision_recall=pictures.precision_recall(
                scores, labels, patients, natural, title=f"Precision and recall, {name}"
            ),
            distribution=pictures.distribution(scores, labels, title=f"Scores, {name}"),
            calibration=pictures.calibration(scores, labels, title=f"Calibration, {name}"),
            decision=decision_picture({"the score": curve}, title=f"Net benefit, {name}"),
        ),
        decision=decision_rows(curve),
        alerts=frozen_alerts(
            scores,
            labels,
            patients,
            operating_points(scores, labels, patients),
            replicates=replicates,
            seed=0,
        ),
        chunk={"accuracy": 0.674, "loss": 0.6123},
        attainable_auroc=0.87,
    )


@pytest.fixture(scope="session")
def report() -> Report:
    windows = (window("2days", signal=1.3), window("3days"), window("discharge", rate=0))
    return Report(
        title="Readmission risk, demo cohort",
        split="test",
        windows=windows,
        flow=(
            FlowStep(
                "admissions in the table",
                6311,
                (("newborn", 402), ("died_in_hospital", 357), ("admittime_not_a_time", 2)),
            ),
        ),
        bad_rows={"notes_of_unknown_admission": 14, "notes_marked_as_error": 1290},
        facts={
            "profile": "default",
            "model": "models:/readmit@champion, version 3",
            "prepared": "2026-01-02T03:04:05",
        },
        seconds={"prepare": 61.3, "finetune": 140.0, "score": 44.25},
    )
