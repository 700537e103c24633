"""The content of a night's worklist, as shown on its page and in its CSV.

Scores, probabilities, shares and precisions are from 0 to 1. Times are local hospital time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.nightly.alerts import Rule

Id = int | str  # text only with data.ids=text
Change = Literal["new", "risen", "fallen", "same"]


@dataclass(frozen=True)
class Passage:
    """The characters ``TEXT[start:end]`` of the note ``row_id`` in NOTEEVENTS."""

    row_id: Id | None
    category: str
    start: int
    end: int
    text: str | None = None  # only with `nightly.include_text`


@dataclass(frozen=True)
class Driver:
    """A chunk of a patient's notes and its contribution to the score.

    share: the chunk's exact contribution to the vote; the shares of all chunks sum to 1.
    """

    chunk_index: int
    probability: float
    share: float
    passages: Sequence[Passage]


@dataclass(frozen=True)
class NewNote:
    """A note that last night's score did not include."""

    row_id: Id | None
    category: str
    written: datetime | None  # None: unknown


@dataclass(frozen=True)
class Patient:
    """A scored admission on the worklist.

    history: (night, value), oldest first, tonight last. drivers: largest share first.
    previous_score: last night's score, None if there was none. new_notes: empty for an admission
    that is new on the list, because all its notes are new. columns: those of `nightly.columns` that
    have a value, by name.
    """

    rank: int  # 1 is the highest value
    subject_id: Id
    hadm_id: Id
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
    risk: float | None = None  # None where the list has no risks
    previous_risk: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def value(self) -> float:
        """What the list shows and ranks by: the risk, or the score where there are no risks."""
        return self.score if self.risk is None else self.risk

    @property
    def previous_value(self) -> float | None:
        """Last night's value."""
        return self.previous_score if self.risk is None else self.previous_risk


@dataclass(frozen=True)
class Left:
    """An admission that was on last night's list and is not on this one."""

    subject_id: Id
    hadm_id: Id
    value: float  # last night's risk, or score
    reason: str  # 'discharged', 'died', 'no longer in the data'


@dataclass(frozen=True)
class Effect:
    """What alerts did on the validation admissions that spent so many nights in the house.

    nights: the number of nights in words; empty for any. threshold: risks (or scores) at or above
    it are alerted; None: nobody is. measured: alerts at about this threshold on validation; None:
    not measured.
    """

    nights: str
    threshold: float | None
    measured: Threshold | None


@dataclass(frozen=True)
class Alert:
    """The alert rule, tonight's alerts, and the effect of such alerts on validation admissions.

    value: the rule's setting: a number of patients, a risk or score, or a precision. threshold:
    risks (or scores) at or above it are alerted (with `capacity`, the lowest one alerted tonight);
    None if nobody is alerted or each day has its own. tonight: the number of alerts. effects: one
    for each number of nights in the house that has figures of its own. note: why figures are
    missing or differ. days: the last day of a stay on which it can be alerted; None: any.
    """

    rule: Rule
    value: float
    threshold: float | None
    tonight: int
    expected_a_night: float | None
    effects: Sequence[Effect]
    note: str
    days: int | None = None


@dataclass(frozen=True)
class Worklist:
    """Everything on the page.

    unscored: reason -> number of admissions in hospital without a score. uncertain: number of
    further admissions that may be in hospital. old_sources: the last admission and the last note,
    if they are more than a day before as_of: name -> its time. outcomes: figures of the
    admissions on earlier lists whose outcome is known: n, readmitted, from and to (ISO dates of
    discharge), auroc {value, low, high} and alert_precision {value, low, high, n}. If a value is
    None, "reason" may explain it. has_risks: whether the list shows risks; otherwise it shows
    scores, because the model has no risk curve for its window. doubts: about the model, see
    `evaluation.doubts`. columns: names of `nightly.columns`. Raises ValueError if the number of
    alerted patients is not alert.tonight.
    """

    as_of: datetime
    previous: datetime | None  # the night before, with which this one is compared
    window: str  # as in the configuration, for example 3days
    model: str
    patients: Sequence[Patient]  # by rank
    left: Sequence[Left]
    unscored: Mapping[str, int]
    alert: Alert
    outcomes: Mapping[str, Any] | None
    facts: Mapping[str, str]  # name -> value: versions, configuration
    seconds: Mapping[str, float]  # stage -> wall-clock seconds
    uncertain: int = 0
    old_sources: Mapping[str, str] = field(default_factory=dict)
    horizon_days: float = 30  # readmissions earlier than this count
    has_risks: bool = False
    doubts: Sequence[str] = ()
    columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        alerted = sum(patient.alert for patient in self.patients)
        if alerted != self.alert.tonight:
            raise ValueError(
                f"{alerted} patients have an alert, but alert.tonight is {self.alert.tonight}"
            )
