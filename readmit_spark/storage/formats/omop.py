"""OMOP CDM 5.3 and 5.4: VISIT_OCCURRENCE, NOTE, PERSON, and where there are DEATH and CDM_SOURCE.

OMOP has no time at which a note could be read, and a visit without an end has the date of the data
pull instead. So its tables serve for all but nights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.storage.formats.shape import (
    Coded,
    Format,
    Raw,
    SourceTable,
    first_reason,
    kept,
    meaning,
    nothing,
)
from readmit_spark.storage.formats.times import two_digits

# Emergency room and inpatient: the one concept that says whether a visit was planned.
_THROUGH_EMERGENCY = "262"
_SUMMARY, _RADIOLOGY = "44814637", "44814641"  # of NOTE_TYPE_CONCEPT_ID
_GENDERS = {"8507": "M", "8532": "F"}
_OBSERVATION = ("581385",)  # of VISIT_CONCEPT_ID
# Concepts of dispositions. Every other one is `other`; 0 says nothing.
_DISCHARGES = {
    "4216643": "died", "581476": "home", "8536": "home", "8863": "facility", "38004285": "facility",
    "8971": "facility", "38004279": "acute", "8717": "acute", "8546": "hospice",
    "40482021": "against_advice",
}  # fmt: skip
_MIDNIGHT = " 00:00:00"
_DAY = len("2101-01-01")

_SOURCES = {
    "visits": SourceTable(
        "visit_occurrence",
        ("VISIT_OCCURRENCE_ID", "PERSON_ID", "VISIT_CONCEPT_ID", "VISIT_START_DATE",
         "VISIT_END_DATE"),
        ("VISIT_START_DATETIME", "VISIT_END_DATETIME", "DISCHARGED_TO_CONCEPT_ID",
         "DISCHARGE_TO_CONCEPT_ID"),
    ),
    "notes": SourceTable(
        "note",
        ("NOTE_ID", "PERSON_ID", "NOTE_DATE", "NOTE_TEXT", "VISIT_OCCURRENCE_ID"),
        ("NOTE_DATETIME", "NOTE_TYPE_CONCEPT_ID", "NOTE_TITLE", "NOTE_SOURCE_VALUE"),
    ),
    "persons": SourceTable(
        "person",
        ("PERSON_ID", "GENDER_CONCEPT_ID", "YEAR_OF_BIRTH"),
        ("MONTH_OF_BIRTH", "DAY_OF_BIRTH", "RACE_SOURCE_VALUE"),
    ),
    "deaths": SourceTable(
        "death", ("PERSON_ID", "DEATH_DATE"), ("DEATH_DATETIME",), required=False
    ),
    "source": SourceTable("cdm_source", (), ("SOURCE_RELEASE_DATE",), required=False),
}  # fmt: skip


def _coded(raw: Raw) -> Iterable[Coded]:
    return ()


def _select(raw: Raw, config: Config) -> dict[str, DataFrame]:
    persons = with_deaths(raw["persons"], raw.get("deaths"))
    released = None
    if "source" in raw:
        released = raw["source"].agg(F.max("SOURCE_RELEASE_DATE")).collect()[0][0]
    return {
        "admissions": admissions(raw["visits"], persons, config.omop.visit_concepts, released),
        "notes": notes(raw["notes"]),
        "patients": patients(persons),
    }


def with_deaths(persons: DataFrame, deaths: DataFrame | None) -> DataFrame:
    """Add DIED, the time or day of death, or null, to PERSON."""
    if deaths is None:
        return persons.withColumn("DIED", nothing("DIED"))
    died = _time("DEATH_DATETIME", "DEATH_DATE")
    first = deaths.groupBy("PERSON_ID").agg(F.min(died).alias("DIED"))
    return persons.join(first, "PERSON_ID", "left")


def admissions(
    visits: DataFrame, persons: DataFrame, concepts: Sequence[str], released: str | None
) -> DataFrame:
    """Select ADMISSIONS of these visit concepts. released: the day of the data pull, which stands
    for an end that has not come; None: not known. A death is one by the disposition, or on a day
    of the stay."""
    people = persons.select("PERSON_ID", "DIED", "RACE_SOURCE_VALUE", _born().alias("DOB"))
    end = _time("VISIT_END_DATETIME", "VISIT_END_DATE")
    if released is not None:
        end = F.when(F.col("VISIT_END_DATE") < released, end)
    start = _time("VISIT_START_DATETIME", "VISIT_START_DATE")
    stays = visits.withColumns({"ADMITTIME": start, "DISCHTIME": end})
    days = [F.substring(name, 1, _DAY) for name in ("ADMITTIME", "DISCHTIME", "DIED")]
    left = F.coalesce("DISCHARGED_TO_CONCEPT_ID", "DISCHARGE_TO_CONCEPT_ID")
    known = meaning(left, _DISCHARGES)
    died = (known == "died") | days[2].between(days[0], days[1])
    at = F.when(F.length("DIED") > _DAY, F.least("DIED", "DISCHTIME"))
    inpatient = _is_one_of("VISIT_CONCEPT_ID", concepts)
    kind = F.when(F.col("VISIT_CONCEPT_ID") == _THROUGH_EMERGENCY, "EMERGENCY")
    return stays.join(people, "PERSON_ID", "left").select(
        F.col("PERSON_ID").alias("SUBJECT_ID"),
        F.col("VISIT_OCCURRENCE_ID").alias("HADM_ID"),
        "ADMITTIME",
        "DISCHTIME",
        F.when(died, F.coalesce(at, "DISCHTIME")).alias("DEATHTIME"),
        F.when(days[0] == F.col("DOB"), "NEWBORN").otherwise(kind).alias("ADMISSION_TYPE"),
        F.col("RACE_SOURCE_VALUE").alias("ETHNICITY"),
        nothing("INSURANCE"),
        F.when(kind.isNotNull(), "no").otherwise("unknown").alias("PLANNED"),
        F.when(days[0] == F.col("DOB"), "yes").alias("NEWBORN"),
        F.when(inpatient, "inpatient").otherwise("observation").alias("STAY"),
        F.coalesce(known, F.when(left != "0", "other")).alias("DISCHARGE_TO"),
        days[2].alias("DIED"),
        first_reason({"other_visit": ~inpatient & ~_is_one_of("VISIT_CONCEPT_ID", _OBSERVATION)}),
    )


def notes(raw: DataFrame) -> DataFrame:
    """Select NOTEEVENTS. A time of midnight is a day."""
    time = _time("NOTE_DATETIME", "NOTE_DATE")
    own = F.coalesce("NOTE_SOURCE_VALUE", "NOTE_TITLE")
    known = meaning(
        F.col("NOTE_TYPE_CONCEPT_ID"), {_SUMMARY: "Discharge summary", _RADIOLOGY: "Radiology"}
    )
    return raw.select(
        F.col("NOTE_ID").alias("ROW_ID"),
        F.col("PERSON_ID").alias("SUBJECT_ID"),
        F.col("VISIT_OCCURRENCE_ID").alias("HADM_ID"),
        F.col("NOTE_DATE").alias("CHARTDATE"),
        F.when(F.length(time) > _DAY, time).alias("CHARTTIME"),
        nothing("STORETIME"),
        F.coalesce(known, own).alias("CATEGORY"),
        nothing("DESCRIPTION"),
        nothing("ISERROR"),
        F.col("NOTE_TEXT").alias("TEXT"),
        kept(),
    )


def patients(persons: DataFrame) -> DataFrame:
    """Select PATIENTS. A month of birth that is missing is July, a day the first."""
    year, month, day = F.col("YEAR_OF_BIRTH"), F.col("MONTH_OF_BIRTH"), F.col("DAY_OF_BIRTH")
    birth = F.concat_ws(
        "-", year, two_digits(F.coalesce(month, F.lit("7"))), two_digits(_or_first(day))
    )
    return persons.select(
        F.col("PERSON_ID").alias("SUBJECT_ID"),
        meaning(F.col("GENDER_CONCEPT_ID"), _GENDERS).alias("GENDER"),
        F.when(year.isNotNull(), birth).alias("DOB"),
        F.substring("DIED", 1, _DAY).alias("DOD"),
        kept(),
    )


def _born() -> Column:
    """Return the day of birth, or null if only the year or month is known."""
    month, day = F.col("MONTH_OF_BIRTH"), F.col("DAY_OF_BIRTH")
    return F.when(
        month.isNotNull() & day.isNotNull(),
        F.concat_ws("-", "YEAR_OF_BIRTH", two_digits(month), two_digits(day)),
    )


def _time(datetime: str, date: str) -> Column:
    """Return the time; the day alone where the time is missing or midnight."""
    known = F.col(datetime).isNotNull() & ~F.col(datetime).endswith(_MIDNIGHT)
    return F.when(known, F.col(datetime)).otherwise(F.col(date))


def _or_first(day: Column) -> Column:
    return F.coalesce(day, F.lit("1"))


def _is_one_of(column: str, concepts: Sequence[str]) -> Column:
    return F.coalesce(F.col(column).isin(*concepts), F.lit(False))


OMOP = Format(
    "omop",
    _SOURCES,
    {"admissions": ("visits",), "notes": ("notes",), "patients": ("persons",)},
    _coded,
    _select,
)
