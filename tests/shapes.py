"""Write the demo hospital in the shapes of other hospitals (`data.format`)."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from readmit_spark.demo.hospital import Hospital
from readmit_spark.storage.formats.mapping_file import Mapped

SUMMARY = "Discharge summary"
MIMIC4_TYPES = {"EMERGENCY": "EW EMER.", "URGENT": "URGENT", "ELECTIVE": "ELECTIVE"}


def common(hospital: Hospital, *categories: str) -> Hospital:
    """Return the hospital without what other shapes cannot say: newborns and erroneous notes.

    categories: of the notes that stay; none: all.
    """
    stays = hospital.admissions[hospital.admissions["ADMISSION_TYPE"] != "NEWBORN"]
    notes = hospital.notes[hospital.notes["ISERROR"].isna()]
    notes = notes[notes["SUBJECT_ID"].isin(stays["SUBJECT_ID"])]
    if categories:
        notes = notes[notes["CATEGORY"].isin(categories)]
    return replace(hospital, admissions=stays, notes=notes)


def write_mimic4(hospital: Hospital, folder: Path) -> None:
    """Write MIMIC-IV's and MIMIC-IV-Note's tables of a hospital with summaries and radiology."""
    stays = pd.DataFrame(
        {
            "subject_id": hospital.admissions["SUBJECT_ID"],
            "hadm_id": hospital.admissions["HADM_ID"],
            "admittime": hospital.admissions["ADMITTIME"],
            "dischtime": hospital.admissions["DISCHTIME"],
            "deathtime": None,  # the flag says it
            "admission_type": hospital.admissions["ADMISSION_TYPE"].map(MIMIC4_TYPES),
            "admit_provider_id": "P0",
            "insurance": hospital.admissions["INSURANCE"],
            "race": hospital.admissions["ETHNICITY"],
            "discharge_location": hospital.admissions["DISCHARGE_LOCATION"],
            "hospital_expire_flag": hospital.admissions["HOSPITAL_EXPIRE_FLAG"],
        }
    )
    people = pd.DataFrame(
        {
            "subject_id": hospital.patients["SUBJECT_ID"],
            "gender": hospital.patients["GENDER"],
            "anchor_age": 60,
            "anchor_year": hospital.patients["DOB"].dt.year + 60,
            "dod": hospital.patients["DOD"].dt.strftime("%Y-%m-%d"),
        }
    )
    kind = hospital.notes["CATEGORY"].map({SUMMARY: "DS", "Radiology": "RR"})
    number = hospital.notes.groupby(["SUBJECT_ID", kind]).cumcount() + 1
    notes = pd.DataFrame(
        {
            "note_id": hospital.notes["SUBJECT_ID"].astype(str)
            + "-"
            + kind
            + "-"
            + number.map(str),
            "subject_id": hospital.notes["SUBJECT_ID"],
            "hadm_id": hospital.notes["HADM_ID"],
            "note_type": kind,
            "note_seq": number,
            "charttime": hospital.notes["CHARTTIME"].fillna(hospital.notes["CHARTDATE"]),
            "storetime": hospital.notes["STORETIME"],
            "text": hospital.notes["TEXT"],
        }
    )
    tables = {
        "hosp/admissions": stays,
        "hosp/patients": people,
        "note/discharge": notes[kind == "DS"],
        "note/radiology": notes[kind == "RR"],
    }
    for name, table in tables.items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M:%S")


def write_mapped(hospital: Hospital, mapped: Mapped, folder: Path) -> None:
    """Write the tables that a mapping file describes, with a row that it does not keep in each.

    Texts are cut into lines of 100 characters where the mapping joins lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stays = hospital.admissions
    went_to = stays["DISCHARGE_LOCATION"].map({"HOME": "HOME", "DEAD/EXPIRED": "DIED"})
    stays = stays.assign(DISCHARGE_TO=went_to)
    source = {"admissions": stays, "notes": hospital.notes, "patients": hospital.patients}
    for name, table in mapped.tables.items():
        rows = source[name]
        given = pd.DataFrame(index=rows.index)
        for column, own in table.columns.items():
            meanings = {means.upper(): o for o, means in table.values.get(column, {}).items()}
            value = rows[column.upper()]
            if value.dtype.kind == "M":
                value = _as_written(value, column in ("chartdate", "dob", "dod"), mapped)
            given[own] = value.str.strip().str.upper().map(meanings) if meanings else value
        for own, codes in getattr(table, "died", {}).items():
            died = rows["HOSPITAL_EXPIRE_FLAG"] == 1
            given[own] = given.get(own, pd.Series(index=rows.index)).mask(died, codes[0])
        for own, codes in table.keep.items():
            given[own] = codes[-1]
        other = given.tail(1).assign(**dict.fromkeys(table.keep, "zz"))
        if table.keep:
            given = pd.concat([given, other])
        lines = getattr(table, "lines", None)
        if lines:
            text = table.columns["text"]
            given[text] = given[text].map(lambda t: [t[i : i + 100] for i in range(0, len(t), 100)])
            given = given.reset_index(drop=True).explode(text)
            given[lines.order] = given.groupby(level=0).cumcount() + 1
            given = given.sample(frac=1, random_state=0)
        given.to_csv(folder / f"{table.file}.csv", index=False)


