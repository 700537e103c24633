"""The demo hospital: labels follow the true risks, and texts reveal only the findings."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from readmit_spark.demo import Hospital, make_hospital, write_hospital
from readmit_spark.demo.findings import FINDINGS
from readmit_spark.demo.hospital import SPAN_DAYS
from readmit_spark.demo.notes import Note, write_notes
from readmit_spark.demo.people import make_admissions, make_person
from readmit_spark.errors import UserError

MONTH = pd.Timedelta(days=30)


@pytest.fixture(scope="module")
def hospital() -> Hospital:
    return make_hospital(patients=2500, seed=11)


@pytest.fixture(scope="module")
def labelled(hospital: Hospital) -> pd.DataFrame:
    """HADM_ID, label, days, RISK; the label by a double loop over each patient's admissions."""
    rows = []
    for _, group in hospital.admissions.groupby("SUBJECT_ID"):
        admissions = sorted(group.to_dict("records"), key=lambda s: (s["ADMITTIME"], s["HADM_ID"]))
        for index, admission in enumerate(admissions):
            if admission["ADMISSION_TYPE"] == "NEWBORN" or pd.notna(admission["DEATHTIME"]):
                continue
            if pd.isna(admission["DISCHTIME"]):
                continue
            later = [s for s in admissions[index + 1 :] if s["ADMISSION_TYPE"] != "ELECTIVE"]
            readmitted = any(s["ADMITTIME"] - admission["DISCHTIME"] < MONTH for s in later[:1])
            days = (admission["DISCHTIME"] - admission["ADMITTIME"]) / pd.Timedelta(days=1)
            rows.append((admission["HADM_ID"], int(readmitted), days))
    table = pd.DataFrame(rows, columns=["HADM_ID", "label", "days"])
    return table.merge(hospital.truth[["HADM_ID", "RISK"]], on="HADM_ID", validate="one_to_one")


def test_the_label_is_a_bernoulli_draw_of_the_risk(labelled: pd.DataFrame) -> None:
    tenth = pd.qcut(labelled["RISK"], 10, labels=False, duplicates="drop")
    for _, group in [("all", labelled), *labelled.groupby(tenth)]:
        spread = np.sqrt((group["RISK"] * (1 - group["RISK"])).sum())
        assert abs((group["label"] - group["RISK"]).sum()) < 3.5 * spread


def test_the_label_is_a_bernoulli_draw_for_every_kind_of_admission(
    hospital: Hospital, labelled: pd.DataFrame
) -> None:
    kinds = labelled.merge(hospital.admissions[["HADM_ID", "ADMISSION_TYPE"]])
    assert set(kinds["ADMISSION_TYPE"]) == {"EMERGENCY", "URGENT", "ELECTIVE"}
    for _, group in kinds.groupby("ADMISSION_TYPE"):
        spread = np.sqrt((group["RISK"] * (1 - group["RISK"])).sum())
        assert abs((group["label"] - group["RISK"]).sum()) < 3.5 * spread


def test_every_label_equals_its_draw(hospital: Hospital, labelled: pd.DataFrame) -> None:
    drawn = []
    for number in range(len(hospital.patients)):
        rng = np.random.default_rng([11, number])
        drawn += [
            admission.returns for admission in make_admissions(rng, *make_person(rng, SPAN_DAYS))
        ]
    table = labelled.merge(hospital.admissions[["HADM_ID"]].assign(drawn=drawn))
    assert (table["label"] == table["drawn"]).all()


def test_attainable_auroc_and_prevalence_are_as_documented(labelled: pd.DataFrame) -> None:
    assert 0.92 < roc_auc_score(labelled["label"], labelled["RISK"]) < 0.97
    assert 0.28 < labelled["label"].mean() < 0.38


def test_every_admission_except_newborns_has_a_risk(hospital: Hospital) -> None:
    admissions = hospital.admissions
    assert set(hospital.truth["HADM_ID"]) == set(
        admissions.loc[admissions["ADMISSION_TYPE"] != "NEWBORN", "HADM_ID"]
    )
    assert hospital.truth["RISK"].between(0, 1, inclusive="neither").all()
    admitted = hospital.admissions.set_index("HADM_ID")["ADMITTIME"]
    assert (admitted[hospital.truth["HADM_ID"]].to_numpy() == hospital.truth["ADMITTIME"]).all()


def test_number_and_length_of_notes_do_not_predict_the_label(
    hospital: Hospital, labelled: pd.DataFrame
) -> None:
    notes = hospital.notes.dropna(subset="HADM_ID")
    words = notes["TEXT"].str.split().str.len().groupby(notes["HADM_ID"]).agg(["size", "sum"])
    table = labelled.merge(words, left_on="HADM_ID", right_index=True)
    for column in ("size", "sum"):
        assert abs(roc_auc_score(table["label"], table[column]) - 0.5) < 0.03


