"""Generate the patients of the demo hospital and their admissions.

The risk of an admission is a logistic model of its findings and the age. Whether an unplanned
admission follows within 30 days is one Bernoulli draw with that risk. The later admissions are
scheduled so that the label computed from the admissions equals that draw, for every labelled
admission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from readmit_spark.demo.findings import FINDINGS, true_risk

HORIZON = timedelta(days=30)
# An admission after this many earlier ones ends in death. Deaths have no label, so that limiting
# the number of admissions changes no label.
MAX_EARLIER_ADMISSIONS = 7


@dataclass(frozen=True)
class Person:
    """A patient: demographics in MIMIC-III's terms."""

    gender: str
    birth: datetime
    ethnicity: str
    insurance: str
    newborn: bool

    def age(self, time: datetime) -> float:
        """Return the age in years."""
        return (time - self.birth).days / 365.25


@dataclass(frozen=True)
class Admission:
    """One admission; out: None while the patient is in the hospital; risk: P(label = 1)."""

    admitted: datetime
    out: datetime | None
    died: bool
    kind: str
    source: str
    findings: dict[str, bool]
    risk: float | None  # None for a newborn, whose admission has no label
    returns: bool  # the draw with this risk, which decides the next admission


def make_person(rng: np.random.Generator, span_days: int) -> tuple[Person, datetime]:
    """Generate a patient and the time of the first admission.

    The time is within `span_days` from 2101-01-01; MIMIC-III's dates are also shifted to such
    years.
    """
    newborn = bool(rng.random() < 0.04)
    age = 0.0 if newborn else float(np.clip(rng.normal(62, 16), 18, 89))
    first = datetime(2101, 1, 1) + timedelta(minutes=int(rng.integers(0, span_days * 1440)))
    insurance = _pick(
        rng,
        {"Medicare": 0.85, "Private": 0.15}
        if age >= 65
        else {
            "Private": 0.55,
            "Medicaid": 0.25,
            "Medicare": 0.1,
            "Government": 0.05,
            "Self Pay": 0.05,
        },
    )
    ethnicity = _pick(
        rng,
        {
            "WHITE": 0.68,
            "BLACK/AFRICAN AMERICAN": 0.12,
            "HISPANIC OR LATINO": 0.07,
            "ASIAN": 0.05,
            "UNKNOWN/NOT SPECIFIED": 0.08,
        },
    )
    person = Person(
        gender=_pick(rng, {"M": 0.55, "F": 0.45}),
        birth=datetime(first.year, first.month, first.day)
        - timedelta(days=0 if newborn else int(age * 365.25)),
        ethnicity=ethnicity,
        insurance=insurance,
        newborn=newborn,
    )
    return person, first


def make_admissions(rng: np.random.Generator, person: Person, first: datetime) -> list[Admission]:
    """Generate all admissions of a patient in order.

    Label 1 is followed by an unplanned admission less than 30 days after discharge, or sometimes
    before it (a transfer that overlaps). Label 0 is followed by no admission, by an unplanned one
    after 30 days or more, or by an elective one at any time. `earliest_unplanned` keeps those 30
    days free of unplanned admissions also after an elective one.
    """
    admissions: list[Admission] = []
    admitted = first
    kind = (
        "NEWBORN"
        if person.newborn
        else _pick(rng, {"EMERGENCY": 0.75, "URGENT": 0.1, "ELECTIVE": 0.15})
    )
    earliest_unplanned = first
    while True:
        admission = _make_admission(
            rng, person, admitted, kind, last=len(admissions) >= MAX_EARLIER_ADMISSIONS
        )
        admissions.append(admission)
        if admission.died or admission.out is None or kind == "NEWBORN":
            return admissions
        if admission.returns:
            kind = _pick(rng, {"EMERGENCY": 0.9, "URGENT": 0.1})
            if (
                rng.random() < 0.03 and earliest_unplanned <= admission.admitted
            ):  # a transfer that overlaps
                admitted = admission.out - timedelta(minutes=int(rng.integers(1, 180)))
                continue
            earliest = max(admission.out + timedelta(hours=6), earliest_unplanned)
            span = int((admission.out + HORIZON - earliest) / timedelta(minutes=1))
            admitted = earliest + timedelta(minutes=int(span * rng.beta(1.0, 1.6)))
            continue
        draw = rng.random()
        if draw < 0.62:
            return admissions
        if draw < 0.77:
            kind = "ELECTIVE"
            admitted = admission.out + timedelta(minutes=int(rng.integers(5 * 1440, 90 * 1440)))
            earliest_unplanned = admission.out + HORIZON
        else:
            kind = _pick(rng, {"EMERGENCY": 0.9, "URGENT": 0.1})
            # Some return after exactly 30.0 days, which is label 0.
            wait = 0 if rng.random() < 0.03 else int(rng.exponential(150 * 1440))
            admitted = admission.out + HORIZON + timedelta(minutes=wait)


def _make_admission(
    rng: np.random.Generator, person: Person, admitted: datetime, kind: str, last: bool
) -> Admission:
    """Generate one admission with the draw of its label; only `returns` depends on the risk."""
    days = float(np.clip(rng.lognormal(math.log(5.5), 0.55), 0.5, 30.0))
    out: datetime | None = admitted + timedelta(minutes=int(days * 1440))
    died = bool(rng.random() < 0.04) or last
    in_house = bool(rng.random() < 0.03) and not died
    source = _pick(
        rng,
        {
            "EMERGENCY ROOM ADMIT": 0.6,
            "TRANSFER FROM HOSP/EXTRAM": 0.2,
            "CLINIC REFERRAL/PREMATURE": 0.2,
        },
    )
    findings = {name: bool(rng.random() < f.share) for name, f in FINDINGS.items()}
    risk = true_risk(findings, person.age(admitted))
    return Admission(
        admitted=admitted,
        out=None if in_house else out,
        died=died,
        kind=kind,
        source="PHYS REFERRAL/NORMAL DELI" if kind in ("ELECTIVE", "NEWBORN") else source,
        findings=findings,
        risk=None if kind == "NEWBORN" else risk,
        returns=bool(rng.random() < risk),
    )


def _pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return str(rng.choice(list(shares), p=list(shares.values())))
