"""Compare two models on the same admissions and decide whether the challenger may replace the
champion.

Both models score the same patients, so the difference of a measure is bootstrapped. Patients that
are easy for one model are mostly easy for the other, so the interval of the difference is much
narrower than the intervals of the two measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.intervals import Floats, interval
from readmit_spark.evaluation.metrics import bootstrap

# calibration_gap: |mean score - share readmitted|.
_LOWER_IS_BETTER = ("brier", "calibration_gap")
COMPARED = ("auroc", "auprc", "rp80", *_LOWER_IS_BETTER)


@dataclass(frozen=True)
class Gain:
    """A measure of both models, and the challenger's gain with its 95 % interval (low, high).

    A gain above 0 means that the challenger is better, also for measures where lower is better. low
    and high are None if the measure is undefined in every replicate.
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


@dataclass(frozen=True)
class Gate:
    """The conditions for replacing the champion. See `promote` in conf/base.yaml."""

    min_gain: float
    max_loss: float
    min_group: int


def compare(
    champion: ArrayLike,
    challenger: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compute the gain of the challenger in each measure of COMPARED.

    champion, challenger: [n] scores of the same admissions. labels: [n] of 0 and 1. patients: [n]
    ids. Each replicate draws the same patients, with all their admissions, for both models.
    Errors: as `evaluation.metrics.evaluate`.
    """
    y = np.asarray(labels)
    if y.size == 0:
        return Comparison(0, 0, {})
    (old, old_draws), (new, new_draws) = (
        _with_gap(*bootstrap(scores, y, patients, replicates=replicates, seed=seed))
        for scores in (champion, challenger)
    )
    gains = {}
    for measure in COMPARED:
        sign = -1.0 if measure in _LOWER_IS_BETTER else 1.0
        gain = sign * (new[measure] - old[measure])
        if not np.isnan(gain):
            spread = interval(sign * (new_draws[measure] - old_draws[measure]))
            gains[measure] = Gain(old[measure], new[measure], gain, spread["low"], spread["high"])
    return Comparison(len(y), int(y.sum()), gains)


def is_judged(group: Comparison, gate: Gate) -> bool:
    """Return whether a subgroup is large enough: `min_group` admissions of each outcome."""
    return min(group.positives, group.n - group.positives) >= gate.min_group


def objections(overall: Comparison, groups: Mapping[str, Comparison], gate: Gate) -> list[str]:
    """Return the reasons why the challenger may not replace the champion; empty if it may.

    - It must be better: the interval of its gain in AUROC lies entirely above `min_gain`.
    - It must do no harm: no other measure is shown to be worse, and neither is the AUROC of any
      subgroup that is large enough (`is_judged`). Worse means that the interval of the gain lies
      entirely below -`max_loss`.
    """
    reasons = []
    auroc = overall.gains.get("auroc")
    if auroc is None or auroc.low is None:
        return ["the AUROC of these admissions is undefined: both outcomes are needed"]
    if auroc.low <= gate.min_gain:
        reasons.append(
            f"AUROC {_change(auroc)} is not shown to be better by more than {gate.min_gain:g}"
        )
    others = {m: gain for m, gain in overall.gains.items() if m != "auroc"}
    for name, group in groups.items():
        if is_judged(group, gate):
            others[f"AUROC of {name}"] = group.gains["auroc"]
    for name, gain in others.items():
        if gain.high is not None and gain.high < -gate.max_loss:
            reasons.append(f"{name} {_change(gain)} is worse")
    return reasons


def _change(gain: Gain) -> str:
    spread = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{gain.champion:.3f} to {gain.challenger:.3f}, gain {gain.gain:+.3f}{spread}"


def _with_gap(
    point: dict[str, float], draws: dict[str, Floats]
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    gap = abs(point["mean_score"] - point["prevalence"])
    gaps = np.abs(draws["mean_score"] - draws["prevalence"])
    return {**point, "calibration_gap": gap}, {**draws, "calibration_gap": gaps}
