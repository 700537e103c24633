"""Figures of subgroups, without giving away the few: small cells are suppressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.metrics import evaluate, wilson

SMALLEST = 11  # as the CMS's rule for published counts: none from 1 to 10
FACTORS = ("sex", "age_band", "ethnicity", "insurance", "admission_type")


@dataclass(frozen=True)
class Group:
    """A subgroup of those measured. All figures are None where it is suppressed.

    n: admissions. readmitted: of them. rate_low, rate_high: 95 % (Wilson) interval of the share
    readmitted. mean_score: to hold against that share. auroc: as `core.metrics.evaluate` has it.
    """

    factor: str
    name: str
    n: int | None = None
    readmitted: int | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    mean_score: float | None = None
    auroc: Mapping[str, Any] | None = None


def by_subgroup(
    scores: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    groups: Mapping[str, Sequence[str]],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> list[Group]:
    """Each value of each factor in `groups` (factor -> [n] values), by factor and name.

    A group is suppressed where it, its readmitted or its others are 1 to 10 admissions; and so are
    the smallest of the rest, until the same holds of none of the suppressed ones' sums, which the
    total less the rest tells. Other arguments and errors: as `core.metrics.evaluate`.
    """
    s, y, who = np.asarray(scores), np.asarray(labels), np.asarray(patients)
    found = []
    for factor, values in groups.items():
        here = np.asarray(values)
        names = sorted(set(here.tolist()))
        hidden = _suppressed({name: y[here == name] for name in names})
        for name in names:
            mine = here == name
            if name in hidden:
                found.append(Group(factor, name))
                continue
            measured = evaluate(s[mine], y[mine], who[mine], replicates=replicates, seed=seed)
            n, readmitted = measured["n"], measured["positives"]
            mean = float(s[mine].mean())
            rate = wilson(readmitted, n)
            found.append(Group(factor, name, n, readmitted, *rate, mean, measured["auroc"]))
    return found


def _suppressed(labels: Mapping[str, NDArray[Any]]) -> set[str]:
    def small(n: int, readmitted: int) -> bool:
        return any(0 < count < SMALLEST for count in (n, readmitted, n - readmitted))

    def told(names: set[str]) -> bool:
        """Whether the sums of these, or a single one of them, give few people away."""
        return len(names) == 1 or small(
            sum(len(labels[name]) for name in names), sum(int(labels[name].sum()) for name in names)
        )

    hidden = {name for name, y in labels.items() if small(len(y), int(y.sum()))}
    while told(hidden) and hidden < labels.keys():
        hidden.add(min(labels.keys() - hidden, key=lambda name: (len(labels[name]), name)))
    return hidden