def _as_written(times: pd.Series, is_day: bool, mapped: Mapped) -> pd.Series:
    """Write times in the mapping's first pattern, days as ISO 8601."""
    pattern = mapped.times[0] if mapped.times and not is_day else None
    if pattern is None:
        return times.dt.strftime("%Y-%m-%d" if is_day else "%Y-%m-%d %H:%M:%S")
    strftime = {
        "M/d/yyyy h:mm:ss a": "%-m/%-d/%Y %-I:%M:%S %p",
        "dd-MMM-yyyy HH:mm:ss": "%d-%b-%Y %H:%M:%S",
    }
    return times.dt.strftime(strftime[pattern])


PRIORITIES = {"EMERGENCY": "EM", "URGENT": "UR", "ELECTIVE": "EL"}


def write_fhir(hospital: Hospital, folder: Path) -> None:
    """Write a bulk export of Asia/Kolkata, with resources that are left out."""
    stays = [_encounter(row) for row in hospital.admissions.itertuples()]
    notes = [_document(row) for row in hospital.notes.itertuples()]
    linked = next(note for note in notes if note["context"]["encounter"])
    elsewhere = {"content": [{"attachment": {"contentType": "text/plain", "url": "Binary/1"}}]}
    report = {
        "resourceType": "DiagnosticReport",
        "id": "a-report",
        "status": "final",
        "code": linked["type"],
        "subject": linked["subject"],
        "encounter": linked["context"]["encounter"][0],
        "issued": "2101-01-01T00:00:00+05:30",
        "presentedForm": [linked["content"][1]["attachment"]],
    }
    people = [
        {
            "resourceType": "Patient",
            "id": str(row.SUBJECT_ID),
            "gender": {"F": "female", "M": "male"}[row.GENDER],
            "birthDate": f"{row.DOB:%Y-%m-%d}",
            **_if_there("deceasedDateTime", row.DOD),
        }
        for row in hospital.patients.itertuples()
    ]
    files = {
        "Encounter.000": [*stays, {**stays[0], "id": "a", "class": {"code": "AMB"}}],
        "Encounter.001": [{**stays[0], "id": "b", "status": "cancelled"}],
        "DocumentReference.000": notes,
        "DocumentReference.001": [
            {**notes[0], "id": "c", "status": "superseded"},
            {**notes[0], "id": "d", "docStatus": "preliminary"},
            {**notes[0], "id": "e", **elsewhere},
        ],
        "DiagnosticReport": [report],
        "Patient": people,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, resources in files.items():
        text = "".join(json.dumps(resource) + "\n" for resource in resources)
        (folder / f"{name}.ndjson.gz").write_bytes(gzip.compress(text.encode()))


def _encounter(row: Any) -> dict[str, Any]:
    ended = not pd.isna(row.DISCHTIME)
    period = {**_if_there("start", row.ADMITTIME), **_if_there("end", row.DISCHTIME)}
    return {
        "resourceType": "Encounter",
        "id": str(row.HADM_ID),
        "status": "finished" if ended else "in-progress",
        "class": {"code": "IMP"},
        "priority": {"coding": [{"code": PRIORITIES[row.ADMISSION_TYPE]}]},
        "subject": {"reference": f"Patient/{row.SUBJECT_ID}", "display": "zqx"},
        "period": period,
        "hospitalization": {
            "dischargeDisposition": {
                "coding": [{"code": "20" if row.HOSPITAL_EXPIRE_FLAG else "01"}]
            }
        },
    }


def _document(row: Any) -> dict[str, Any]:
    coding = [{"system": "http://loinc.org", "code": "18842-5"}] if row.CATEGORY == SUMMARY else []
    start = _instant(row.CHARTTIME) or f"{row.CHARTDATE:%Y-%m-%d}"
    encounter = [] if pd.isna(row.HADM_ID) else [{"reference": f"Encounter/{row.HADM_ID}"}]
    data = base64.b64encode(row.TEXT.encode()).decode()
    return {
        "resourceType": "DocumentReference",
        "id": str(row.ROW_ID),
        "status": "current",
        "type": {"coding": coding, "text": row.CATEGORY},
        "subject": {"reference": f"https://ehr/Patient/{row.SUBJECT_ID}"},
        **_if_there("date", row.STORETIME),
        "content": [
            {"attachment": {"contentType": "application/pdf", "data": "JVBERg=="}},
            {"attachment": {"contentType": "text/plain; charset=utf-8", "data": data}},
        ],
        "context": {"encounter": encounter, "period": {"start": start}},
    }


def _if_there(name: str, time: Any) -> dict[str, str]:
    text = _instant(time)
    return {name: text} if text else {}


def _instant(time: Any) -> str | None:
    """Return the instant of a wall clock of Asia/Kolkata."""
    if pd.isna(time):
        return None
    return f"{time - pd.Timedelta(hours=5, minutes=30):%Y-%m-%dT%H:%M:%S}Z"


def as_omop_says(hospital: Hospital) -> Hospital:
    """Return the hospital with the admission types that OMOP knows: emergency or nothing."""
    kinds = hospital.admissions["ADMISSION_TYPE"].map({"EMERGENCY": "EMERGENCY"})
    stays = hospital.admissions.assign(ADMISSION_TYPE=kinds)
    return replace(hospital, admissions=stays, notes=hospital.notes.assign(STORETIME=pd.NaT))


def as_meds_says(hospital: Hospital) -> Hospital:
    """Return the hospital with summaries and radiology, and one time for each note."""
    hospital = common(hospital, SUMMARY, "Radiology")
    charted = hospital.notes["CHARTTIME"].fillna(hospital.notes["CHARTDATE"])
    return replace(hospital, notes=hospital.notes.assign(CHARTTIME=charted, STORETIME=pd.NaT))


def write_omop(hospital: Hospital, folder: Path) -> None:
    """Write a CDM of 5.4, with a visit that is no admission; stays without an end end with it."""
    released = pd.Timestamp("2290-01-01")
    stays, people, notes = hospital.admissions, hospital.patients, hospital.notes
    ends = stays["DISCHTIME"].fillna(released)
    visits = pd.DataFrame(
        {
            "visit_occurrence_id": stays["HADM_ID"],
            "person_id": stays["SUBJECT_ID"],
            "visit_concept_id": (stays["ADMISSION_TYPE"] == "EMERGENCY").map(
                {True: 262, False: 9201}
            ),
            "visit_start_date": stays["ADMITTIME"].dt.strftime("%Y-%m-%d"),
            "visit_start_datetime": stays["ADMITTIME"],
            "visit_end_date": ends.dt.strftime("%Y-%m-%d"),
            "visit_end_datetime": ends,
            "discharged_to_concept_id": stays["HOSPITAL_EXPIRE_FLAG"].map({1: 4216643, 0: 581476}),
        }
    )
    other = visits.head(1).assign(visit_occurrence_id=-7, visit_concept_id=9202)
    persons = pd.DataFrame(
        {
            "person_id": people["SUBJECT_ID"],
            "gender_concept_id": people["GENDER"].map({"M": 8507, "F": 8532}),
            "year_of_birth": people["DOB"].dt.year,
            "month_of_birth": people["DOB"].dt.month,
            "day_of_birth": people["DOB"].dt.day,
        }
    )
    deaths = people[people["DOD"].notna()]
    death = pd.DataFrame(
        {
            "person_id": deaths["SUBJECT_ID"],
            "death_date": deaths["DOD"].dt.strftime("%Y-%m-%d"),
            "death_datetime": deaths["DOD"],
        }
    )
    note = pd.DataFrame(
        {
            "note_id": notes["ROW_ID"],
            "person_id": notes["SUBJECT_ID"],
            "note_date": notes["CHARTDATE"].dt.strftime("%Y-%m-%d"),
            "note_datetime": notes["CHARTTIME"].fillna(notes["CHARTDATE"]),
            "note_type_concept_id": (notes["CATEGORY"] == SUMMARY).map({True: 44814637, False: 0}),
            "note_title": notes["CATEGORY"],
            "note_text": notes["TEXT"],
            "visit_occurrence_id": notes["HADM_ID"],
        }
    )
    tables = {
        "VISIT_OCCURRENCE": pd.concat([visits, other]),
        "PERSON": persons,
        "DEATH": death,
        "NOTE": note,
        "CDM_SOURCE": pd.DataFrame({"source_release_date": [f"{released:%Y-%m-%d}"]}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d %H:%M:%S")


def as_rtf(text: str) -> str:
    """Write a text as a word processor does."""
    names = {"\\": "\\\\", "{": "\\{", "}": "\\}", "\n": "\\par\n", "\t": "\\tab "}
    units = [int.from_bytes(text.encode("utf-16-le")[i : i + 2], "little")
             for i in range(0, len(text.encode("utf-16-le")), 2)]  # fmt: skip
    signed = [unit - 0x10000 if unit > 0x7FFF else unit for unit in units]
    return "{\\rtf1\\ansi " + "".join(
        names.get(chr(unit), chr(unit)) if unit < 128 else f"\\u{number}?"
        for unit, number in zip(units, signed, strict=True)
    ) + "}"  # fmt: skip