def test_findings_change_neither_number_nor_length_nor_time_of_notes() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        person, first = make_person(rng, SPAN_DAYS)
        for admission in make_admissions(rng, person, first):
            ill = replace(admission, findings=dict.fromkeys(FINDINGS, True))
            well = replace(admission, findings=dict.fromkeys(FINDINGS, False))
            assert _shape(write_notes(np.random.default_rng(seed), person, ill)) == _shape(
                write_notes(np.random.default_rng(seed), person, well)
            )


def _shape(notes: list[Note]) -> list[tuple[object, ...]]:
    return [(n.chartdate, n.charttime, n.category, len(n.text.split())) for n in notes]


def test_the_course_stands_in_one_or_two_early_notes_at_a_random_place(hospital: Hospital) -> None:
    notes = hospital.notes[hospital.notes["CATEGORY"] != "Discharge summary"]
    notes = notes[notes["ISERROR"].isna()].merge(hospital.admissions[["HADM_ID", "ADMITTIME"]])
    course = notes["TEXT"].str.contains("but denies")
    assert set(notes[course].groupby("HADM_ID").size()) == {1, 2}
    first = notes[course].drop_duplicates("HADM_ID")
    day = (first["CHARTDATE"] - first["ADMITTIME"].dt.normalize()).dt.days
    assert set(day) == {0, 1, 2}
    assert set(first["CATEGORY"]) == {"Physician ", "Nursing"}


def test_no_text_mentions_a_readmission(hospital: Hospital) -> None:
    assert not hospital.notes["TEXT"].str.contains("readmi|re-admi", case=False).any()


def test_notes_are_written_during_the_stay_or_the_day_before(hospital: Hospital) -> None:
    notes = hospital.notes.merge(hospital.admissions[["HADM_ID", "ADMITTIME", "DISCHTIME"]])
    timed = notes.dropna(subset="CHARTTIME")
    assert (timed["CHARTTIME"] >= timed["ADMITTIME"].dt.normalize() - timedelta(days=1)).all()
    out = timed.dropna(subset="DISCHTIME")
    assert (out["CHARTTIME"] <= out["DISCHTIME"]).all()
    assert (timed["CHARTTIME"].dt.normalize() == timed["CHARTDATE"]).all()
    assert (timed["STORETIME"].dropna() >= timed["CHARTTIME"][timed["STORETIME"].notna()]).all()


def test_the_odd_cases_of_mimic_occur(hospital: Hospital, labelled: pd.DataFrame) -> None:
    admissions, notes = hospital.admissions, hospital.notes
    assert set(admissions["ADMISSION_TYPE"]) == {"EMERGENCY", "URGENT", "ELECTIVE", "NEWBORN"}
    assert admissions["DEATHTIME"].notna().mean() > 0.02
    assert 0.01 < admissions["DISCHTIME"].isna().mean() < 0.05
    assert admissions["ADMISSION_LOCATION"].str.contains("TRANSFER").any()
    following = admissions.groupby("SUBJECT_ID")["ADMITTIME"].shift(-1) - admissions["DISCHTIME"]
    assert (following < pd.Timedelta(0)).any(), "no transfer that overlaps"
    assert (following == MONTH).any(), "no admission after exactly 30 days"
    elective = admissions.groupby("SUBJECT_ID")["ADMISSION_TYPE"].shift(-1) == "ELECTIVE"
    assert (elective & (following < MONTH)).any(), "no elective admission within 30 days"
    assert (labelled["days"] < 2).any() and labelled["days"].between(2, 3).any()
    assert notes["HADM_ID"].isna().any() and notes["ISERROR"].eq(1).any()
    assert notes["CATEGORY"].nunique() >= 7 and "Physician " in set(notes["CATEGORY"])
    assert notes.loc[notes["CATEGORY"] == "Discharge summary", "CHARTTIME"].isna().all()
    words = notes["TEXT"].str.split().str.len().groupby(notes["HADM_ID"]).sum()
    assert (words <= 10).any(), "no document of ten words or fewer"
    linked = notes.merge(admissions[["HADM_ID", "ADMITTIME"]], on="HADM_ID")
    assert (linked["CHARTDATE"] < linked["ADMITTIME"].dt.normalize()).any()
    for pattern in (r"\[\*\*.+\*\*\]", "\n", '"', r"\d\.\d", r"^1\. ", r"\bdenies\b", r"Dr\."):
        assert notes["TEXT"].str.contains(pattern, flags=re.MULTILINE).any(), pattern


