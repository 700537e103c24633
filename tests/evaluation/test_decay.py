"""Figures by month, for a split by time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from readmit_spark.evaluation.decay import by_month


def admissions() -> pd.DataFrame:
    """Return 30 readmitted in January, 12 in each of February and April, 5 in May, as many others.
    The order is right in January and reversed in all other months."""
    rows = []
    for month, readmitted in (("2026-01", 30), ("2026-02", 12), ("2026-04", 12), ("2026-05", 5)):
        for label in (0, 1):
            right = month == "2026-01"
            score = 0.8 if (label == 1) == right else 0.2
            rows += [(pd.Timestamp(f"{month}-28"), score, label)] * readmitted
    table = pd.DataFrame(rows, columns=["admittime", "score", "label"])
    table["score"] += np.linspace(-0.1, 0.1, len(table))
    return table.assign(subject_id=range(len(table)))


def test_months_are_joined_until_20_were_readmitted() -> None:
    periods = by_month(admissions())
    assert [(p["first"], p["last"], p["n"], p["positives"]) for p in periods] == [
        ("2026-01", "2026-01", 60, 30),
        ("2026-02", "2026-04", 48, 24),
        ("2026-05", "2026-05", 10, 5),
    ]


def test_each_period_is_measured_on_its_own_admissions() -> None:
    rows = admissions()
    january, later, _ = by_month(rows)
    assert january["auroc"]["value"] == 1.0 and later["auroc"]["value"] == 0.0
    own = rows[rows.admittime < "2026-02-01"]
    assert january["auroc"]["value"] == roc_auc_score(own.label, own.score)
    ratio = own.label.sum() / own.score.sum()
    assert january["observed_over_expected"]["value"] == pytest.approx(ratio)


def test_without_admissions_there_is_no_period() -> None:
    assert by_month(admissions()[:0]) == []
