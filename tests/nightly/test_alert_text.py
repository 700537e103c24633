"""The sentences on the worklist about its alerts."""

from __future__ import annotations

from typing import Any

import pytest

from readmit_spark.nightly.alert_text import alert_words, in_round_numbers
from tests.nights import alert


def text(**changed: Any) -> str:
    sentences = " ".join(alert_words(alert(**changed), n_patients=300, horizon_days=30.0))
    return sentences.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_all_sentences() -> None:
    assert text(tonight=14) == (
        "Alerted: every patient with a score of at least 0.600. In validation, at least 20 % of "
        "the alerted were readmitted. Tonight that is 14 of 300 patients. Expect about 15 alerts "
        "a night. Measured on 4,312 validation admissions, 6.5 % of them readmitted: about 2 of 10 "
        "alerted patients were readmitted within 30 days after discharge (22 %; 95 % interval 18 % "
        "to 27 %); the other 8 were not."
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
            "alerted were readmitted.",
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
    unknown = text(precision=None, expected_a_night=None, note="the model has no validation")
    assert unknown.endswith(
        "The expected number of alerts a night is not known. The share of alerted patients who are "
        "readmitted is not known. The model has no validation."
    )
    assert "readmitted within" not in unknown


def test_precision_without_interval_or_prevalence() -> None:
    bare = text(precision_low=None, precision_high=None, prevalence=None)
    assert "Measured on 4,312 validation admissions: about 2 of 10 alerted patients" in bare
    assert "after discharge (22 %); the other 8" in bare


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
