"""Explain the alert rule in sentences for the ward."""

from __future__ import annotations

from readmit_spark.nightly.worklist_types import Alert
from readmit_spark.pages.html import number, percent


def alert_words(alert: Alert, n_patients: int, horizon_days: float) -> list[str]:
    """Return sentences on the rule, tonight's alerts, the expected alerts and their precision.

    The precision is given with the prevalence at which it was measured. Unknown figures are named
    as unknown.
    """
    sentences = [_rule(alert), f"Tonight that is {alert.tonight:,} of {n_patients:,} patients."]
    if alert.expected_a_night is None:
        sentences.append("The expected number of alerts a night is not known.")
    else:
        sentences.append(f"Expect {_about(alert.expected_a_night)} a night.")
    sentences.append(_precision(alert, horizon_days))
    if alert.note:
        sentences.append(_sentence(alert.note))
    return sentences


def _rule(alert: Alert) -> str:
    if alert.rule == "capacity":
        k = round(alert.value)
        rule = (
            "the patient with the highest score"
            if k == 1
            else f"the {k:,} patients with the highest scores"
        )
        lowest = "" if alert.threshold is None else f" (tonight {number(alert.threshold)} or more)"
        return f"Alerted: {rule}{lowest}."
    if alert.rule == "threshold":
        return f"Alerted: every patient with a score of at least {number(alert.value)}."
    if alert.rule != "precision":
        raise ValueError(f"there is no alert rule {alert.rule!r}")
    target = f"at least {percent(alert.value, 0)} of the alerted were readmitted"
    if alert.threshold is None:
        return f"Alerted: nobody. In validation there was no threshold at which {target}."
    at = number(alert.threshold)
    return f"Alerted: every patient with a score of at least {at}. In validation, {target}."


def _about(expected: float) -> str:
    if expected < 0.5:
        return "less than one alert"
    n = round(expected)
    return f"about {n:,} {'alert' if n == 1 else 'alerts'}"


def _precision(alert: Alert, horizon_days: float) -> str:
    if alert.precision is None:
        return "The share of alerted patients who are readmitted is not known."
    sample = f"{alert.n_validation:,} validation admissions"
    if alert.prevalence is not None:
        sample += f", {percent(alert.prevalence)} of them readmitted"
    some, of = in_round_numbers(alert.precision)
    spread = ""
    if alert.precision_low is not None and alert.precision_high is not None:
        low, high = percent(alert.precision_low, 0), percent(alert.precision_high, 0)
        spread = f"; 95\N{NARROW NO-BREAK SPACE}% interval {low} to {high}"
    return (
        f"Measured on {sample}: about {some} of {of} alerted patients were readmitted within "
        f"{horizon_days:g} days after discharge ({percent(alert.precision, 0)}{spread}); "
        f"the other {of - some} were not."
    )


def in_round_numbers(share: float) -> tuple[int, int]:
    """Round a share to (some, of), where `of` is 10, 100 or 1,000.

    The smallest `of` is used that changes the share by at most a tenth and does not round it to 1.

    >>> in_round_numbers(0.22), in_round_numbers(0.065), in_round_numbers(1.0)
    ((2, 10), (6, 100), (10, 10))
    """
    for of in (10, 100):
        some = round(share * of)
        if abs(some - share * of) <= 0.1 * share * of and (some < of or share == 1):
            return some, of
    return round(share * 1000), 1000


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
