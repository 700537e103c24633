"""What the vote is worth: its AUROC beside those of its parts, the maximum and the mean."""

from __future__ import annotations

from typing import Any

import pandas as pd

from readmit_spark.evaluation.curves import why_no_curve
from readmit_spark.evaluation.paired import auroc_gain

PARTS = {"max_probability": "maximum alone", "mean_probability": "mean alone"}


def vote_parts(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Compare the vote with the maximum and the mean of the chunk probabilities.

    rows: subject_id, label, score, n_chunks and the columns in PARTS, of the measured admissions.
    Returns `several`, the share of admissions with two chunks or more, and for each part its AUROC
    and the vote's gain with the paired 95 % interval (low and high are None with too few
    patients). None without these columns, or where no AUROC can be computed.
    """
    if "n_chunks" not in rows or why_no_curve(rows.label.to_numpy(int)):
        return None
    labels, patients = rows.label.to_numpy(int), rows.subject_id.to_numpy()
    result: dict[str, Any] = {"several": float((rows.n_chunks > 1).mean())}
    for column in PARTS:
        gain = auroc_gain(
            rows[column].to_numpy(float), rows.score.to_numpy(float), labels, patients
        )
        result[column] = {
            "auroc": gain.champion, "gain": gain.gain, "low": gain.low, "high": gain.high
        }  # fmt: skip
    return result
