"""Turn patient scores into risks: what share of admissions with such a score is readmitted.

Training is balanced, so scores are too high for the ward. A curve is fitted on validation
admissions at natural prevalence, after the vote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.logistic import expit, fit_line, logits, why_no_line

Floats = NDArray[np.float64]
Method = Literal["intercept", "slope", "isotonic"]

MIN_EVENTS = 10  # fewer readmissions leave the risk uncertain by a factor of two
SLOPE_EVENTS = 100  # fewer leave the slope uncertain by a quarter or more
ISOTONIC_EVENTS = 1000  # as many as isotonic regression needs not to follow noise
_FOLDS = 5


@dataclass(frozen=True)
class RiskCurve:
    """risk = sigmoid(intercept + slope * logit(score)), fitted on n admissions, of
    which `readmitted` were readmitted.

    method: `intercept` has a slope of 1. With `isotonic` the risk instead lies on straight lines
    between `knots`, which are (score, risk) by rising score.
    """

    method: Method
    intercept: float
    slope: float
    n: int
    readmitted: int
    knots: tuple[tuple[float, float], ...] = ()

    def risks(self, scores: ArrayLike) -> Floats:
        """Return the risk of each score; a higher score never has a lower risk."""
        if self.method == "isotonic":
            x, y = np.array(self.knots, dtype=np.float64).T
            return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), x, y))
        return expit(self.intercept + self.slope * logits(scores))

    def risk(self, score: float) -> float:
        """Return the risk of one score."""
        return float(self.risks([score])[0])


def fit_risk_curve(scores: ArrayLike, labels: ArrayLike, patients: ArrayLike) -> RiskCurve | None:
    """Fit a curve to scores [n], labels [n] of 0 and 1 and ids of patients [n].

    The rarer outcome counts as the event. Below `SLOPE_EVENTS` the slope is 1. From
    `ISOTONIC_EVENTS` on, isotonic regression is taken if its log loss on folds of patients is
    lower. None with fewer than `MIN_EVENTS` events.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    events = count_events(y)
    if events < MIN_EVENTS:
        return None
    smooth = _fit_logistic(s, y, events)
    if events < ISOTONIC_EVENTS:
        return smooth
    folds = folds_of(np.asarray(patients))
    stepped = _fit_isotonic(s, y)
    losses = {
        method: sum(
            _log_loss(fit(s[folds != fold], y[folds != fold]), s[folds == fold], y[folds == fold])
            for fold in range(_FOLDS)
        )
        for method, fit in (
            ("smooth", lambda a, b: _fit_logistic(a, b, events)),
            ("isotonic", _fit_isotonic),
        )
    }
    return stepped if losses["isotonic"] < losses["smooth"] else smooth


def count_events(labels: ArrayLike) -> int:
    """Return how many admissions had the rarer outcome."""
    y = np.asarray(labels)
    return int(min(y.sum(), len(y) - y.sum()))


def _fit_logistic(s: Floats, y: Floats, events: int) -> RiskCurve:
    x, n, readmitted = logits(s), len(y), int(y.sum())
    if events >= SLOPE_EVENTS and why_no_line(x, y) is None:
        line = fit_line(x, y, slope=True)
        if line.slope > 0:  # a falling curve would turn the list upside down
            return RiskCurve("slope", line.intercept, line.slope, n, readmitted)
    return RiskCurve("intercept", fit_line(x, y, slope=False).intercept, 1.0, n, readmitted)


def _fit_isotonic(s: Floats, y: Floats) -> RiskCurve:
    from sklearn.isotonic import IsotonicRegression  # slow to import, and rarely used

    fitted = IsotonicRegression(out_of_bounds="clip").fit(s, y)
    # A risk of exactly 0 or 1 would be certainty.
    edge = 1 / (2 * len(y))
    risks = np.clip(fitted.y_thresholds_, edge, 1 - edge)
    knots = tuple(zip(fitted.X_thresholds_.tolist(), risks.tolist(), strict=True))
    return RiskCurve("isotonic", 0.0, 1.0, len(y), int(y.sum()), knots)


def _log_loss(curve: RiskCurve, s: Floats, y: Floats) -> float:
    p = np.clip(curve.risks(s), 1e-12, 1 - 1e-12)
    return float(-np.log(np.where(y == 1, p, 1 - p)).sum())


def folds_of(patients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each admission; all admissions of a patient are in one."""
    _, codes = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(0).permutation(int(codes.max()) + 1)
    return np.asarray(order[codes] % _FOLDS)
