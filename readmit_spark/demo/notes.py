"""Generate the notes of an admission, each in the voice of its author.

Where the course of the illness stands is drawn at random: in one note of the first three days, and
in half of the stays again in a later note, copied forward. All other text is drawn without looking
at the findings, and both answers of a finding are equally long, so that the number and the length
of notes do not depend on the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

import numpy as np

from readmit_spark.demo.findings import describe, describe_course
from readmit_spark.demo.people import Admission, Person
from readmit_spark.demo.phrases import (
    COMPLAINTS,
    ECGS,
    EXAMS,
    FILMS,
    HISTORIES,
    LABS,
    NURSING,
    PLANS,
    THERAPY,
    mistype,
)

SUMMARY = "Discharge summary"  # category of the notes that no early window has
# Note that tells the course, with its share of the stays that have all of these notes.
_PLACES = {
    "admission": 0.4,
    "nursing 0": 0.25,
    "progress 1": 0.15,
    "nursing 1": 0.1,
    "progress 2": 0.1,
}


@dataclass(frozen=True)
class Note:
    """One row of NOTEEVENTS without its ids; linked: the note has a HADM_ID."""

    chartdate: date
    charttime: datetime | None
    storetime: datetime | None
    category: str
    description: str
    text: str
    cgid: int | None
    error: bool = False
    linked: bool = True
    tells: tuple[str, ...] = ()  # names of the findings in the text

    @property
    def available(self) -> datetime:
        """The time from which the note can be read."""
        end = datetime.combine(self.chartdate, time()) + timedelta(days=1)
        return self.storetime or self.charttime or end


def write_notes(rng: np.random.Generator, person: Person, admission: Admission) -> list[Note]:
    """Generate the notes of an admission in order of time, sometimes with an outpatient note."""
    if person.newborn:
        return _newborn_notes(rng, person, admission)
    if rng.random() < 0.006:  # too few words for a chunk
        return [_note(rng, admission, 0, "Nursing", "Pt admitted, see paper chart.")]
    notes: list[Note] = []
    if rng.random() < 0.25:
        notes.append(_outpatient(rng, admission))
    if rng.random() < 0.1:
        text = "ED triage: arrived from [**Hospital 12**]."
        notes.append(_note(rng, admission, -1, "Nursing/other", text))
    writer = _Writer(rng, person, admission)
    notes += writer.first_day()
    for day in range(1, min(writer.nights, 6) + 1):
        notes += writer.later_day(day)
    if rng.random() < 0.05:
        notes.append(_misfiled(rng, person, admission))
    if admission.out is not None:
        notes.append(writer.summary(admission.out))
    return notes


class _Writer:
    """The notes of one stay, and the lines that they share."""

    def __init__(self, rng: np.random.Generator, person: Person, admission: Admission) -> None:
        self.rng, self.person, self.admission = rng, person, admission
        out = admission.out or admission.admitted + timedelta(days=4)
        self.nights = (out.date() - admission.admitted.date()).days
        self.history = _choose(rng, HISTORIES)
        self.course = describe_course(admission.findings["course"], person.gender == "F", rng)
        self.places = self._draw_places()

    def _draw_places(self) -> tuple[str, ...]:
        """Return the notes that tell the course: one, or that one and a later progress note."""
        places = [p for p in _PLACES if not p[-1].isdigit() or int(p[-1]) <= self.nights]
        shares = np.array([_PLACES[place] for place in places])
        first = places[int(self.rng.choice(len(places), p=shares / shares.sum()))]
        later = [p for p in places[places.index(first) + 1 :] if p.startswith("progress")]
        copied = self.rng.random() < 0.8
        return (first, later[0]) if later and copied else (first,)

    def first_day(self) -> list[Note]:
        """Return the notes of the day of admission."""
        rng = self.rng
        notes = [self._admission_note(), self._nursing_note(0)]
        if rng.random() < 0.2:
            rhythm, day = _choose(rng, ECGS), self.admission.admitted.date()
            notes.append(Note(day, None, None, "ECG", "Report", rhythm, None))
        if rng.random() < 0.2:
            notes.append(self._film(0))
        return notes

    def later_day(self, day: int) -> list[Note]:
        """Return the notes of a later day; from the fourth on they are few."""
        if day > 2:
            text = f"{mistype(_choose(self.rng, NURSING), self.rng)}."
            return [_note(self.rng, self.admission, day, "Nursing", text)]
        notes = [self._progress_note(day)]
        if day == 1:
            notes.append(self._nursing_note(day))
            appetite = describe("appetite", self.admission.findings["appetite"], self.rng)
            text = f"{appetite}, cont cardiac diet."
            note = _note(
                self.rng, self.admission, day, "Nutrition", text, "Clinical Nutrition Note"
            )
            return [*notes, replace(note, tells=("appetite",))]
        text = f"PT: {_choose(self.rng, THERAPY)}."
        return [*notes, _note(self.rng, self.admission, day, "Rehab Services", text)]

    def summary(self, out: datetime) -> Note:
        """Return the discharge summary."""
        end = (
            "Pt expired in the MICU." if self.admission.died else "Discharged in stable condition."
        )
        text = (
            f"Admission Date: [**{self.admission.admitted:%Y-%-m-%-d}**]   "
            f"Discharge Date: [**{out:%Y-%-m-%-d}**]\n\nService: MEDICINE\n\n"
            f'Brief Hospital Course: {self.history} Pt states "I feel ok".\n'
            f"{self.course}\n{end}\n\n"
            "Dictated By: [**First Name8 (NamePattern2) 1243**], M.D.\n----"
        )
        return Note(out.date(), None, None, SUMMARY, "Report", text, None, tells=("course",))

    def _admission_note(self) -> Note:
        rng, admission = self.rng, self.admission
        years = int(self.person.age(admission.admitted))
        course, tells = self._course_at("admission")
        text = (
            f"Admission Date: [**{admission.admitted:%Y-%-m-%-d}**]\n"
            f"HPI: {years}{self.person.gender} w/ {_choose(rng, COMPLAINTS)}.{course}\n"
            f"PMH: {self.history}\n"
            f"Labs: WBC {rng.uniform(4.2, 15.2):.1f}, {_choose(rng, LABS)}\n"
            f"1. {_choose(rng, PLANS)}"
        )
        note = _note(rng, admission, 0, "Physician ", text, "Physician Resident Admission Note")
        return replace(note, tells=tells)

    def _progress_note(self, day: int) -> Note:
        rng = self.rng
        course, tells = self._course_at(f"progress {day}")
        text = f"HD {day + 1}, Cr {rng.uniform(0.6, 2.4):.1f}.{course}\nExam: {_choose(rng, EXAMS)}"
        description = "Physician Resident Progress Note"
        note = _note(rng, self.admission, day, "Physician ", text, description)
        return replace(note, tells=tells)

    def _nursing_note(self, day: int) -> Note:
        rng = self.rng
        course, tells = self._course_at(f"nursing {day}")
        text = f"{mistype(_choose(rng, NURSING), rng)}.{course}"
        if day == 0:
            oxygen = describe("oxygen", self.admission.findings["oxygen"], rng)
            text, tells = f"{text} Pt {oxygen}.", (*tells, "oxygen")
        return replace(_note(rng, self.admission, day, "Nursing", text), tells=tells)

    def _course_at(self, place: str) -> tuple[str, tuple[str, ...]]:
        """Return the sentence and the finding that a note tells at this place, or nothing."""
        return (f" {self.course}", ("course",)) if place in self.places else ("", ())

    def _film(self, day: int) -> Note:
        report = (
            f"CHEST (PORTABLE AP) [**{self.admission.admitted:%Y-%-m-%-d}**]\n"
            f"{_choose(self.rng, FILMS)}. Dr. [**Last Name 7**]"
        )
        return _note(self.rng, self.admission, day, "Radiology", report, "CHEST (PORTABLE AP)")


def _misfiled(rng: np.random.Generator, person: Person, admission: Admission) -> Note:
    """Return a note about another patient, marked as an error; it says the opposite throughout."""
    other = replace(
        admission, findings={name: not present for name, present in admission.findings.items()}
    )
    note, *_ = _Writer(rng, person, other).first_day()
    return replace(note, error=True, tells=())


def _outpatient(rng: np.random.Generator, admission: Admission) -> Note:
    when = admission.admitted - timedelta(days=int(rng.integers(5, 60)))
    text = "MAMMO/CHEST PA, outpatient.\nNo change since [**Month 3**]; no acute process."
    return Note(when.date(), when, None, "Radiology", "CHEST (PA & LAT)", text, None, linked=False)


def _newborn_notes(rng: np.random.Generator, person: Person, admission: Admission) -> list[Note]:
    sex = "boy" if person.gender == "M" else "girl"
    weight = f"{rng.uniform(2.1, 4.2):.2f} kg"
    text = f"Neonatology\nTerm baby {sex} {weight}, Apgars 8, 9.\nFeeding well, no murmur."
    return [_note(rng, admission, 0, "Nursing/other", text, "Report")]


def _note(
    rng: np.random.Generator,
    admission: Admission,
    day: int,
    category: str,
    text: str,
    description: str = "Nursing Progress Note",
) -> Note:
    """Return a note charted on a day after admission (0: the same day) and stored minutes later."""
    midnight = datetime.combine(admission.admitted.date(), time()) + timedelta(days=day)
    start = max(midnight, admission.admitted) if day == 0 else midnight
    end = midnight + timedelta(days=1)
    minutes = int(
        ((min(end, admission.out) if admission.out else end) - start) / timedelta(minutes=1)
    )
    when = start + timedelta(minutes=int(rng.integers(0, max(minutes, 1))))
    stored = when + timedelta(minutes=int(rng.integers(1, 240)))
    return Note(
        when.date(), when, stored, category, description, text, int(rng.integers(14000, 21000))
    )


def _choose(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
