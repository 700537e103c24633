"""One night's list of the patients in the house, as plain values: what its page and CSV show.

Scores, probabilities, shares and precisions run from 0 to 1. Times are the hospital's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Change = Literal["new", "risen", "fallen", "same"]


@dataclass(frozen=True)
class Passage:
    """Where to read on: ``TEXT[start:end]`` of the note as it is in the record."""

    row_id: int
    category: str
    start: int
    end: int
    text: str | None = None  # only where `nightly.include_text` asks for it


@dataclass(frozen=True)
class Driver:
    """A chunk of a patient's notes, and how much of the score it explains.

    ``share`` is the chunk's exact part in the vote: the shares of all chunks add up to 1.
    """

    chunk_index: int
    probability: float
    share: float
    passages: Sequence[Passage]


@dataclass(frozen=True)
class NewNote:
    """A note that last night's score had not read."""

    row_id: int
    category: str
    written: datetime | None


@dataclass(frozen=True)
class Patient:
    """One scored admission. ``history``: (night, score), oldest first, tonight last. ``drivers``:
    the largest share first. ``previous_score``: last night's, None where there was none.
    ``new_notes``: none of who is new, as all are."""

    rank: int  # 1 is the highest score
    subject_id: int
    hadm_id: int
    day_of_stay: int  # 1 is the day of admission
    n_notes: int
    n_chunks: int
    score: float
    previous_score: float | None
    change: Change
    alert: bool
    history: Sequence[tuple[datetime, float]]
    drivers: Sequence[Driver]
    new_notes: Sequence[NewNote]


@dataclass(frozen=True)
class Left:
    """In last night's list and not in this one."""

    subject_id: int
    hadm_id: int
    score: float  # last night's
    reason: str  # 'discharged', 'died', 'no longer in the data'


@dataclass(frozen=True)
class Alert:
    """Who is alerted, and what came of such alerts on validation admissions.

    ``value`` is what the rule asks for: how many, a score, or a precision. Scores >= ``threshold``
    are alerted (capacity: the lowest alerted tonight); None where nobody is. ``prevalence`` is the
    share readmitted of the ``n_validation``. What is None is not known, and ``note`` says why.
    """

    rule: Literal["capacity", "threshold", "precision"]
    value: float
    threshold: float | None
    tonight: int
    expected_a_night: float | None
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    prevalence: float | None
    n_validation: int
    note: str


@dataclass(frozen=True)
class Night:
    """Everything on the page.

    ``unscored``: reason -> admissions in the house without a score. ``outcomes``: of admissions of
    earlier lists, where known by now: ``n``, ``readmitted``, ``from`` and ``to`` (ISO days),
    ``auroc`` {value, low, high} and ``alert_precision`` {value, low, high, n}; where a value is
    None, ``reason`` may say why. ValueError where the alerts do not add up.
    """

    as_of: datetime
    previous: datetime | None  # the night that this one is compared with
    window: str  # as in the configuration: 3days
    model: str
    patients: Sequence[Patient]  # by rank
    left: Sequence[Left]
    unscored: Mapping[str, int]
    alert: Alert
    outcomes: Mapping[str, Any] | None
    facts: Mapping[str, str]  # versions, configuration: name -> value
    seconds: Mapping[str, float]  # step -> wall clock
    horizon_days: float = 30  # sooner than this is a readmission

    def __post_init__(self) -> None:
        marked = sum(patient.alert for patient in self.patients)
        if marked != self.alert.tonight:
            raise ValueError(f"{marked} patients are marked, but {self.alert.tonight} are alerted")
