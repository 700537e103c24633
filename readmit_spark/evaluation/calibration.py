"""Whether scores agree with observed rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.curves import checked, why_no_curve
from readmit_spark.evaluation.intervals import (
    Floats,
    clustered_sd,
    rarer_patients,
    t_quantile,
    too_few,
    wilson,
)
from readmit_spark.evaluation.logistic import fit_line, logits, why_no_line

_MIN_PER_BIN = 11  # smaller calibration bins are noise and could reveal a patient's outcome

# observed_over_expected: readmitted admissions divided by the sum of the scores; 1 is right on
#   average, below 1 the scores are too high.
# calibration_intercept: what to add to the scores' logits so that they are right on average.
# calibration_slope: the slope of the logistic regression of the outcome on the scores' logits;
#   below 1 the scores are too extreme.
CALIBRATION = ("observed_over_expected", "calibration_intercept", "calibration_slope")


@dataclass(frozen=True)
class Bin:
    """Admissions of similar score: predicted and observed rate, with the observed rate's interval.

    low, high: Wilson's 95 % interval of ``observed``.
    """

    n: int
    mean_score: float
    observed: float
    low: float
    high: float


def calibration_measures(
    scores: Floats, labels: Floats, patients: NDArray[np.intp]
) -> dict[str, dict[str, Any]]:
    """Return the measures of CALIBRATION, each as a measure of `evaluation.metrics.evaluate`.

    patients: [n] codes from 0. The intervals rest on the patients' sums of the scores' influence
    (the "sandwich" variance; Liang and Zeger 1986, doi 10.1093/biomet/73.1.13).
    """
    if reason := why_no_curve(labels):
        return {m: {"value": None, "reason": reason} for m in CALIBRATION}
    rarer = rarer_patients(labels, patients)
    x = logits(scores)
    level = fit_line(x, labels, slope=False)
    measures: dict[str, dict[str, Any]] = {
        "observed_over_expected": _observed_over_expected(scores, labels, patients, rarer),
        "calibration_intercept": _with_interval(
            level.intercept, clustered_sd(level.influence[:, 0], patients), rarer
        ),
    }
    if reason := why_no_line(x, labels):
        measures["calibration_slope"] = {"value": None, "reason": reason}
    else:
        line = fit_line(x, labels, slope=True)
        measures["calibration_slope"] = _with_interval(
            line.slope, clustered_sd(line.influence[:, 1], patients), rarer
        )
    return measures


def calibration(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[Bin]:
    """Return mean score and observed rate in ``bins`` groups of equal size, by rising score.

    Equal scores are in the same bin (their middle rank decides which), so the bins do not depend
    on the order of the rows. Empty bins are left out. The number of bins is reduced until each
    would have at least 11 admissions.
    """
    s, y, _, _ = checked(scores, labels, np.zeros(np.size(np.asarray(scores))))
    n = len(s)
    bins = max(1, min(bins, n // _MIN_PER_BIN))
    _, group, size = np.unique(s, return_inverse=True, return_counts=True)
    end = np.cumsum(size)
    # Equal scores with ranks start..end-1 have the middle rank (start + end) / 2; in integers:
    bin_of = (((2 * end - size) * bins) // (2 * n))[group] if n else group
    return [
        Bin(
            int(in_bin.sum()),
            float(s[in_bin].mean()),
            float(y[in_bin].mean()),
            *wilson(int(y[in_bin].sum()), int(in_bin.sum())),
        )
        for in_bin in (bin_of == b for b in np.unique(bin_of))
    ]


def _observed_over_expected(
    scores: Floats, labels: Floats, patients: NDArray[np.intp], rarer: int
) -> dict[str, Any]:
    """The ratio, with an interval that is symmetric on the log scale."""
    n, expected = len(labels), float(scores.mean())
    if expected <= 0:
        return {"value": None, "reason": "all scores are 0"}
    ratio = float(labels.mean()) / expected
    sd = clustered_sd((labels / labels.mean() - scores / expected) / n, patients)
    log_ratio = _with_interval(float(np.log(ratio)), sd, rarer)
    if log_ratio["low"] is not None:
        log_ratio |= {end: float(np.exp(log_ratio[end])) for end in ("low", "high")}
    return log_ratio | {"value": ratio}


def _with_interval(value: float, sd: float, rarer: int) -> dict[str, Any]:
    if reason := too_few(rarer):
        return {"value": value, "low": None, "high": None, "no_interval": reason}
    spread = t_quantile(rarer - 1) * sd
    return {"value": value, "low": value - spread, "high": value + spread}
