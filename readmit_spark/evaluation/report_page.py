"""The run as one self-contained HTML page, for somebody who has never seen the project.

The page holds counts, metrics and pictures of whole groups: no note text and nothing of a single
patient is an input of it. It loads nothing from the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from readmit_spark.pages.html import environment, window_words

MEASURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "average_precision": "Average precision",
    "rp80": "RP80",
    "brier": "Brier score",
}


@dataclass(frozen=True)
class FlowStep:
    """``count`` admissions that reach a step, and who leaves after it, by reason."""

    label: str
    count: int
    left_out: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class TokenLoss:
    """What the model could not read because a chunk was longer than it takes."""

    chunks: int
    chunks_cut: int
    tokens: int  # before the cut
    tokens_cut: int


@dataclass(frozen=True)
class Pictures:
    """PNG bytes, as ``readmit_spark.evaluation.pictures`` draws them."""

    roc: bytes
    precision_recall: bytes
    distribution: bytes
    calibration: bytes


@dataclass(frozen=True)
class WindowResult:
    """One window's results.

    ``natural`` and ``balanced`` are what ``core.metrics.evaluate`` returns. ``chunk`` holds
    ``accuracy`` and ``loss`` over chunks, or is None. ``flow`` goes on where the report's ends.
    """

    name: str  # as in the configuration: 2days, 3days, discharge
    natural: Mapping[str, Any]
    balanced: Mapping[str, Any]
    flow: Sequence[FlowStep]
    tokens: TokenLoss
    pictures: Pictures
    chunk: Mapping[str, float] | None = None
    attainable_auroc: float | None = None  # known only of generated cohorts

    @property
    def words(self) -> str:
        """The name in words."""
        return window_words(self.name)


@dataclass(frozen=True)
class Report:
    """Everything on the page. ``flow`` is what all windows share, from the first row read."""

    title: str
    split: str  # which admissions were measured: test, validation, train or all
    windows: Sequence[WindowResult]
    flow: Sequence[FlowStep]
    bad_rows: Mapping[str, int]  # reason -> rows of the input tables
    facts: Mapping[str, str]  # versions, configuration, model: name -> value
    seconds: Mapping[str, float]  # step -> wall clock
    horizon_days: float = 30
    measures: Mapping[str, str] = field(default_factory=lambda: MEASURES, init=False)

    def __post_init__(self) -> None:
        for window in self.windows:
            _check_adds_up([*self.flow, *window.flow], window.name)


def render(report: Report) -> str:
    """The page. All text is escaped; a measure without a value shows its reason."""
    pages = environment()
    pages.globals["ward_precision"] = ward_precision
    return pages.get_template("evaluation/report.html.j2").render(report=report)


def ward_precision(natural: Mapping[str, Any], balanced: Mapping[str, Any]) -> float | None:
    """What precision 0.80 in the balanced sample comes to at natural prevalence, by Bayes' rule.

    The odds of a flagged patient's readmission scale with the odds of readmission in the group; who
    is flagged stays the same. None where either prevalence is not between 0 and 1 or no threshold
    reaches 0.80 in the balanced sample.

    >>> round(ward_precision({"prevalence": {"value": 0.06}},
    ...                      {"prevalence": {"value": 0.5}, "rp80": {"value": 0.4}}), 3)
    0.203
    """
    here, there = natural["prevalence"]["value"], balanced["prevalence"]["value"]
    if not (here and there and balanced["rp80"]["value"] and here < 1 and there < 1):
        return None
    odds = 0.8 / 0.2 * (here / (1 - here)) / (there / (1 - there))
    return float(odds / (1 + odds))


def _check_adds_up(flow: Iterable[FlowStep], window: str) -> None:
    for step, following in pairwise(flow):
        left = step.count - sum(n for _, n in step.left_out)
        if left != following.count:
            raise ValueError(
                f"{window}: of {step.count} at '{step.label}' {left} remain, "
                f"but '{following.label}' has {following.count}"
            )
