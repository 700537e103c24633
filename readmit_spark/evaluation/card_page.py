"""The model card: what a registered version is for, how well it does and for whom, and its limits.

After Mitchell et al., "Model Cards for Model Reporting", 2019 (arXiv 1810.03993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from readmit_spark.evaluation.metrics import Bin
from readmit_spark.evaluation.report_page import FlowStep
from readmit_spark.evaluation.subgroups import Group
from readmit_spark.pages.html import environment, window_words


@dataclass(frozen=True)
class CardWindow:
    """One window's figures. natural, balanced: what `core.metrics.evaluate` returns."""

    name: str
    natural: Mapping[str, Any]
    balanced: Mapping[str, Any]
    groups: Sequence[Group]
    calibration: Sequence[Bin]
    picture: bytes  # of the calibration

    @property
    def words(self) -> str:
        return window_words(self.name)

    @property
    def factors(self) -> list[tuple[str, list[Group]]]:
        return [(f, list(g)) for f, g in groupby(self.groups, key=lambda group: group.factor)]


@dataclass(frozen=True)
class Card:
    """split: on whom it was measured. chosen_on: whether settings were chosen on the same. unseen:
    False where nobody knows whether it was trained on them."""

    model: str
    split: str
    chosen_on: bool
    unseen: bool
    horizon_days: float
    flow: Sequence[FlowStep]
    windows: Sequence[CardWindow]
    facts: Mapping[str, str]


MEASURES = {"auroc": "AUROC", "auprc": "AUPRC", "rp80": "RP80", "brier": "Brier score"}


def card_page(card: Card) -> str:
    """As HTML; figures of groups only, small ones suppressed."""
    made = environment()
    return made.get_template("evaluation/card.html.j2").render(card=card, measures=MEASURES)


def card_summary(card: Card) -> str:
    """As a few lines of Markdown, for the registry's description of the version."""
    lines = [
        f"Readmission within {card.horizon_days:g} days from clinical notes; it ranks patients for "
        "a clinician's attention and decides nothing.",
        "",
        f"Measured on the {card.split} patients:",
        "",
        "| notes read | admissions | AUROC | AUPRC | RP80 |",
        "|---|---|---|---|---|",
    ]
    for window in card.windows:
        cells = (_interval(window.natural[m]) for m in ("auroc", "auprc", "rp80"))
        lines.append(f"| {window.words} | {window.natural['n']:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "The whole card is the run's artifact `model_card.html`."])


def _interval(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return "-"
    if measure["low"] is None:
        return f"{measure['value']:.3f}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"
