"""Measure subgroups of patients; hide groups so small that they could reveal a person's outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.intervals import wilson
from readmit_spark.evaluation.metrics import evaluate

MIN_COUNT = 11  # the cell size policy of CMS: counts from 1 to 10 are not published
FACTORS = ("sex", "age_band", "ethnicity", "insurance", "admission_type")


@dataclass(frozen=True)
class Group:
    """One value of one factor, such as sex = female. All figures are None if it is hidden.

    n: admissions. readmitted: readmitted admissions. rate_low, rate_high: Wilson's 95 % interval of
    readmitted / n. mean_score: comparable with readmitted / n. auroc: the entry "auroc" of
    `evaluation.metrics.evaluate`.
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
    """Measure each value of each factor; return the groups by factor and name.

    groups: factor -> [n] values. A group is hidden if its admissions, its readmitted admissions or
    its other admissions number 1 to 10. A reader can compute the sum of the hidden groups from the
    total, so the smallest other groups are hidden as well until that sum is not small either.
    Other arguments and errors: as `evaluation.metrics.evaluate`.
    """
    s, y, ids = np.asarray(scores), np.asarray(labels), np.asarray(patients)
    results = []
    for factor, values in groups.items():
        column = np.asarray(values)
        names = sorted(set(column.tolist()))
        hidden = _hidden({name: y[column == name] for name in names})
        for name in names:
            rows = column == name
            if name in hidden:
                results.append(Group(factor, name))
                continue
            measured = evaluate(s[rows], y[rows], ids[rows], replicates=replicates, seed=seed)
            n, readmitted = measured["n"], measured["positives"]
            mean = float(s[rows].mean())
            rate = wilson(readmitted, n)
            results.append(Group(factor, name, n, readmitted, *rate, mean, measured["auroc"]))
    return results


def _hidden(labels: Mapping[str, NDArray[Any]]) -> set[str]:
    """Return the names of the groups to hide. labels: group name -> labels of its admissions."""

    def small(n: int, readmitted: int) -> bool:
        return any(0 < count < MIN_COUNT for count in (n, readmitted, n - readmitted))

    def deducible(names: set[str]) -> bool:
        """Whether the total minus the visible groups reveals a small count."""
        return len(names) == 1 or small(
            sum(len(labels[name]) for name in names), sum(int(labels[name].sum()) for name in names)
        )

    hidden = {name for name, y in labels.items() if small(len(y), int(y.sum()))}
    while deducible(hidden) and hidden < labels.keys():
        hidden.add(min(labels.keys() - hidden, key=lambda name: (len(labels[name]), name)))
    return hidden
