"""The demo hospital as MIMIC-III-shaped tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from readmit_spark.demo.notes import write_notes
from readmit_spark.demo.people import make_person, make_stays

_FIRST_SUBJECT = 10_001
_FIRST_HADM = 100_001


@dataclass(frozen=True)
class Hospital:
    admissions: pd.DataFrame
    notes: pd.DataFrame
    patients: pd.DataFrame
    truth: pd.DataFrame


def make_hospital(patients: int, seed: int) -> Hospital:
    admissions, notes, people, truth = [], [], [], []
    for number in range(patients):
        # A generator a patient: a patient stays the same when the hospital grows.
        rng = np.random.default_rng([seed, number])
        subject = _FIRST_SUBJECT + number
        person, first = make_person(rng)
        stays = make_stays(rng, person, first)
        died = stays[-1].out if stays[-1].died else None
        people.append((number + 1, subject, person.gender, person.birth, died, died, None, int(died is not None)))
        for stay in stays:
            hadm = _FIRST_HADM + len(admissions)
            admissions.append((
                len(admissions) + 1, subject, hadm, stay.admitted, stay.out,
                stay.out if stay.died else None, stay.kind, stay.source,
                "DEAD/EXPIRED" if stay.died else (None if stay.out is None else "HOME HEALTH CARE"),
                person.insurance, person.ethnicity, int(stay.died)))
            if stay.risk is not None:
                truth.append((hadm, stay.risk))
            for n in write_notes(rng, person, stay):
                notes.append((len(notes) + 1, subject, hadm if n.linked else None, n.chartdate, n.charttime,
                    n.storetime, n.category, n.description, n.cgid, 1 if n.error else None, n.text))
    A = pd.DataFrame(admissions, columns="ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE ADMISSION_LOCATION DISCHARGE_LOCATION INSURANCE ETHNICITY HOSPITAL_EXPIRE_FLAG".split())
    N = pd.DataFrame(notes, columns="ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT".split())
    P = pd.DataFrame(people, columns="ROW_ID SUBJECT_ID GENDER DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG".split())
    T = pd.DataFrame(truth, columns=["HADM_ID", "RISK"])
    for f in (A, N, P):
        for c in f.columns:
            if c in ("ADMITTIME","DISCHTIME","DEATHTIME","CHARTTIME","STORETIME","DOB","DOD","DOD_HOSP","CHARTDATE"):
                f[c] = pd.to_datetime(f[c])
    N["HADM_ID"] = N["HADM_ID"].astype("Int64")
    return Hospital(A, N, P, T)
