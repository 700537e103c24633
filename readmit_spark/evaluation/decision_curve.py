"""Net benefit: whether alerts are worth more than they cost, for each risk from which a ward acts.

Vickers and Elkin 2006, doi 10.1177/0272989X06295361. A ward that acts from a risk of 20 % on values
one readmission that is seen as much as four visits in vain: the odds of 20 % are 1 to 4. So

    net benefit = right alerts / n - wrong alerts / n * risk / (1 - risk)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.curves import checked
from readmit_spark.evaluation.intervals import (
    Floats,
    clustered_sd,
    rarer_patients,
    t_quantile,
    too_few,
)

RISKS = tuple(percent / 100 for percent in range(1, 61))
SHOWN = (0.05, 0.1, 0.2, 0.3, 0.5)  # the rows of tables


def decision_curve(
    scores: ArrayLike, labels: ArrayLike, patients: ArrayLike, *, capacity_share: float
) -> dict[str, Any]:
    """Return the net benefit of four rules at each of RISKS, as plain values for JSON.

    - `model`: alert where the score is at least the risk, with its 95 % band `low` and `high`.
    - `everybody`: alert all admissions. Nobody has a net benefit of 0.
    - `capacity`: alert the highest scores, `capacity_share` of the admissions, whatever the risk.

    `gain`, `gain_low` and `gain_high`: the model less the better of everybody and nobody. `low` and
    the other ends are null if there are too few patients; `no_interval` then says so. Net benefits
    are null without admissions. Errors: as `evaluation.metrics.evaluate`.
    """
    s, y, codes, _ = checked(scores, labels, patients)
    rarer = rarer_patients(y, codes) if len(y) else 0
    result: dict[str, Any] = {"risks": list(RISKS), "capacity_share": capacity_share}
    if reason := too_few(rarer):
        result["no_interval"] = reason
    by_capacity = highest(s, capacity_share)
    rows = [_at(risk, s, y, codes, by_capacity, rarer) for risk in RISKS]
    return result | {name: [row[name] for row in rows] for name in rows[0]}


def net_benefit(alerted: Floats, labels: Floats, risk: float) -> Floats:
    """Return [n] the part of each admission; their mean is the net benefit.

    alerted: [n] 1, 0, or the probability of an alert.
    """
    return alerted * (labels - (1 - labels) * risk / (1 - risk))


def highest(scores: Floats, share: float) -> Floats:
    """Return [n] the probability that each admission is among the highest scores, `share` of all.

    Equal scores at the limit have equal probabilities, so that the order of the rows is of no
    matter.
    """
    places = share * len(scores)
    alerted = np.zeros(len(scores))
    for score in np.unique(scores)[::-1]:
        equal = scores == score
        alerted[equal] = min(1.0, places / equal.sum())
        places -= equal.sum()
        if places <= 0:
            break
    return alerted


def _at(
    risk: float,
    scores: Floats,
    labels: Floats,
    patients: NDArray[np.intp],
    by_capacity: Floats,
    rarer: int,
) -> dict[str, float | None]:
    names = ("model", "low", "high", "everybody", "capacity", "gain", "gain_low", "gain_high")
    if not len(labels):
        return dict.fromkeys(names)
    model = net_benefit((scores >= risk).astype(np.float64), labels, risk)
    everybody = net_benefit(np.ones(len(labels)), labels, risk)
    gain = model - everybody if everybody.mean() > 0 else model
    return {
        "model": float(model.mean()),
        "everybody": float(everybody.mean()),
        "capacity": float(net_benefit(by_capacity, labels, risk).mean()),
        "gain": float(gain.mean()),
        **dict(zip(("low", "high"), _ends(model, patients, rarer), strict=True)),
        **dict(zip(("gain_low", "gain_high"), _ends(gain, patients, rarer), strict=True)),
    }


def _ends(
    parts: Floats, patients: NDArray[np.intp], rarer: int
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean of `parts`."""
    if too_few(rarer):
        return None, None
    mean = float(parts.mean())
    spread = t_quantile(rarer - 1) * clustered_sd((parts - mean) / len(parts), patients)
    return mean - spread, mean + spread
