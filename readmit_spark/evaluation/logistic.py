"""Logistic regression of the outcome on the logit of a score: a line of two numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from readmit_spark.evaluation.intervals import Floats

MIN_DISTANCE = 1e-6  # from 0 and 1, where the logit is infinite
_FARTHEST = 40.0  # an intercept beyond it would move every probability to 0 or 1
_STEPS, _TOLERANCE = 100, 1e-10


@dataclass(frozen=True)
class Line:
    """P(readmitted) = 1 / (1 + exp(-(intercept + slope * logit))).

    influence: [n, parameters] the part of each admission in the estimates of intercept (and slope).
    """

    intercept: float
    slope: float
    influence: Floats


def logits(probabilities: ArrayLike) -> Floats:
    """Return log(p / (1 - p)); p of 0 and 1 are moved inside by 1e-6."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), MIN_DISTANCE, 1 - MIN_DISTANCE)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float64)


def expit(x: ArrayLike) -> Floats:
    """Return the inverse of the logit."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(x, dtype=np.float64) / 2)), dtype=np.float64)


def why_no_line(x: Floats, labels: Floats) -> str | None:
    """Return why no slope can be estimated; None if it can. Needs one of each class."""
    positives, negatives = x[labels == 1], x[labels == 0]
    if x.min() == x.max():
        return "all scores are equal"
    if positives.min() >= negatives.max() or positives.max() <= negatives.min():
        return "the scores separate the outcomes completely"
    return None


def fit_line(x: Floats, labels: Floats, *, slope: bool) -> Line:
    """Return the line of maximum likelihood. slope: False fixes the slope to 1.

    x: [n] logits. labels: [n], at least one of each class. With `slope`, `why_no_line` must be
    None.
    """
    if slope:
        intercept, factor = _maximum(x, labels)
        design = np.column_stack([np.ones_like(x), x])
    else:
        # The sum of the probabilities rises with the intercept and has to equal the positives.
        surplus = partial(_surplus, x, labels)
        intercept, factor = float(brentq(surplus, -_FARTHEST, _FARTHEST, xtol=1e-12)), 1.0
        design = np.ones((len(x), 1))
    p = expit(intercept + factor * x)
    hessian = design.T @ (design * (p * (1 - p))[:, None])
    influence = (design * (labels - p)[:, None]) @ np.linalg.inv(hessian)
    return Line(intercept, factor, influence)


def _surplus(x: Floats, labels: Floats, intercept: float) -> float:
    return float(expit(x + intercept).sum() - labels.sum())


def _maximum(x: Floats, labels: Floats) -> tuple[float, float]:
    """Return intercept and slope of the largest likelihood, by Newton's steps on scaled logits."""
    centre, scale = float(x.mean()), float(x.std())
    design = np.column_stack([np.ones_like(x), (x - centre) / scale])
    share = labels.mean()
    beta = np.array([np.log(share / (1 - share)), 0.0])
    likelihood = _likelihood(design @ beta, labels)
    for _ in range(_STEPS):
        p = expit(design @ beta)
        hessian = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(hessian, design.T @ (labels - p))
        # Far from the maximum the step can be too long.
        while _likelihood(design @ (beta + step), labels) < likelihood - _TOLERANCE:
            step = step / 2
        beta = beta + step
        likelihood = _likelihood(design @ beta, labels)
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    slope = float(beta[1]) / scale
    return float(beta[0]) - slope * centre, slope


def _likelihood(x: Floats, labels: Floats) -> float:
    return float(labels @ x - np.logaddexp(0, x).sum())
