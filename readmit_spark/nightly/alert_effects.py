"""What a ward can expect of tonight's alerts, from the model's validation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from readmit_spark.evaluation.thresholds import at_or_below
from readmit_spark.nightly.alerts import AlertRule
from readmit_spark.nightly.day_fits import DayFits
from readmit_spark.nightly.published_nights import Nights
from readmit_spark.nightly.worklist_types import Alert, Effect, Patient


def alert_of_night(
    fits: DayFits, rule: AlertRule, patients: Sequence[Patient], nights: Nights, as_of: datetime
) -> Alert:
    """Return the rule, tonight's alerts and what validation says about such alerts."""
    alerted = [patient for patient in patients if patient.alert]
    if rule.rule == "capacity":
        shared = min((patient.value for patient in alerted), default=None)
        thresholds: tuple[float | None, ...] = (shared,) * len(fits.days)
    else:
        thresholds = rule.thresholds
        shared = thresholds[0] if len(set(thresholds)) == 1 else None
    effects = _effects(fits, thresholds)
    return Alert(
        rule=rule.rule,
        value=rule.value,
        threshold=shared,
        tonight=len(alerted),
        expected_a_night=_expected(rule, fits, effects, patients, nights, as_of),
        effects=effects,
        note=_note(fits, effects),
        days=rule.days,
    )


def _effects(fits: DayFits, thresholds: Sequence[float | None]) -> list[Effect]:
    """Return one effect for each day with a fit of its own; one for all days if they share it."""
    effects = []
    for index, (fit, threshold) in enumerate(zip(fits.days, thresholds, strict=True)):
        measured = None if threshold is None else at_or_below(fit.points, threshold)
        last = index == len(fits.days) - 1
        nights = f"{index + 1} {'nights' if index else 'night'}{' or more' if last else ''}"
        effects.append(Effect(nights if fits.distinct else "", threshold, measured))
    return effects if fits.distinct else effects[-1:]


def _expected(
    rule: AlertRule,
    fits: DayFits,
    effects: Sequence[Effect],
    patients: Sequence[Patient],
    nights: Nights,
    as_of: datetime,
) -> float | None:
    """Return the alerts to expect a night: the capacity, else the mean of earlier nights, else what
    validation says for tonight's patients; None if nothing is known."""
    if rule.rule == "capacity":
        return min(rule.value, sum(rule.may_alert(patient.day_of_stay) for patient in patients))
    earlier = [night.counts["alerts"] for night in nights.used if night is not nights.own]
    if earlier:
        return sum(earlier) / len(earlier)
    if any(effect.threshold is not None and effect.measured is None for effect in effects):
        return None
    if all(effect.measured is None for effect in effects):
        return None
    shares = [effect.measured.share_alerted if effect.measured else 0.0 for effect in effects]
    days = [fits.at(p.day_of_stay, as_of) for p in patients if rule.may_alert(p.day_of_stay)]
    return sum(shares[day if fits.distinct else 0] for day in days)


def _note(fits: DayFits, effects: Sequence[Effect]) -> str:
    """Say why figures from validation are missing, or for which patients they were measured."""
    if not any(fit.points for fit in fits.days):
        return (
            "the model has no figures from validation for this window and c; fine-tune it with "
            "jobs/finetune.py"
        )
    if not fits.distinct and len(fits.days) > 1:
        return (
            f"the figures are those of complete documents of {fits.days[-1].window}; patients with "
            "fewer days in the house may differ"
        )
    if any(e.measured and e.measured.threshold > (e.threshold or 0) for e in effects):
        return "the figures are for alerts from the lowest measured threshold on, which is higher"
    return ""
