"""FHIR R4 bulk exports: Encounter, Patient, and notes as DocumentReference or DiagnosticReport.

Only named fields are read: an export has patients' names in many places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.storage.formats.fhir_discharge import discharge_of
from readmit_spark.storage.formats.fhir_text import TEXT_REASONS, check_readable, text_of
from readmit_spark.storage.formats.shape import (
    FORM,
    KEY,
    LEFT_OUT,
    Coded,
    Format,
    Raw,
    SourceTable,
    first_reason,
    kept,
    meaning,
    nothing,
)
from readmit_spark.storage.formats.times import wall_clock

# v3-ActPriority, and HL7 v2's table 0007. R, routine, may be either.
_PRIORITIES = {
    "EM": "EMERGENCY", "E": "EMERGENCY", "A": "EMERGENCY", "S": "EMERGENCY", "UR": "URGENT",
    "U": "URGENT", "L": "URGENT", "EL": "ELECTIVE", "C": "ELECTIVE", "N": "NEWBORN", "R": None,
}  # fmt: skip
_PLANNED, _NEWBORN = "ELECTIVE", "NEWBORN"
_OBSERVATION = ("OBSENC", "SS")  # of Encounter.class
_IN_HOUSE, _ENDED = ("arrived", "triaged", "in-progress", "onleave"), "finished"
_FINAL = ("final", "amended", "corrected", "appended")
_DAY = len("2101-01-01")
_LOINC = "http://loinc.org"
# LOINC codes of notes -> CATEGORY.
_CATEGORIES = {
    "18842-5": "Discharge summary", "28655-9": "Discharge summary", "34105-7": "Discharge summary",
    "34106-5": "Discharge summary", "34745-0": "Discharge summary", "34117-2": "Physician",
    "11506-3": "Physician", "51847-2": "Physician", "11488-4": "Consult", "28570-0": "General",
    "34746-8": "Nursing", "18748-4": "Radiology", "18726-0": "Radiology", "11524-6": "ECG",
}  # fmt: skip

_CODINGS = "ARRAY<STRUCT<system: STRING, code: STRING, display: STRING>>"
_CONCEPT = f"STRUCT<coding: {_CODINGS}, text: STRING>"
_REFERENCE = "STRUCT<reference: STRING>"
_PERIOD = "STRUCT<start: STRING, `end`: STRING>"
_ATTACHMENT = "STRUCT<contentType: STRING, data: STRING, url: STRING, creation: STRING>"
_ID = "resourceType STRING, id STRING, meta STRUCT<lastUpdated: STRING>"


_SOURCES = {
    "encounters": SourceTable(
        "Encounter",
        resource=f"{_ID}, status STRING, class STRUCT<code: STRING>, priority {_CONCEPT}, "
        f"subject {_REFERENCE}, period {_PERIOD}, "
        f"hospitalization STRUCT<dischargeDisposition: {_CONCEPT}>",
    ),
    "documents": SourceTable(
        "DocumentReference",
        resource=f"{_ID}, status STRING, docStatus STRING, type {_CONCEPT}, subject {_REFERENCE}, "
        f"date STRING, content ARRAY<STRUCT<attachment: {_ATTACHMENT}>>, "
        f"context STRUCT<encounter: ARRAY<{_REFERENCE}>, period: {_PERIOD}>, "
        "relatesTo ARRAY<STRUCT<code: STRING>>",
        required=False,
    ),
    "reports": SourceTable(
        "DiagnosticReport",
        resource=f"{_ID}, status STRING, code {_CONCEPT}, subject {_REFERENCE}, "
        f"encounter {_REFERENCE}, effectiveDateTime STRING, effectivePeriod {_PERIOD}, "
        f"issued STRING, presentedForm ARRAY<{_ATTACHMENT}>",
        required=False,
    ),
    "patients": SourceTable(
        "Patient",
        resource=f"{_ID}, gender STRING, birthDate STRING, deceasedDateTime STRING",
    ),
}


def _coded(raw: Raw) -> Iterable[Coded]:
    code = _code(F.col("priority"), _PRIORITIES)
    yield Coded(raw["encounters"], code, _PRIORITIES, "data.folder: priority of Encounter")


def _select(raw: Raw, config: Config) -> dict[str, DataFrame]:
    zone = required(config.data.time_zone, "data.time_zone")
    people = patients(raw["patients"], zone)
    statuses = config.fhir.document_status
    found = [
        notes(select(raw[name], zone), statuses)
        for name, select in (("documents", _documents), ("reports", _reports))
        if name in raw
    ]
    if not found:
        raise UserError(
            f"{KEY}: it has neither DocumentReference*.ndjson nor DiagnosticReport*.ndjson"
        )
    every = reduce(DataFrame.unionByName, found)
    return {
        "admissions": admissions(raw["encounters"], people, config.fhir.classes, zone),
        "notes": without_repeats(every) if len(found) > 1 else every,
        "patients": people,
    }


def admissions(raw: DataFrame, people: DataFrame, classes: Sequence[str], zone: str) -> DataFrame:
    """Select ADMISSIONS. people: from `patients`. A death is one by the disposition, at the end of
    the stay, or by `deceasedDateTime`, within it."""
    stays = raw.select(
        "status",
        F.col("class.code").alias("class"),
        _id_in("subject.reference", "Patient").alias("SUBJECT_ID"),
        F.col("id").alias("HADM_ID"),
        wall_clock(F.col("period.start"), zone).alias("ADMITTIME"),
        wall_clock(F.col("period.end"), zone).alias("DISCHTIME"),
        meaning(_code(F.col("priority"), _PRIORITIES), _PRIORITIES).alias("KIND"),
        _codes(F.col("hospitalization.dischargeDisposition")).alias("LEFT"),
    )
    known = people.select("SUBJECT_ID", "DOB", "DEATH").dropDuplicates(["SUBJECT_ID"])
    left = discharge_of(F.col("LEFT"))
    died = left == "died"
    days = [F.substring(name, 1, _DAY) for name in ("ADMITTIME", "DISCHTIME")]
    in_stay = F.when(
        F.length("DEATH") > _DAY, F.col("DEATH").between(F.col("ADMITTIME"), F.col("DISCHTIME"))
    )
    in_stay = in_stay.otherwise((F.col("DEATH") >= days[0]) & (F.col("DEATH") < days[1]))
    born = (F.length("DOB") == _DAY) & F.col("ADMITTIME").startswith(F.col("DOB"))
    status, read = F.lower("status"), (*classes, *_OBSERVATION)
    return stays.join(known, "SUBJECT_ID", "left").select(
        "SUBJECT_ID",
        "HADM_ID",
        "ADMITTIME",
        "DISCHTIME",
        F.when(died, F.col("DISCHTIME")).when(in_stay, F.col("DEATH")).alias("DEATHTIME"),
        F.when(born, _NEWBORN).otherwise(F.col("KIND")).alias("ADMISSION_TYPE"),
        nothing("ETHNICITY"),
        nothing("INSURANCE"),
        F.when(F.col("KIND") == _PLANNED, "yes").when(F.col("KIND").isNotNull(), "no")
        .otherwise("unknown").alias("PLANNED"),
        F.when(born | (F.col("KIND") == _NEWBORN), "yes").alias("NEWBORN"),
        F.when(F.col("class").isin(*classes), "inpatient").otherwise("observation").alias("STAY"),
        left.alias("DISCHARGE_TO"),
        F.substring("DEATH", 1, _DAY).alias("DIED"),
        first_reason(
            {
                "other_class": ~F.coalesce(F.col("class").isin(*read), F.lit(False)),
                "other_status": ~F.coalesce(status.isin(*_IN_HOUSE, _ENDED), F.lit(False)),
                "finished_without_end": (status == _ENDED) & F.col("DISCHTIME").isNull(),
            }
        ),
    )  # fmt: skip


def _documents(raw: DataFrame, zone: str) -> DataFrame:
    """Select what `notes` needs of DocumentReference."""
    attachments = F.col("content.attachment")
    created = F.get(attachments, F.lit(0))["creation"]
    encounter = F.get(F.col("context.encounter"), F.lit(0))["reference"]
    return raw.select(
        F.col("id").alias("ROW_ID"),
        _id_in("subject.reference", "Patient").alias("SUBJECT_ID"),
        _id_in(encounter, "Encounter").alias("HADM_ID"),
        wall_clock(F.coalesce("context.period.start", created, "date"), zone).alias("CHARTED"),
        wall_clock(F.coalesce("date", created, "meta.lastUpdated"), zone).alias("STORETIME"),
        _category(F.col("type")).alias("CATEGORY"),
        F.when(F.exists("relatesTo.code", lambda code: code == "appends"), "Addendum").alias(
            "DESCRIPTION"
        ),
        text_of(attachments).alias("READ"),
        F.lower("status").alias("status"),
        F.lower("docStatus").alias("docStatus"),
        F.lit(False).alias("is_report"),
    )


def _reports(raw: DataFrame, zone: str) -> DataFrame:
    """Select what `notes` needs of DiagnosticReport."""
    charted = F.coalesce("effectiveDateTime", "effectivePeriod.start", "issued")
    return raw.select(
        F.col("id").alias("ROW_ID"),
        _id_in("subject.reference", "Patient").alias("SUBJECT_ID"),
        _id_in("encounter.reference", "Encounter").alias("HADM_ID"),
        wall_clock(charted, zone).alias("CHARTED"),
        wall_clock(F.coalesce("issued", "meta.lastUpdated"), zone).alias("STORETIME"),
        _category(F.col("code")).alias("CATEGORY"),
        nothing("DESCRIPTION"),
        text_of(F.col("presentedForm")).alias("READ"),
        nothing("status"),
        F.lower("status").alias("docStatus"),
        F.lit(True).alias("is_report"),
    )


def notes(rows: DataFrame, statuses: Sequence[str]) -> DataFrame:
    """Select NOTEEVENTS, FORM and is_report."""
    current = F.col("is_report") | F.coalesce(F.col("status").isin(*statuses), F.lit(False))
    final = F.coalesce(F.col("docStatus").isin(*_FINAL), ~F.col("is_report"))
    return rows.select(
        "ROW_ID",
        "SUBJECT_ID",
        "HADM_ID",
        F.substring("CHARTED", 1, _DAY).alias("CHARTDATE"),
        F.when(F.length("CHARTED") > _DAY, F.col("CHARTED")).alias("CHARTTIME"),
        "STORETIME",
        "CATEGORY",
        "DESCRIPTION",
        nothing("ISERROR"),
        F.col("READ.text").alias("TEXT"),
        F.col("READ.form").alias(FORM),
        first_reason(
            {
                "other_status": ~current,
                "not_final": ~final,
                **{reason: F.col("READ.reason") == reason for reason in TEXT_REASONS},
            }
        ),
        "is_report",
    )


def without_repeats(rows: DataFrame) -> DataFrame:
    """Leave out the reports whose text a document of the same admission has."""
    same = Window.partitionBy(F.coalesce("HADM_ID", "ROW_ID"), F.sha2("TEXT", 256))
    is_document = ~F.col("is_report") & F.col(LEFT_OUT).isNull()
    repeats = F.col("is_report") & F.max(is_document).over(same)
    reason = F.coalesce(LEFT_OUT, F.when(repeats, "also_a_document"))
    return rows.withColumn(LEFT_OUT, reason)


def patients(raw: DataFrame, zone: str) -> DataFrame:
    """Select PATIENTS, and DEATH: the time of death."""
    death = wall_clock(F.col("deceasedDateTime"), zone)
    return raw.select(
        F.col("id").alias("SUBJECT_ID"),
        meaning(F.col("gender"), {"female": "F", "male": "M"}).alias("GENDER"),
        F.col("birthDate").alias("DOB"),
        F.substring(death, 1, 10).alias("DOD"),
        death.alias("DEATH"),
        kept(),
    )


def _id_in(reference: Column | str, kind: str) -> Column:
    """Return the id in a reference such as Patient/12 or https://server/Patient/12/_history/1."""
    text = F.col(reference) if isinstance(reference, str) else reference
    found = F.regexp_extract(text, rf"(?:^|/){kind}/([A-Za-z0-9.-]{{1,64}})(?:/_history/.*)?$", 1)
    return F.when(found != "", found)


