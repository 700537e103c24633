"""Fit the risks of a model again on a hospital's own patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from readmit_spark.evaluation.logistic import expit, logits
from readmit_spark.evaluation.risk_curve import (
    MIN_EVENTS,
    SLOPE_EVENTS,
    RiskCurve,
    count_events,
    fit_risk_curve,
    folds_of,
)

Floats = NDArray[np.float64]

_FARTHEST = 20.0  # a shift beyond it would move every risk to 0 or 1


def recalibrate(
    curve: RiskCurve | None, scores: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> RiskCurve | None:
    """Return the curve for these admissions; None if there are too few events to fit one.

    Below `SLOPE_EVENTS` events the earlier curve keeps its shape, and all logits move by one
    number. From there on, or without an earlier curve, `fit_risk_curve` fits a new one. Parameters:
    as `fit_risk_curve`.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if count_events(y) < MIN_EVENTS:
        return None
    if curve is None or count_events(y) >= SLOPE_EVENTS:
        return fit_risk_curve(s, y, patients)
    # The sum of the risks rises with the shift and has to equal the readmitted admissions.
    shift = brentq(lambda by: _moved(curve, by).risks(s).sum() - y.sum(), -_FARTHEST, _FARTHEST)
    return replace(_moved(curve, float(shift)), n=len(y), readmitted=int(y.sum()))


def _moved(curve: RiskCurve, shift: float) -> RiskCurve:
    """Add `shift` to the logits of the curve's risks."""
    knots = tuple((x, float(expit(logits(risk) + shift))) for x, risk in curve.knots)
    return replace(curve, intercept=curve.intercept + shift, knots=knots)


def unseen_risks(
    curve: RiskCurve | None, scores: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> Floats:
    """Return the risk of each admission by a curve that was recalibrated on other patients.

    So the figures of a recalibrated curve can be shown on the admissions that it is fitted to.
    """
    s, y, ids = np.asarray(scores, dtype=np.float64), np.asarray(labels), np.asarray(patients)
    folds, risks = folds_of(ids), np.array(s)
    for fold in np.unique(folds):
        here, others = folds == fold, folds != fold
        fitted = recalibrate(curve, s[others], y[others], ids[others]) or curve
        risks[here] = s[here] if fitted is None else fitted.risks(s[here])
    return risks
