"""Render the results of a scoring run as one HTML page for readers who do not know the project.

The page shows counts, metrics and pictures of groups. It gets no note text and no data of single
patients. It loads nothing from the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from readmit_spark.evaluation.decision_page import DecisionRow
from readmit_spark.evaluation.intervals import is_too_few
from readmit_spark.evaluation.vote_parts import PARTS
from readmit_spark.pages.html import page_environment, window_title

MEASURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "average_precision": "Average precision",
    "rp80": "RP80",
    "brier": "Brier score",
}
CALIBRATION = {
    "observed_over_expected": "Observed / expected",
    "calibration_intercept": "Intercept",
    "calibration_slope": "Slope",
    "brier": "Brier score",
}


@dataclass(frozen=True)
class FlowStep:
    """A step of the cohort flow: the admissions that reach it and those left out after it.

    left_out: (reason, number of admissions).
    """

    label: str
    count: int
    left_out: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class TokenLoss:
    """How much the model could not read because chunks were longer than its limit."""

    chunks: int
    chunks_cut: int
    tokens: int  # before cutting
    tokens_cut: int


@dataclass(frozen=True)
class Pictures:
    """PNG bytes from ``readmit_spark.evaluation.pictures``."""

    roc: bytes
    precision_recall: bytes
    distribution: bytes
    calibration: bytes
    decision: bytes


@dataclass(frozen=True)
class WindowResult:
    """The results of one window.

    natural, balanced: results of ``evaluation.metrics.evaluate``. risk: how risks agree
    with outcomes; None if the model has no risks. alerts: result of
    ``evaluation.frozen_alerts``; None is not shown. chunk: ``accuracy`` and ``loss``
    over chunks, or None. flow: the steps after the last step of ``Report.flow``.
    """

    name: str  # as in the configuration, for example 2days, 3days or discharge
    natural: Mapping[str, Any]
    balanced: Mapping[str, Any]
    flow: Sequence[FlowStep]
    tokens: TokenLoss
    pictures: Pictures
    decision: Sequence[DecisionRow]
    by_month: Sequence[Mapping[str, Any]] = ()  # from `decay.by_month`, for a split by time
    risk: Mapping[str, Any] | None = None
    alerts: Mapping[str, Any] | None = None
    chunk: Mapping[str, float] | None = None
    vote: Mapping[str, Any] | None = None  # from `vote_parts`
    attainable_auroc: float | None = None  # only synthetic cohorts have one
    # As `natural`, where deaths after discharge are known: death within the horizon counts too.
    readmitted_or_dead: Mapping[str, Any] | None = None

    @property
    def words(self) -> str:
        """The window's name in words."""
        return window_title(self.name)


@dataclass(frozen=True)
class Report:
    """Everything on the page.

    flow: the steps that all windows share, from the admissions in the input table on. Raises
    ValueError if a step has another count than the step before minus the admissions left out.
    """

    title: str
    split: str  # which admissions were measured: test, validation, train or all
    windows: Sequence[WindowResult]
    flow: Sequence[FlowStep]
    bad_rows: Mapping[str, int]  # reason -> rows of the input tables
    facts: Mapping[str, str]  # name -> value: versions, configuration, model
    seconds: Mapping[str, float]  # stage -> wall-clock seconds
    horizon_days: float = 30
    all_cause: bool = False  # of many admissions nobody knows whether they were planned
    doubts: Sequence[str] = ()  # about the model, see `evaluation.doubts`
    measures: Mapping[str, str] = field(default_factory=lambda: MEASURES, init=False)

    def __post_init__(self) -> None:
        for window in self.windows:
            _check_adds_up([*self.flow, *window.flow], window.name)


def render(report: Report) -> str:
    """Render the page. All text is escaped; an undefined measure shows its reason."""
    pages = page_environment()
    pages.tests["too_few"] = is_too_few
    template = pages.get_template("evaluation/report.html.j2")
    return template.render(report=report, calibration=CALIBRATION, parts=PARTS)


def _check_adds_up(flow: Iterable[FlowStep], window: str) -> None:
    for step, following in pairwise(flow):
        remaining = step.count - sum(n for _, n in step.left_out)
        if remaining != following.count:
            raise ValueError(
                f"{window}: of {step.count} at '{step.label}' {remaining} remain, "
                f"but '{following.label}' has {following.count}"
            )
