"""Explain the alert rule in sentences for the ward."""

from __future__ import annotations

from collections.abc import Sequence

from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.nightly.worklist_types import Alert, Effect
from readmit_spark.pages.html import is_few, number, percent


def alert_words(alert: Alert, n_patients: int, horizon_days: float, has_risks: bool) -> list[str]:
    """Return sentences on the rule, tonight's alerts, the expected alerts and their precision.

    The precision is given with the prevalence at which it was measured. Unknown figures are named
    as unknown. has_risks: whether the list shows risks instead of scores.
    """
    sentences = [
        *_rule(alert, n_patients, "risk" if has_risks else "score"),
        *_until(alert),
        f"Tonight that is {alert.tonight:,} of {n_patients:,} patients.",
    ]
    if not _alerts_everybody(alert, n_patients):  # else it depends on the house alone
        sentences.append(_expected(alert.expected_a_night))
    sentences += _measured(alert.effects, horizon_days)
    if alert.note:
        sentences.append(_sentence(alert.note))
    return sentences


def _until(alert: Alert) -> list[str]:
    if alert.days is None:
        return []
    return [
        f"Only in the first {alert.days:,} days of a stay: later notes are not read, so older "
        "stays would be alerted every night."
    ]


def _alerts_everybody(alert: Alert, n_patients: int) -> bool:
    """Return whether the capacity is that of the whole list, or more."""
    return alert.rule == "capacity" and alert.tonight == n_patients <= alert.value


def _rule(alert: Alert, n_patients: int, listed: str) -> list[str]:
    """Return sentences on who is alerted. listed: risk or score."""
    if _alerts_everybody(alert, n_patients):
        return [f"Alerted: everybody on the list, because it has no more than {alert.value:g}."]
    if alert.rule == "capacity":
        k = round(alert.value)
        rule = (
            f"the patient with the highest {listed}"
            if k == 1
            else f"the {k:,} patients with the highest {listed}s"
        )
        lowest = "" if alert.threshold is None else f" (tonight {number(alert.threshold)} or more)"
        return [f"Alerted: {rule}{lowest}."]
    if alert.rule == "threshold":
        return [f"Alerted: every patient with a {listed} of at least {number(alert.value)}."]
    if alert.rule != "precision":
        raise ValueError(f"there is no alert rule {alert.rule!r}")
    target = f"at least {percent(alert.value, 0)} of the alerted were surely readmitted"
    sentences = [_alerted_on(effect, listed, target) for effect in alert.effects]
    if any(effect.threshold is not None for effect in alert.effects):
        sentences.append(
            f"In validation, {target}: the lower bound of the precision reached it with 30 alerts "
            "or more."
        )
    return sentences


def _alerted_on(effect: Effect, listed: str, target: str) -> str:
    """Return who is alerted after so many nights, with the rule `precision`."""
    after = f" after {effect.nights} in the house" if effect.nights else ""
    if effect.threshold is None:
        return f"Alerted{after}: nobody. In validation there was no threshold at which {target}."
    at = number(effect.threshold)
    return f"Alerted{after}: every patient with a {listed} of at least {at}."


def _expected(alerts_a_night: float | None) -> str:
    if alerts_a_night is None:
        return "The expected number of alerts a night is not known."
    if alerts_a_night < 0.5:
        return "Expect less than one alert a night."
    n = round(alerts_a_night)
    return f"Expect about {n:,} {'alert' if n == 1 else 'alerts'} a night."


def _measured(effects: Sequence[Effect], horizon_days: float) -> list[str]:
    """Return sentences on the share of alerted patients who are readmitted."""
    known = [(effect.nights, effect.measured) for effect in effects if effect.measured]
    if not known:
        return ["The share of alerted patients who are readmitted is not known."]
    unsure = [m.alerts for _, m in known if not m.promised and not is_few(m.n)]
    return [
        f"Readmitted within {horizon_days:g} days after discharge, in validation:",
        *(_precision(nights, measured) for nights, measured in known),
        *(
            [f"As few as {min(unsure):,} alerts tell this: it may be wrong by more than 5 points."]
            if unsure
            else []
        ),
    ]


def _precision(nights: str, measured: Threshold) -> str:
    after = f"after {nights} in the house, " if nights else ""
    if is_few(measured.n):
        return _sentence(f"{after}too few to say ({measured.n:,} admissions)")
    low, high = percent(measured.low, 0), percent(measured.high, 0)
    return _sentence(
        f"{after}{_of_alerted(measured)} ({percent(measured.precision, 0)}; "
        f"95\N{NARROW NO-BREAK SPACE}% interval {low} to {high}), "
        f"and {percent(measured.prevalence)} of all {measured.n:,} admissions"
    )


def _of_alerted(measured: Threshold) -> str:
    some, of = in_round_numbers(measured.precision)
    if some in (0, of):
        return f"{'all' if some else 'none'} of the alerted patients"
    return f"about {some} of {of} alerted patients"


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
