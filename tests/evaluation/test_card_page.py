from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.balance import balance
from readmit_spark.evaluation.card_page import Card, CardWindow, card_page, card_summary
from readmit_spark.evaluation.metrics import calibration, evaluate
from readmit_spark.evaluation.report_page import FlowStep
from readmit_spark.evaluation.subgroups import by_subgroup
from tests.evaluation.conftest import scored


def window(n: int = 400) -> CardWindow:
    scores, labels, patients = scored(n)
    sexes = np.where(np.arange(n) % 3 == 0, "female", "male")
    insurances = np.array(["medicare", "private"])[np.arange(n) % 2]
    insurances[:3] = "self pay"
    keep = balance(range(n), labels, seed=0)
    return CardWindow(
        name="2days",
        natural=evaluate(scores, labels, patients, replicates=20),
        balanced=evaluate(scores[keep], labels[keep], patients[keep], replicates=20),
        groups=by_subgroup(
            scores, labels, patients, {"sex": sexes, "insurance": insurances}, replicates=20
        ),
        calibration=calibration(scores, labels),
        picture=pictures.calibration(scores, labels, title="Calibration"),
    )


@pytest.fixture(scope="module")
def card() -> Card:
    return Card(
        model="readmission/<3>",
        split="validation",
        chosen_on=True,
        unseen=True,
        horizon_days=30,
        flow=[FlowStep("admissions in the table", 500, [("died_in_hospital", 100)])],
        windows=[window()],
        facts={"vote": "c = 2"},
    )


def cells(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_says_for_whom_and_how_well(card: Card) -> None:
    page = card_page(card)
    told = cells(page)
    auroc = card.windows[0].natural["auroc"]
    assert f"{auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f}" in told
    female = next(g for g in card.windows[0].groups if g.name == "female")
    assert f"female {female.n} {female.readmitted}" in told
    for words in ("Intended use", "Not for", "Limits", "100 died in hospital", "c = 2",
                  "were chosen on these same patients"):  # fmt: skip
        assert words in told
    assert "none of whom it was trained on" in told
    assert "readmission/&lt;3&gt;" in page
    assert "data:image/png;base64," in page and "://" not in page


def test_of_a_model_from_elsewhere_nobody_knows_whom_it_was_trained_on(card: Card) -> None:
    told = cells(card_page(replace(card, unseen=False)))
    assert "who may be among those it was trained on" in told
    assert "none of whom" not in told


def test_small_groups_are_hidden_with_one_more(card: Card) -> None:
    told = cells(card_page(card))
    assert "self pay hidden: too few" in told
    assert told.count("hidden: too few") == 2  # 'self pay' alone could be worked out


def test_the_summary_fits_a_registry(card: Card) -> None:
    told = card_summary(card)
    n = card.windows[0].natural["n"]
    assert f"| First 2 days | {n} | {card.windows[0].natural['auroc']['value']:.3f} (" in told
    assert "validation patients" in told and len(told) < 1500
