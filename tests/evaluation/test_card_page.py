from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.calibration import calibration
from readmit_spark.evaluation.card_page import Card, CardWindow, card_page, card_summary
from readmit_spark.evaluation.decision_curve import decision_curve
from readmit_spark.evaluation.decision_page import decision_picture, decision_rows
from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.report_page import FlowStep
from readmit_spark.evaluation.subgroups import by_subgroup
from tests.evaluation.conftest import scored


def window(n: int = 400) -> CardWindow:
    scores, labels, patients = scored(n)
    sexes = np.where(np.arange(n) % 3 == 0, "female", "male")
    insurances = np.array(["medicare", "private"])[np.arange(n) % 2]
    insurances[:3] = "self pay"
    table = pd.DataFrame({
        "hadm_id": range(n), "subject_id": patients, "score": scores, "label": labels,
        "sex": sexes, "insurance": insurances,
    })  # fmt: skip
    curve = decision_curve(scores, labels, patients, capacity_share=0.1)
    return CardWindow(
        name="2days",
        natural=evaluate(scores, labels, patients, replicates=20),
        balanced=evaluate(scores, labels, patients, replicates=20, balanced=True),
        groups=by_subgroup({"2days": table}, ["sex", "insurance"])["2days"],
        calibration=calibration(scores, labels),
        picture=pictures.calibration(scores, labels, title="Calibration"),
        decision=decision_rows(curve),
        decision_picture=decision_picture({"the score": curve}, title="Net benefit"),
    )


@pytest.fixture(scope="module")
def card() -> Card:
    return Card(
        listed="score",
        model="readmission/<3>",
        split="validation",
        chosen_on=True,
        unseen=True,
        horizon_days=30,
        flow=[FlowStep("admissions in the table", 500, [("died_in_hospital", 100)])],
        windows=[window()],
        facts={"vote": "c = 2"},
    )


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_shows_subgroups_and_measures(card: Card) -> None:
    page = card_page(card)
    text = text_of(page)
    auroc = card.windows[0].natural["auroc"]
    assert f"{auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f}" in text
    female = next(g for g in card.windows[0].groups if g.name == "female")
    assert f"female {female.n} {female.readmitted}" in text
    for words in ("Intended use", "Not for", "Limits", "100 died in hospital", "c = 2",
                  "were chosen on these same patients"):  # fmt: skip
        assert words in text
    assert "validation patients. The model was not trained on them." in text
    row = card.windows[0].decision[2]
    assert f"20 % {row.model} {row.capacity} " in text
    assert "readmission/&lt;3&gt;" in page
    assert "data:image/png;base64," in page and "://" not in page


def test_a_model_from_elsewhere_may_have_been_trained_on_the_measured_patients(card: Card) -> None:
    text = text_of(card_page(replace(card, unseen=False)))
    assert "The model comes from elsewhere and may have been trained on them." in text
    assert "was not trained on them" not in text


def test_training_patients_are_named_as_such(card: Card) -> None:
    text = text_of(card_page(replace(card, split="train")))
    assert "measured on the train patients: the model was trained on them." in text


def test_small_groups_are_hidden_with_one_more(card: Card) -> None:
    text = text_of(card_page(card))
    (hidden,) = re.findall(r"hidden, too few: (\w+(?: \w+)?), (\w+(?: \w+)?)", text)
    assert "self pay" in hidden  # it alone could be computed


def test_the_summary_fits_a_registry(card: Card) -> None:
    summary = card_summary(card)
    n = card.windows[0].natural["n"]
    assert f"| First 2 days | {n} | {card.windows[0].natural['auroc']['value']:.3f} (" in summary
    assert "validation patients" in summary and len(summary) < 1500
    assert "unplanned readmission" in summary
    all_cause = replace(card, all_cause=True)
    assert "all-cause readmission" in card_summary(all_cause)
    assert "an all-cause readmission" in card_page(all_cause)
