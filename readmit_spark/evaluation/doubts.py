"""Decide whether a model is shown to rank better than chance; what is not shown is a doubt.

This is the only place that decides it. Lists, reports and cards show the doubts of their model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from readmit_spark.early_checks import FEWEST_READMITTED
from readmit_spark.pages.html import number

_CHANCE = 0.5  # AUROC


@dataclass(frozen=True)
class Evidence:
    """How well a model ranked some patients.

    n, readmitted: of the measured admissions. auroc, low, high: the AUROC with its 95 % interval;
    None where there is none. trained_on: readmitted admissions in training; None if unknown.
    """

    n: int
    readmitted: int
    auroc: float | None
    low: float | None
    high: float | None
    trained_on: int | None = None

    @classmethod
    def of(cls, measures: Mapping[str, Any], trained_on: int | None = None) -> Evidence:
        """Make it from the result of `metrics.evaluate`."""
        auroc = measures["auroc"]
        return cls(
            measures["n"], measures["positives"], auroc["value"], auroc.get("low"),
            auroc.get("high"), trained_on,
        )  # fmt: skip

    @property
    def better_than_chance(self) -> bool:
        """Whether the lower end of the AUROC's interval is above 0.5."""
        return self.low is not None and self.low > _CHANCE


def doubts(validation: Evidence | None, test: Evidence | None) -> list[str]:
    """Return a sentence for each reason to doubt that the model ranks better than chance.

    None: not measured on these patients. The list is empty where all that was measured shows it,
    and the model learnt from `FEWEST_READMITTED["train"]` readmitted admissions or more.
    """
    measured = {"validation": validation, "test": test}
    found = [
        _not_shown(evidence, patients)
        for patients, evidence in measured.items()
        if evidence is not None and not evidence.better_than_chance
    ]
    if validation is None and test is None:
        found.append(
            "It is not known whether this model ranks better than chance: it carries no figures. "
            "jobs/score.py measures a registered version."
        )
    trained_on, fewest = validation.trained_on if validation else None, FEWEST_READMITTED["train"]
    if trained_on is not None and trained_on < fewest:
        found.append(
            f"It was trained on {trained_on:,} readmitted admissions; fewer than {fewest} are too "
            "few to learn from."
        )
    return found


def _not_shown(evidence: Evidence, patients: str) -> str:
    counts = f"{evidence.n:,} admissions, {evidence.readmitted:,} of them readmitted"
    if evidence.auroc is None:
        return f"On the {patients} patients nobody can say how well this model ranks: {counts}."
    if evidence.low is None or evidence.high is None:
        return (
            f"On the {patients} patients it is not shown that this model ranks better than chance: "
            f"AUROC {number(evidence.auroc)}, and too few patients for an interval ({counts})."
        )
    interval = f"{number(evidence.low)} to {number(evidence.high)}"
    return (
        f"On the {patients} patients it is not shown that this model ranks better than chance: "
        f"AUROC {number(evidence.auroc)}, 95\N{NARROW NO-BREAK SPACE}% interval {interval}; "
        f"chance is 0.5 ({counts})."
    )