def test_later_notes_repeat_a_line_of_the_admission_note(hospital: Hospital) -> None:
    notes = hospital.notes[hospital.notes["ISERROR"].isna()]
    admission = notes[notes["DESCRIPTION"] == "Physician Resident Admission Note"]
    progress = notes[notes["DESCRIPTION"] == "Physician Resident Progress Note"]
    both = admission.merge(progress, on="HADM_ID").head(50)
    repeated = 0
    for first, later in zip(both["TEXT_x"], both["TEXT_y"], strict=True):
        course = first.split("HPI: ")[1].splitlines()[0].partition(". ")[2]
        repeated += bool(course) and course in later
    assert repeated > 5


def test_a_patient_stays_the_same_when_the_hospital_grows() -> None:
    small, large = make_hospital(patients=40, seed=3), make_hospital(patients=60, seed=3)
    for name in ("admissions", "notes", "patients", "truth"):
        before, after = getattr(small, name), getattr(large, name)
        assert len(after) > len(before)
        pd.testing.assert_frame_equal(before, after.head(len(before)))


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for folder, seed in (("one", 5), ("two", 5), ("other", 6)):
        write_hospital(make_hospital(patients=30, seed=seed), tmp_path / folder)
    for file in ("ADMISSIONS.csv", "NOTEEVENTS.csv", "PATIENTS.csv", "TRUTH.csv"):
        first = (tmp_path / "one" / file).read_bytes()
        assert first == (tmp_path / "two" / file).read_bytes()
        assert first != (tmp_path / "other" / file).read_bytes()


def test_files_are_read_back_as_the_written_tables(tmp_path: Path) -> None:
    hospital = make_hospital(patients=60, seed=4)
    write_hospital(hospital, tmp_path)
    notes = pd.read_csv(tmp_path / "NOTEEVENTS.csv", parse_dates=["CHARTDATE", "CHARTTIME"])
    assert notes["TEXT"].tolist() == hospital.notes["TEXT"].tolist()
    assert notes["CATEGORY"].tolist() == hospital.notes["CATEGORY"].tolist()
    assert notes["CHARTTIME"].equals(hospital.notes["CHARTTIME"])
    assert notes["HADM_ID"].astype("Int64").equals(hospital.notes["HADM_ID"])
    truth = pd.read_csv(tmp_path / "TRUTH.csv", float_precision="round_trip")
    assert truth["RISK"].tolist() == hospital.truth["RISK"].tolist()
    admissions = pd.read_csv(tmp_path / "ADMISSIONS.csv", parse_dates=["DISCHTIME"])
    assert admissions["DISCHTIME"].equals(hospital.admissions["DISCHTIME"])


def test_csv_is_quoted_like_mimics(tmp_path: Path) -> None:
    hospital = make_hospital(patients=60, seed=4)
    write_hospital(hospital, tmp_path)
    text = (tmp_path / "NOTEEVENTS.csv").read_text()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(
        rf'^\d+,\d+,\d+,\d{{4}}-\d\d-\d\d,{time},{time},"Physician ",".*",\d+,,"', text, re.M
    )
    assert re.search(r'^\d+,\d+,\d+,\d{4}-\d\d-\d\d,,,"Discharge summary","Report",,,"', text, re.M)
    assert re.search(r"^\d+,\d+,,\d{4}-\d\d-\d\d,", text, re.M), "no note without HADM_ID"
    assert '""I feel ok""' in text


@pytest.mark.parametrize(("patients", "seed"), [(0, 1), (10, -1)])
def test_impossible_sizes_and_seeds_are_errors(patients: int, seed: int) -> None:
    with pytest.raises(UserError, match=r"demo\.patients"):
        make_hospital(patients, seed)


def test_birth_is_never_after_an_admission(hospital: Hospital) -> None:
    born = hospital.patients.set_index("SUBJECT_ID")["DOB"]
    admissions = hospital.admissions
    assert (admissions["SUBJECT_ID"].map(born) <= admissions["ADMITTIME"]).all()
    for one, two in itertools.pairwise(sorted(admissions["HADM_ID"])):
        assert one < two


def test_first_admissions_are_within_the_span() -> None:
    admissions = make_hospital(patients=50, seed=1, span_days=30).admissions
    first = admissions.groupby("SUBJECT_ID")["ADMITTIME"].min()
    assert (first >= "2101-01-01").all() and (first < "2101-01-31").all()
    assert (
        first.max()
        > make_hospital(patients=50, seed=1, span_days=10)
        .admissions.groupby("SUBJECT_ID")["ADMITTIME"]
        .min()
        .max()
    )
