"""Measure subgroups of patients; hide groups so small that they could reveal a person's outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from readmit_spark.evaluation.calibration import CALIBRATION
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.small_cells import hidden_cells, rounded
from readmit_spark.notes.demographics import UNKNOWN

FACTORS = ("sex", "age_band", "ethnicity", "insurance", "admission_type", "discharge_to")
Windows = dict[str, pd.DataFrame]
MEASURES = ("auroc", "brier", *CALIBRATION)


@dataclass(frozen=True)
class Group:
    """One value of one factor, such as sex = female. All figures are None if it is hidden.

    n: admissions, and readmitted: readmitted admissions, both rounded to 5. rate_low, rate_high:
    Wilson's 95 % interval of readmitted / n. measures: MEASURES, as in
    `evaluation.metrics.evaluate`.
    """

    factor: str
    name: str
    n: int | None = None
    readmitted: int | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    measures: Mapping[str, Any] | None = None


def by_subgroup(
    windows: Mapping[str, pd.DataFrame], factors: Sequence[str] = FACTORS
) -> dict[str, list[Group]]:
    """Measure each value of each factor; return by window the groups by factor and name.

    windows: all that are published together -> hadm_id, subject_id, score, label and a column for
    each factor. What is hidden: see `small_cells.hidden_cells`.
    """
    groups: dict[str, list[Group]] = {window: [] for window in windows}
    for factor in factors:
        hidden = hidden_cells(windows, factor)
        for window, rows in windows.items():
            groups[window] += [
                Group(factor, str(name))
                if (window, str(name)) in hidden
                else _measured(factor, str(name), own)
                for name, own in rows.groupby(factor)
            ]
    return groups


def by_factor(groups: Sequence[Group]) -> list[tuple[str, list[Group]]]:
    """Return [(factor, groups)], in order."""
    return [(f, list(g)) for f, g in groupby(groups, key=lambda group: group.factor)]


def with_factors(scored: Mapping[str, pd.DataFrame], subgroups: pd.DataFrame) -> Windows:
    """Add the columns of FACTORS to the admissions of each window, sorted by hadm_id.

    scored: window -> hadm_id and others. subgroups: the table of prepare. A missing value, and an
    admission that it lacks, is "unknown".
    """
    known = subgroups.set_index("hadm_id")[list(FACTORS)]
    windows = {}
    for name, rows in scored.items():
        ordered = rows.sort_values("hadm_id", ignore_index=True)
        values = known.reindex(ordered.hadm_id).fillna(UNKNOWN).reset_index(drop=True)
        windows[name] = pd.concat([ordered, values], axis=1)
    return windows


def _measured(factor: str, name: str, rows: pd.DataFrame) -> Group:
    scores, labels = rows.score.to_numpy(float), rows.label.to_numpy(int)
    measures = evaluate(scores, labels, rows.subject_id.to_numpy(), replicates=0)
    n, readmitted = rounded(len(rows)), rounded(int(labels.sum()))
    return Group(
        factor, name, n, readmitted, *wilson(readmitted, n),
        {measure: measures[measure] for measure in MEASURES},
    )  # fmt: skip