def _codes(concept: Column) -> Column:
    return F.transform(concept["coding"], lambda coding: F.lower(coding["code"]))


def _code(concept: Column, meanings: Mapping[str, str | None]) -> Column:
    """Return the first code that has a meaning, else the first one."""
    codes = F.transform(concept["coding"], lambda coding: F.upper(coding["code"]))
    known = F.filter(codes, lambda code: code.isin(*meanings))
    return F.coalesce(F.get(known, F.lit(0)), F.get(codes, F.lit(0)))


def _category(concept: Column) -> Column:
    """Return the CATEGORY of a LOINC code, else the kind of note in the words of the source."""
    loinc = F.filter(
        concept["coding"],
        lambda coding: (coding["system"] == _LOINC) & coding["code"].isin(*_CATEGORIES),
    )
    known = meaning(F.get(loinc, F.lit(0))["code"], dict(_CATEGORIES))
    displays = F.filter(concept["coding"]["display"], F.isnotnull)
    return F.coalesce(known, concept["text"], F.get(displays, F.lit(0)))


FHIR = Format(
    "fhir",
    _SOURCES,
    {
        "admissions": ("encounters",),
        "notes": ("documents", "reports"),
        "patients": ("patients",),
    },
    _coded,
    _select,
    needs_zone=True,
    check=check_readable,
)
