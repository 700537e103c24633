"""Decide from a comparison whether the challenger may replace the champion.

Not to be shown worse is not enough: on few patients a large loss is not shown either. So each
measure has to be shown not to be worse by more than a margin (non-inferiority; Piaggio et al. 2012,
doi 10.1001/jama.2012.87802). What is not shown is a "cannot tell", which a person may accept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from readmit_spark.evaluation.paired import Comparison, Gain


@dataclass(frozen=True)
class Gate:
    """The conditions for replacing the champion. See `promote` in conf/base.yaml."""

    min_gain: float
    margin: float
    group_margin: float
    min_group: int


@dataclass(frozen=True)
class Verdict:
    """Reasons against the challenger, each in one line.

    worse: what is shown to be worse, or not better. cannot_tell: what these patients cannot show.
    """

    worse: Sequence[str]
    cannot_tell: Sequence[str]

    def passes(self, signed_off: bool) -> bool:
        """Return whether the challenger may replace the champion.

        signed_off: whether a person accepts what cannot be told.
        """
        return not self.worse and (signed_off or not self.cannot_tell)


def error_of_try(number: int) -> float:
    """Return the share of intervals that may miss the truth in the `number`-th try, from 1.

    The shares of all tries on the same patients add up to 5 %, however many there are: 2.5 %,
    0.83 %, 0.42 %, ...

    >>> round(sum(error_of_try(number) for number in range(1, 100_000)), 4)
    0.05
    """
    return 0.05 / (number * (number + 1))


def is_judged(group: Comparison, gate: Gate) -> bool:
    """Return whether a subgroup is large enough: `min_group` admissions of each outcome."""
    enough = min(group.positives, group.n - group.positives) >= gate.min_group
    return enough and "auroc" in group.gains


def judge(overall: Comparison, groups: Mapping[str, Comparison], gate: Gate) -> Verdict:
    """Return what speaks against the challenger.

    - It must be better: the interval of its gain in AUROC lies above `min_gain`.
    - It must do no harm: the interval of the gain in each other measure lies above -`margin`, and
      that in the AUROC of each large enough subgroup (`is_judged`) above -`group_margin`.

    An interval that lies entirely on the other side is "worse"; any other "cannot tell".
    """
    worse: list[str] = []
    cannot_tell: list[str] = []

    def check(name: str, gain: Gain, least: float) -> None:
        if gain.low is not None and gain.low > least:
            return
        surely = gain.high is not None and gain.high <= least
        if least >= 0:
            said = f"is not {'' if surely else 'shown to be '}better by more than {least:g}"
        else:
            said = f"{'is' if surely else 'may be'} worse by {-least:g} or more"
        (worse if surely else cannot_tell).append(f"{name} {change(gain)} {said}")

    if "auroc" not in overall.gains:
        return Verdict([], ["the AUROC of these admissions is undefined: both outcomes are needed"])
    check("AUROC", overall.gains["auroc"], gate.min_gain)
    for measure, gain in overall.gains.items():
        if measure != "auroc":
            check(measure.replace("_", " "), gain, -gate.margin)
    for name, group in groups.items():
        if is_judged(group, gate):
            check(f"AUROC of {name}", group.gains["auroc"], -gate.group_margin)
    return Verdict(worse, cannot_tell)


def change(gain: Gain) -> str:
    """Return both values and the gain as text."""
    spread = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{gain.champion:.3f} to {gain.challenger:.3f}, gain {gain.gain:+.3f}{spread}"
