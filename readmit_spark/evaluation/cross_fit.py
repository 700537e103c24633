"""Turn scores into risks on the measured admissions themselves, without seeing their own outcome.

Models that were trained on balanced samples have scores that are too high, by an intercept that one
number mends. Comparing them without it would compare their prevalence in training.
"""

from __future__ import annotations

from hashlib import md5

import numpy as np
from numpy.typing import ArrayLike

from readmit_spark.evaluation.curves import checked, why_no_curve
from readmit_spark.evaluation.intervals import Floats
from readmit_spark.evaluation.logistic import expit, fit_line, logits, why_no_line

_MIN_EVENTS_FOR_SLOPE = 100  # with fewer, a fitted slope is worse than none


def cross_fitted_risks(
    scores: ArrayLike, labels: ArrayLike, patients: ArrayLike, seed: int
) -> Floats:
    """Return [n] risks: the patients are cut into two halves, and each half is recalibrated with
    the intercept (and the slope, from 100 events on) of the other.

    The half of a patient follows a hash of seed and id. A half with one outcome only leaves the
    other as it is. Errors: as `evaluation.metrics.evaluate`.
    """
    s, y, codes, n_patients = checked(scores, labels, patients)
    ids = np.unique(np.asarray(patients)) if n_patients else np.zeros(0)
    halves = np.array([_half(f"{seed}:half:{one}") for one in ids.tolist()], dtype=int)[codes]
    x, risks = logits(s), np.array(s)
    for half in (0, 1):
        fitted_on, applied_to = halves != half, halves == half
        if why_no_curve(y[fitted_on]):
            continue
        slope = (
            y[fitted_on].sum() >= _MIN_EVENTS_FOR_SLOPE
            and why_no_line(x[fitted_on], y[fitted_on]) is None
        )
        line = fit_line(x[fitted_on], y[fitted_on], slope=bool(slope))
        risks[applied_to] = expit(line.intercept + line.slope * x[applied_to])
    return risks


def _half(key: str) -> int:
    return md5(key.encode(), usedforsecurity=False).digest()[0] % 2
