"""Render the model card: a registered version's purpose, its figures by subgroup and its limits.

After Mitchell et al., "Model Cards for Model Reporting", 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from readmit_spark.evaluation.calibration import Bin
from readmit_spark.evaluation.decision_page import DecisionRow
from readmit_spark.evaluation.intervals import is_too_few
from readmit_spark.evaluation.report_page import CALIBRATION, FlowStep
from readmit_spark.evaluation.small_cells import shown_count
from readmit_spark.evaluation.subgroups import Group, by_factor
from readmit_spark.pages.html import page_environment, window_title


@dataclass(frozen=True)
class CardWindow:
    """The figures of one window. natural, balanced: results of `evaluation.metrics.evaluate`."""

    name: str
    natural: Mapping[str, Any]
    balanced: Mapping[str, Any]
    groups: Sequence[Group]
    calibration: Sequence[Bin]
    picture: bytes  # PNG of the calibration
    decision: Sequence[DecisionRow]
    decision_picture: bytes
    alerts: Mapping[str, Any] | None = None  # of `frozen_alerts`; None on validation

    @property
    def words(self) -> str:
        """The window's name in words."""
        return window_title(self.name)

    @property
    def factors(self) -> list[tuple[str, list[Group]]]:
        """The groups by factor: [(factor, groups)]."""
        return by_factor(self.groups)


@dataclass(frozen=True)
class Card:
    """Everything on the model card.

    listed: what the figures are of: risk, or score where the model has no risks.
    split: the split that was measured: train, validation or test. chosen_on: whether settings such
    as the epoch were chosen on that split. unseen: whether the model is known not to have been
    trained on it; False for a model from elsewhere. remarks: sentences on how the version was
    selected. doubts: see `evaluation.doubts`.
    """

    model: str
    listed: str
    split: str
    chosen_on: bool
    unseen: bool
    horizon_days: float
    flow: Sequence[FlowStep]
    windows: Sequence[CardWindow]
    facts: Mapping[str, str]
    remarks: Sequence[str] = ()
    doubts: Sequence[str] = ()
    all_cause: bool = False  # of many admissions nobody knows whether they were planned


MEASURES = {"auroc": "AUROC", "auprc": "AUPRC", "rp80": "RP80", "brier": "Brier score"}


def card_page(card: Card) -> str:
    """Render the card as HTML. It shows figures of groups only; small groups are hidden."""
    pages = page_environment()
    pages.tests["too_few"] = is_too_few
    pages.filters["count"] = shown_count
    template = pages.get_template("evaluation/card.html.j2")
    return template.render(card=card, measures=MEASURES, calibration=CALIBRATION)


def card_summary(card: Card) -> str:
    """Return the main figures as Markdown, for the description of the version in the registry."""
    kind = "all-cause" if card.all_cause else "unplanned"
    lines = [
        f"Predicts {kind} readmission within {card.horizon_days:g} days from clinical notes. It "
        "ranks patients for a clinician's attention. It decides nothing.",
        "",
        *(f"**{doubt}**\n" for doubt in card.doubts),
        f"Measured on the {card.split} patients:",
        "",
        "| notes read | admissions | AUROC | AUPRC | RP80 |",
        "|---|---|---|---|---|",
    ]
    for window in card.windows:
        cells = (_interval(window.natural[m]) for m in ("auroc", "auprc", "rp80"))
        lines.append(
            f"| {window.words} | {shown_count(window.natural['n'])} | {' | '.join(cells)} |"
        )
    return "\n".join([*lines, "", "The full card is the run's artifact `model_card.html`."])


def _interval(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return "-"
    if measure["low"] is None:
        return f"{measure['value']:.3f}{' (too few to say)' if is_too_few(measure) else ''}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"
