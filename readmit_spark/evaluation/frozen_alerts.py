"""What alerts at thresholds that were chosen on validation do on other patients.

A threshold is frozen: nothing is chosen on the admissions that are measured here. So these are the
figures that a ward can expect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from readmit_spark.evaluation.curves import checked
from readmit_spark.evaluation.intervals import bootstrap_weights, interval
from readmit_spark.evaluation.thresholds import Threshold, pick

TARGETS = (0.2, 0.3, 0.5, 0.8)  # precisions for which thresholds are shown
CAPACITIES = (10, 20, 50)  # alerts among 100 patients
_FEWEST = 11  # figures of fewer alerts would say nothing and could reveal a patient's outcome
RATES = ("per_100", "precision", "sensitivity", "specificity", "npv")

Floats = NDArray[np.float64]


def frozen_alerts(
    scores: Floats,
    labels: NDArray[np.int64],
    patients: NDArray[np.int64],
    points: Sequence[Threshold],
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return, as values for JSON, what alerts do on these admissions.

    points: `operating_points` of the window, from validation. `thresholds`: for each of `TARGETS`
    the threshold (None: no threshold can be chosen), what was `told` on validation and what is
    `reached` here. `capacity`: for each of `CAPACITIES` what is reached if so many of 100 patients,
    those with the highest scores, are alerted. See `alert_rates`.
    """

    def reached(alerted: NDArray[np.bool_]) -> dict[str, Any]:
        return alert_rates(alerted, labels, patients, replicates=replicates, seed=seed)

    thresholds = []
    for target in TARGETS:
        point = pick(points, target)
        row: dict[str, Any] = {"target": target, "threshold": None}
        if point is not None:
            row["threshold"] = point.threshold
            row["told"] = told(point)
            row["reached"] = reached(scores >= point.threshold)
        thresholds.append(row)
    ranks = np.argsort(np.argsort(-scores, kind="stable"))
    return {
        "thresholds": thresholds,
        "capacity": [
            {"of_100": k, "reached": reached(ranks < round(k / 100 * len(scores)))}
            for k in CAPACITIES
        ],
    }


def told(point: Threshold) -> dict[str, Any]:
    """Return what validation says about alerts at this threshold, as values for JSON."""
    return {
        "precision": {"value": point.precision, "low": point.low, "high": point.high},
        "alerts": point.alerts,
        "n": point.n,
        "promised": point.promised,
    }


def alert_rates(
    alerted: NDArray[np.bool_],
    labels: NDArray[np.int64],
    patients: NDArray[np.int64],
    *,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return n, alerts and each of `RATES` as {"value", "low", "high"} over bootstrapped patients.

    per_100: alerts among 100 admissions. sensitivity: share of the readmitted that are alerted.
    specificity: share of the others that are not alerted. npv: share of those without an alert that
    are not readmitted. A rate of nobody is {"value": None, "reason"}; so are all rates but per_100
    with fewer than 11 alerts.
    """
    _, y, codes, n_patients = checked(alerted.astype(float), labels, patients)
    cells = np.stack([alerted * y, alerted * (1 - y), ~alerted * y, ~alerted * (1 - y)])
    result: dict[str, Any] = {"n": len(y), "alerts": int(alerted.sum())}
    if len(y) == 0:
        return result | dict.fromkeys(RATES, _none("no admission to evaluate"))
    point = _rates(cells.sum(axis=1))
    draws = [
        _rates(cells @ weights)
        for weights in bootstrap_weights(codes, n_patients, replicates, seed)
    ]
    for name in RATES:
        if name != "per_100" and result["alerts"] < _FEWEST:
            result[name] = _none(f"fewer than {_FEWEST} alerts")
        elif np.isnan(point[name]):
            result[name] = _none("nobody to count")
        else:
            drawn = np.array([draw[name] for draw in draws])
            result[name] = {"value": point[name]} | interval(drawn)
    return result


def _rates(cells: Floats) -> dict[str, float]:
    """Return each of `RATES`, from true and false alerts, and true and false silences."""
    hits, false_alarms, missed, rightly_silent = cells
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "per_100": float(100 * (hits + false_alarms) / cells.sum()),
            "precision": float(np.divide(hits, hits + false_alarms)),
            "sensitivity": float(np.divide(hits, hits + missed)),
            "specificity": float(np.divide(rightly_silent, rightly_silent + false_alarms)),
            "npv": float(np.divide(rightly_silent, rightly_silent + missed)),
        }


def _none(reason: str) -> dict[str, Any]:
    return {"value": None, "reason": reason}
