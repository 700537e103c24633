"""Compare two models on the same admissions.

Both models score the same patients. Patients that are easy for one model are mostly easy for the
other, so the interval of the difference is much narrower than the intervals of the two measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.cross_fit import cross_fitted_risks
from readmit_spark.evaluation.curves import checked, why_no_curve
from readmit_spark.evaluation.delong import Components, clustered_variance, components
from readmit_spark.evaluation.intervals import (
    Floats,
    clustered_sd,
    rarer_patients,
    t_quantile,
    too_few,
)
from readmit_spark.evaluation.metrics import bootstrap

# scaled_brier: 1 - Brier score / (prevalence * (1 - prevalence)), after recalibration
#   (`cross_fitted_risks`): the share of the outcome's variance that the risks explain. Without
#   recalibration, a model would be judged by the prevalence in its training.
COMPARED = ("auroc", "average_precision", "scaled_brier")


@dataclass(frozen=True)
class Gain:
    """A measure of both models, and the challenger's gain with its interval (low, high).

    A gain above 0 means that the challenger is better. low and high are None if there are too few
    patients.
    """

    champion: float
    challenger: float
    gain: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """The gains on n admissions, `positives` of them readmitted.

    `gains` holds no undefined measures, for example no AUROC if nobody was readmitted.
    """

    n: int
    positives: int
    gains: Mapping[str, Gain]


def compare(
    champion: ArrayLike,
    challenger: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
    error: float = 0.05,
) -> Comparison:
    """Compute the gain of the challenger in each measure of COMPARED.

    champion, challenger: [n] scores of the same admissions. labels: [n] of 0 and 1. patients: [n]
    ids. error: the share of the intervals that may miss the truth. Errors: as
    `evaluation.metrics.evaluate`.
    """
    old, y, codes, _ = checked(champion, labels, patients)
    new, _, _, _ = checked(challenger, labels, patients)
    if why_no_curve(y):
        return Comparison(len(y), int(y.sum()), {})
    quantile = _quantile(y, codes, error)
    risks = [cross_fitted_risks(scores, y, patients, seed) for scores in (old, new)]
    gains = {
        "auroc": auroc_gain(old, new, labels, patients, error=error),
        "average_precision": _precision_gain(old, new, y, codes, quantile, replicates, seed),
        "scaled_brier": _brier_gain(risks[0], risks[1], y, codes, quantile),
    }
    return Comparison(len(y), int(y.sum()), gains)


def auroc_gain(
    champion: ArrayLike,
    challenger: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    error: float = 0.05,
) -> Gain:
    """Compute the gain in AUROC, with DeLong's variance of the difference summed by patient.

    Needs one of each class. Arguments: as `compare`.
    """
    old, y, codes, _ = checked(champion, labels, patients)
    new, _, _, _ = checked(challenger, labels, patients)
    before, after = components(old, y), components(new, y)
    difference = Components(after.positive - before.positive, after.negative - before.negative)
    gain = difference.auroc
    quantile = _quantile(y, codes, error)
    if quantile is None:
        return Gain(before.auroc, after.auroc, gain, None, None)
    spread = quantile * float(np.sqrt(clustered_variance(difference, y, codes)))
    return Gain(before.auroc, after.auroc, gain, gain - spread, gain + spread)


def _quantile(labels: Floats, patients: NDArray[np.intp], error: float) -> float | None:
    rarer = rarer_patients(labels, patients)
    return None if too_few(rarer) else t_quantile(rarer - 1, error)


def _precision_gain(
    old: Floats,
    new: Floats,
    labels: Floats,
    patients: NDArray[np.intp],
    quantile: float | None,
    replicates: int,
    seed: int,
) -> Gain:
    """The gain in average precision. Each replicate draws the same patients for both models."""
    (before, old_draws), (after, new_draws) = (
        bootstrap(scores, labels, patients, replicates=replicates, seed=seed)
        for scores in (old, new)
    )
    name = "average_precision"
    gain = after[name] - before[name]
    drawn = new_draws[name] - old_draws[name]
    drawn = drawn[~np.isnan(drawn)]
    if quantile is None or drawn.size < 2:
        return Gain(before[name], after[name], gain, None, None)
    spread = quantile * float(drawn.std(ddof=1))
    return Gain(before[name], after[name], gain, gain - spread, gain + spread)


def _brier_gain(
    old: Floats,
    new: Floats,
    labels: Floats,
    patients: NDArray[np.intp],
    quantile: float | None,
) -> Gain:
    variance = float(labels.mean() * (1 - labels.mean()))
    parts = ((old - labels) ** 2 - (new - labels) ** 2) / variance
    before, after = (1 - float(((risks - labels) ** 2).mean()) / variance for risks in (old, new))
    gain = float(parts.mean())
    if quantile is None:
        return Gain(before, after, gain, None, None)
    spread = quantile * clustered_sd((parts - gain) / len(parts), patients)
    return Gain(before, after, gain, gain - spread, gain + spread)
