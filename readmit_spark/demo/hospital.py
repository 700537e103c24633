"""The demo hospital: MIMIC-III-shaped tables of people who never were, with their true risks.

It is small, and its readmissions are more frequent (about one stay in five) and easier to foresee
(an attainable AUROC of about 0.94) than in life, so that a small model trained for two minutes on
two CPU cores can be held against the truth. It shows that the program works; its figures say
nothing about any real hospital.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from readmit_spark.demo.notes import write_notes
from readmit_spark.demo.people import Person, Stay, make_person, make_stays
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
TRUTH = ["HADM_ID", "RISK"]
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
    """The tables, in MIMIC-III's columns; times are datetime64, a missing value is null.

    `truth` holds HADM_ID and RISK, the probability of label 1, for every stay but the newborns'
    (whose stays carry no label).
    """

    admissions: pd.DataFrame
    notes: pd.DataFrame
    patients: pd.DataFrame
    truth: pd.DataFrame


def make_hospital(patients: int, seed: int, span_days: int = SPAN_DAYS) -> Hospital:
    """A hospital of so many patients; about 1.8 stays a patient and 11 notes a stay.

    First admissions are spread over `span_days`. The same seed gives the same hospital, and a
    patient stays the same when `patients` grows. Raises UserError where `patients` or `span_days`
    is less than 1 or `seed` is negative.

    >>> make_hospital(patients=2, seed=0).patients["SUBJECT_ID"].tolist()
    [10001, 10002]
    """
    if patients < 1 or seed < 0 or span_days < 1:
        raise UserError(
            f"a demo hospital of {patients} patients with seed {seed} over {span_days} days cannot "
            "be made: set demo.patients and demo.days to 1 or more and demo.seed to 0 or more"
        )
    admissions: list[tuple[Any, ...]] = []
    notes: list[tuple[Any, ...]] = []
    people: list[tuple[Any, ...]] = []
    truth: list[tuple[int, float]] = []
    for number in range(patients):
        # One generator a patient, and ids counted from the first patient on: adding patients at
        # the end changes nothing before it.
        rng = np.random.default_rng([seed, number])
        subject = _FIRST_SUBJECT + number
        person, first = make_person(rng, span_days)
        stays = make_stays(rng, person, first)
        death = stays[-1].out if stays[-1].died else None
        people.append(_patient_row(number + 1, subject, person, death))
        for stay in stays:
            hadm = _FIRST_HADM + len(admissions)
            admissions.append(_admission_row(len(admissions) + 1, subject, hadm, person, stay))
            if stay.risk is not None:
                truth.append((hadm, stay.risk))
            for note in write_notes(rng, person, stay):
                notes.append(
                    (
                        len(notes) + 1,
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
                )
    return Hospital(
        admissions=_frame(admissions, ADMISSIONS),
        notes=_frame(notes, NOTES),
        patients=_frame(people, PATIENTS),
        truth=pd.DataFrame(truth, columns=TRUTH),
    )


def _patient_row(row: int, subject: int, person: Person, death: datetime | None) -> tuple[Any, ...]:
    dead = int(death is not None)
    return (row, subject, person.gender, person.birth, death, death, None, dead)


def _admission_row(
    row: int, subject: int, hadm: int, person: Person, stay: Stay
) -> tuple[Any, ...]:
    left = None if stay.out is None else "DEAD/EXPIRED" if stay.died else "HOME"
    return (
        row,
        subject,
        hadm,
        stay.admitted,
        stay.out,
        stay.out if stay.died else None,
        stay.kind,
        stay.source,
        left,
        person.insurance,
        "ENGL",
        person.ethnicity,
        int(stay.died),
        1,
    )


def _frame(rows: list[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    for column in frame.columns.intersection(TIMES):
        frame[column] = pd.to_datetime(frame[column])
    # Nullable integers, so that an id beside a missing one is not written as 100001.0.
    for column in frame.columns.intersection(["HADM_ID", "CGID", "ISERROR"]):
        frame[column] = frame[column].astype("Int64")
    return frame
