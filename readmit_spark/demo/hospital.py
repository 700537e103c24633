"""Generate the demo hospital: tables like MIMIC-III's about fictional patients, with true risks.

The hospital is small. Readmissions are more frequent (after about one admission in three) and
easier to predict (attainable AUROC about 0.94) than in reality, so that a small model trained for
three minutes on two CPU cores can be compared with the truth. The demo shows that the program
works; its figures say nothing about any real hospital.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd

from readmit_spark.demo.findings import IN_WORDS, risk_of_reader
from readmit_spark.demo.notes import SUMMARY, Note, write_notes
from readmit_spark.demo.people import Admission, Person, make_admissions, make_person
from readmit_spark.errors import UserError

ADMISSIONS = [
    "ROW_ID",
    "SUBJECT_ID",
    "HADM_ID",
    "ADMITTIME",
    "DISCHTIME",
    "DEATHTIME",
    "ADMISSION_TYPE",
    "ADMISSION_LOCATION",
    "DISCHARGE_LOCATION",
    "INSURANCE",
    "LANGUAGE",
    "ETHNICITY",
    "HOSPITAL_EXPIRE_FLAG",
    "HAS_CHARTEVENTS_DATA",
]
NOTES = [
    "ROW_ID",
    "SUBJECT_ID",
    "HADM_ID",
    "CHARTDATE",
    "CHARTTIME",
    "STORETIME",
    "CATEGORY",
    "DESCRIPTION",
    "CGID",
    "ISERROR",
    "TEXT",
]
PATIENTS = ["ROW_ID", "SUBJECT_ID", "GENDER", "DOB", "DOD", "DOD_HOSP", "DOD_SSN", "EXPIRE_FLAG"]
TRUTH = [
    "HADM_ID",
    "ADMITTIME",
    "RISK",
    "RISK_1DAYS",
    "RISK_2DAYS",
    "RISK_3DAYS",
    "RISK_WORDS",
    "RISK_AGE",
]
TIMES = [
    "ADMITTIME",
    "DISCHTIME",
    "DEATHTIME",
    "CHARTDATE",
    "CHARTTIME",
    "STORETIME",
    "DOB",
    "DOD",
    "DOD_HOSP",
]

SPAN_DAYS = 80 * 365
_FIRST_SUBJECT = 10_001
_FIRST_HADM = 100_001


@dataclass(frozen=True)
class Hospital:
    """Tables with MIMIC-III's columns; times are datetime64, missing values are null.

    `truth` has a row for every admission except those of newborns, which have no label: HADM_ID,
    ADMITTIME and probabilities of label 1. RISK knows all findings and the age, RISK_1DAYS only
    what could be read by the first midnight (RISK_2DAYS by the second, RISK_3DAYS by the third),
    RISK_WORDS only what counting words, pairs and triples can tell, RISK_AGE only the age.
    """

    admissions: pd.DataFrame
    notes: pd.DataFrame
    patients: pd.DataFrame
    truth: pd.DataFrame


def make_hospital(patients: int, seed: int, span_days: int = SPAN_DAYS) -> Hospital:
    """Generate a hospital with about 1.8 admissions per patient and 11 notes per admission.

    First admissions are spread over `span_days`. The same seed gives the same hospital, and the
    first patients are the same when `patients` grows. Raise a UserError if `patients` or
    `span_days` is less than 1 or `seed` is negative.

    >>> make_hospital(patients=2, seed=0).patients["SUBJECT_ID"].tolist()
    [10001, 10002]
    """
    if patients < 1 or seed < 0 or span_days < 1:
        raise UserError(
            f"cannot generate a demo hospital of {patients} patients with seed {seed} over "
            f"{span_days} days: set demo.patients and demo.days to 1 or more and demo.seed to 0 or "
            "more"
        )
    tables = _Tables()
    for number in range(patients):
        # One random generator per patient, and ids that count up: patients added at the end do
        # not change earlier ones.
        tables.add_patient(np.random.default_rng([seed, number]), number, span_days)
    return tables.hospital()


class _Tables:
    """Rows of the hospital's tables while they are generated."""

    def __init__(self) -> None:
        self._admissions: list[tuple[Any, ...]] = []
        self._notes: list[tuple[Any, ...]] = []
        self._patients: list[tuple[Any, ...]] = []
        self._truth: list[tuple[Any, ...]] = []

    def add_patient(self, rng: np.random.Generator, number: int, span_days: int) -> None:
        """Generate a patient's admissions and notes; number: counted from 0."""
        subject = _FIRST_SUBJECT + number
        person, first = make_person(rng, span_days)
        admissions = make_admissions(rng, person, first)
        death = admissions[-1].out if admissions[-1].died else None
        self._patients.append(_patient_row(number + 1, subject, person, death))
        for admission in admissions:
            hadm = _FIRST_HADM + len(self._admissions)
            row = len(self._admissions) + 1
            self._admissions.append(_admission_row(row, subject, hadm, person, admission))
            notes = write_notes(rng, person, admission)
            if admission.risk is not None:
                risks = _known_risks(person, admission, notes)
                self._truth.append((hadm, admission.admitted, admission.risk, *risks))
            for note in notes:
                self._notes.append(_note_row(len(self._notes) + 1, subject, hadm, note))

    def hospital(self) -> Hospital:
        """Return the tables as data frames."""
        return Hospital(
            admissions=_frame(self._admissions, ADMISSIONS),
            notes=_frame(self._notes, NOTES),
            patients=_frame(self._patients, PATIENTS),
            truth=pd.DataFrame(self._truth, columns=TRUTH),
        )


def _known_risks(person: Person, admission: Admission, notes: list[Note]) -> list[float]:
    """Return the risks in TRUTH after RISK, in its order."""
    midnight = datetime.combine(admission.admitted.date(), time())
    readers: list[set[str]] = []
    for days in (1, 2, 3):
        end = midnight + timedelta(days=days)
        early = (n.tells for n in notes if n.available <= end and n.category != SUMMARY)
        readers.append({name for told in early for name in told})
    readers += [set(IN_WORDS), set()]
    age = person.age(admission.admitted)
    return [risk_of_reader(admission.findings, age, read) for read in readers]


def _patient_row(row: int, subject: int, person: Person, death: datetime | None) -> tuple[Any, ...]:
    dead = int(death is not None)
    return (row, subject, person.gender, person.birth, death, death, None, dead)


def _admission_row(
    row: int, subject: int, hadm: int, person: Person, admission: Admission
) -> tuple[Any, ...]:
    destination = None if admission.out is None else "DEAD/EXPIRED" if admission.died else "HOME"
    return (
        row,
        subject,
        hadm,
        admission.admitted,
        admission.out,
        admission.out if admission.died else None,
        admission.kind,
        admission.source,
        destination,
        person.insurance,
        "ENGL",
        person.ethnicity,
        int(admission.died),
        1,
    )


def _note_row(row: int, subject: int, hadm: int, note: Note) -> tuple[Any, ...]:
    return (
        row,
        subject,
        hadm if note.linked else None,
        note.chartdate,
        note.charttime,
        note.storetime,
        note.category,
        note.description,
        note.cgid,
        1 if note.error else None,
        note.text,
    )


def _frame(rows: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    for column in frame.columns.intersection(TIMES):
        frame[column] = pd.to_datetime(frame[column])
    # Nullable integers: otherwise ids in a column with nulls would be written as 100001.0.
    for column in frame.columns.intersection(["HADM_ID", "CGID", "ISERROR"]):
        frame[column] = frame[column].astype("Int64")
    return frame
