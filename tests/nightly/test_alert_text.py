"""The sentences on the worklist about its alerts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from readmit_spark.nightly.alert_text import alert_words, in_round_numbers
from readmit_spark.nightly.worklist_types import Effect
from tests.nights import MEASURED, alert


def text(**changed: Any) -> str:
    has_risks = changed.pop("has_risks", False)
    sentences = " ".join(alert_words(alert(**changed), 300, 30.0, has_risks))
    return sentences.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_all_sentences() -> None:
    assert text(tonight=14) == (
        "Alerted: every patient with a score of at least 0.600. In validation, at least 20 % of "
        "the alerted were surely readmitted: the lower bound of the precision reached it with 30 "
        "alerts or more. Tonight that is 14 of 300 patients. Expect about 15 alerts "
        "a night. Readmitted within 30 days after discharge, in validation: About 2 of 10 alerted "
        "patients (22 %; 95 % interval 18 % to 27 %), and 6.5 % of all 4,312 admissions."
    )


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"rule": "capacity", "value": 20.0, "threshold": 0.512},
            "Alerted: the 20 patients with the highest scores (tonight 0.512 or more).",
        ),
        (
            {"rule": "capacity", "value": 1.0, "threshold": None},
            "Alerted: the patient with the highest score.",
        ),
        (
            {"rule": "threshold", "value": 0.75, "threshold": 0.75},
            "Alerted: every patient with a score of at least 0.750.",
        ),
        (
            {"rule": "precision", "value": 0.8, "threshold": None},
            "Alerted: nobody. In validation there was no threshold at which at least 80 % of the "
            "alerted were surely readmitted.",
        ),
        (
            {"rule": "capacity", "value": 20.0, "threshold": 0.3, "has_risks": True},
            "Alerted: the 20 patients with the highest risks (tonight 0.300 or more).",
        ),
        (
            {
                "value": 0.8,
                "has_risks": True,
                "effects": [
                    Effect("1 night", None, None),
                    Effect("2 nights or more", 0.6, MEASURED),
                ],
            },
            "Alerted after 1 night in the house: nobody. In validation there was no threshold at "
            "which at least 80 % of the alerted were surely readmitted. Alerted after 2 nights or "
            "more in the house: every patient with a risk of at least 0.600. In validation, at "
            "least 80 % of the alerted were surely readmitted: the lower bound of the precision "
            "reached it with 30 alerts or more.",
        ),
    ],
)
def test_rules(changed: dict[str, Any], sentence: str) -> None:
    assert text(**changed).startswith(sentence + " Tonight")


def test_an_unknown_rule_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no alert rule 'top_decile'"):
        text(rule="top_decile")


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (None, "The expected number of alerts a night is not known."),
        (0.2, "Expect less than one alert a night."),
        (1.2, "Expect about 1 alert a night."),
        (1234.4, "Expect about 1,234 alerts a night."),
    ],
)
def test_expected_alerts(expected: float | None, sentence: str) -> None:
    assert sentence in text(expected_a_night=expected)


def test_unknown_figures_are_named_with_the_reason() -> None:
    unknown = text(
        effects=[Effect("", 0.6, None)], expected_a_night=None, note="the model has no validation"
    )
    assert unknown.endswith(
        "The expected number of alerts a night is not known. The share of alerted patients who are "
        "readmitted is not known. The model has no validation."
    )
    assert "in validation" not in unknown


def test_what_makes_no_sense_in_a_small_house_is_not_said() -> None:
    alerted = alert(
        rule="capacity", value=20.0, tonight=5, expected_a_night=5,
        effects=[Effect("", 0.6, replace(MEASURED, n=8, precision=1.0))],
    )  # fmt: skip
    sentences = " ".join(alert_words(alerted, 5, 30.0, True))
    assert sentences == (
        "Alerted: everybody on the list, because it has no more than 20. Tonight that is 5 of 5 "
        "patients. Readmitted within 30 days after discharge, in validation: Too few to say (8 "
        "admissions)."
    )
    sure = text(effects=[Effect("", 0.6, replace(MEASURED, precision=1.0, low=0.9, high=1.0))])
    assert "All of the alerted patients (" in sure


def test_the_last_day_of_alerts_is_said() -> None:
    assert "Only in the first 7 days of a stay: later notes are not read" in text(days=7)
    assert "first" not in text()


def test_a_precision_of_few_alerts_is_no_promise() -> None:
    few = replace(MEASURED, share_alerted=41 / 4312, recall=0.22 * (41 / 4312) / 0.065)
    one = text(effects=[Effect("", 0.6, few)])
    assert one.endswith("As few as 41 alerts tell this: it may be wrong by more than 5 points.")
    assert "wrong" not in text()


def test_each_number_of_nights_has_its_own_figures() -> None:
    other = replace(MEASURED, precision=0.5, recall=0.5 * (308 / 4312) / 0.065)
    both = text(effects=[Effect("1 night", 0.6, MEASURED), Effect("2 nights or more", 0.6, other)])
    assert "After 1 night in the house, about 2 of 10 alerted patients (22 %; 95 %" in both
    assert "After 2 nights or more in the house, about 5 of 10 alerted patients (50 %;" in both


@pytest.mark.parametrize(
    ("share", "numbers"),
    [
        *((0.0, (0, 10)), (0.004, (4, 1000)), (0.065, (6, 100)), (0.22, (2, 10))),
        *((0.25, (25, 100)), (0.8, (8, 10)), (0.97, (97, 100)), (1.0, (10, 10))),
        (0.9999, (1000, 1000)),
    ],
)
def test_round_numbers(share: float, numbers: tuple[int, int]) -> None:
    assert in_round_numbers(share) == numbers
