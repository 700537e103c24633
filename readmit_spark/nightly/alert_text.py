"""The alert rule in words that a ward can plan with, and that promise nothing unmeasured."""

from __future__ import annotations

from readmit_spark.nightly.worklist_types import Alert
from readmit_spark.pages.html import number, percent


def alert_words(alert: Alert, n_patients: int, horizon_days: float) -> list[str]:
    """Sentences, in order: the rule, tonight, what to expect a night, with what precision.

    Precision is told as measured, at the prevalence it was measured at; what is not known is said.
    """
    words = [_rule(alert), f"Tonight that is {alert.tonight:,} of {n_patients:,} patients."]
    if alert.expected_a_night is None:
        words.append("How many alerts to expect a night is not known.")
    else:
        words.append(f"Expect {_about(alert.expected_a_night)} a night.")
    words.append(_precision(alert, horizon_days))
    if alert.note:
        words.append(_sentence(alert.note))
    return words


def _rule(alert: Alert) -> str:
    if alert.rule == "capacity":
        k = round(alert.value)
        rule = "the patient with the highest score" if k == 1 else f"the {k:,} highest scores"
        lowest = "" if alert.threshold is None else f" (tonight down to {number(alert.threshold)})"
        return f"Alerted: {rule}{lowest}."
    if alert.rule == "threshold":
        return f"Alerted: every patient with a score of at least {number(alert.value)}."
    aim = f"at least {percent(alert.value, 0)} of the alerted were readmitted"
    if alert.threshold is None:
        return f"Alerted: nobody, as in validation no threshold was such that {aim}."
    at = number(alert.threshold)
    return f"Alerted: every patient with a score of at least {at}: in validation {aim}."


def _about(expected: float) -> str:
    if expected < 0.5:
        return "less than one alert"
    n = round(expected)
    return f"about {n:,} {'alert' if n == 1 else 'alerts'}"


def _precision(alert: Alert, horizon_days: float) -> str:
    if alert.precision is None:
        return "How many of the alerted come back is not known."
    among = f"Among {alert.n_validation:,} validation admissions"
    if alert.prevalence is not None:
        among += f", of which {percent(alert.prevalence)} were readmitted"
    found, of = in_round_numbers(alert.precision)
    spread = ""
    if alert.precision_low is not None and alert.precision_high is not None:
        low, high = percent(alert.precision_low, 0), percent(alert.precision_high, 0)
        spread = f"; 95\N{NARROW NO-BREAK SPACE}% interval {low} to {high}"
    return (
        f"{among}, about {found} of {of} alerted were readmitted within {horizon_days:g} days of "
        f"going home ({percent(alert.precision, 0)}{spread}); the other {of - found} were not."
    )


def in_round_numbers(share: float) -> tuple[int, int]:
    """``share`` as (some, of how many): of 10, or of 100 or 1,000 where 10 would round too much.

    >>> in_round_numbers(0.22), in_round_numbers(0.065), in_round_numbers(1.0)
    ((2, 10), (6, 100), (10, 10))
    """
    for of in (10, 100):
        found = round(share * of)
        if abs(found - share * of) <= 0.1 * share * of and (found < of or share == 1):
            return found, of
    return round(share * 1000), 1000


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
