"""Whether one model is better than another on the same admissions, and may replace it.

Both score the same patients, so what is bootstrapped is the difference: the patients that happen to
be easy are easy for both, and the interval of the difference is much narrower than those of the
two. Differences are turned so that above 0 the challenger is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.metrics import Floats, interval, replicates_of

# Measures of which less is better. calibration_gap: |mean score - share readmitted|.
_LESS = ("brier", "calibration_gap")
COMPARED = ("auroc", "auprc", "rp80", *_LESS)


@dataclass(frozen=True)
class Gain:
    """A measure of both models, and how much better the challenger is, with its 95 % interval.

    gain, low, high: above 0 is better whatever the measure; low and high are None where no
    replicate had the measure.
    """

    champion: float
    challenger: float
    gain: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """n admissions, `positives` of them readmitted; `gains` lacks the measures that cannot be had,
    as where a class is missing."""

    n: int
    positives: int
    gains: Mapping[str, Gain]


@dataclass(frozen=True)
class Gate:
    """What a challenger has to show. See `promote` in conf/base.yaml."""

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
    """Each of COMPARED, the patients bootstrapped with all their admissions and for both at once.

    champion, challenger: [n] scores of the same admissions; labels: [n] of 0 and 1; patients: [n].
    Errors: as `core.metrics.evaluate`.
    """
    y = np.asarray(labels)
    if y.size == 0:
        return Comparison(0, 0, {})
    (old, old_draws), (new, new_draws) = (
        _with_gap(*replicates_of(scores, y, patients, replicates=replicates, seed=seed))
        for scores in (champion, challenger)
    )
    gains = {}
    for measure in COMPARED:
        sign = -1.0 if measure in _LESS else 1.0
        gain = sign * (new[measure] - old[measure])
        if not np.isnan(gain):
            spread = interval(sign * (new_draws[measure] - old_draws[measure]))
            gains[measure] = Gain(old[measure], new[measure], gain, spread["low"], spread["high"])
    return Comparison(len(y), int(y.sum()), gains)


def has_a_say(group: Comparison, gate: Gate) -> bool:
    """Whether a subgroup is large enough to be judged: `min_group` of either outcome."""
    return min(group.positives, group.n - group.positives) >= gate.min_group


def objections(overall: Comparison, groups: Mapping[str, Comparison], gate: Gate) -> list[str]:
    """Why the challenger may not replace the champion, a line each; none where it may.

    - It has to be better: the interval of its gain in AUROC lies wholly above `min_gain`.
    - It must do no harm: no other measure, and the AUROC of no subgroup that has a say, is shown to
      be worse: its interval lies wholly below -`max_loss`.
    """
    found = []
    auroc = overall.gains.get("auroc")
    if auroc is None or auroc.low is None:
        return ["the AUROC cannot be had on these admissions: both outcomes are needed"]
    if auroc.low <= gate.min_gain:
        found.append(
            f"AUROC {_change(auroc)} is not shown to be better by more than {gate.min_gain:g}"
        )
    others = {m: gain for m, gain in overall.gains.items() if m != "auroc"}
    for name, group in groups.items():
        if has_a_say(group, gate):
            others[f"AUROC of {name}"] = group.gains["auroc"]
    for name, gain in others.items():
        if gain.high is not None and gain.high < -gate.max_loss:
            found.append(f"{name} {_change(gain)} is worse")
    return found


def _change(gain: Gain) -> str:
    spread = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{gain.champion:.3f} to {gain.challenger:.3f}, gain {gain.gain:+.3f}{spread}"


def _with_gap(
    point: dict[str, float], draws: dict[str, Floats]
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    gap = abs(point["mean_score"] - point["prevalence"])
    gaps = np.abs(draws["mean_score"] - draws["prevalence"])
    return {**point, "calibration_gap": gap}, {**draws, "calibration_gap": gaps}
