"""Who an admission is: sex, age, ethnicity, insurance and type, from tables as they come."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from readmit_spark.notes.demographics import subgroups_table
from readmit_spark.storage.input_tables import read_demographics, read_patients
from tests.tables_in import stay, write_csv

pytestmark = pytest.mark.spark4

TYPES = ("emergency", "urgent")
# hadm, ethnicity, insurance, gender, born, expected
ROWS = [
    (10, "WHITE - RUSSIAN", "Medicare", "F", "1950-05-05 00:00:00",
     ("female", "65 to 79", "white", "medicare")),
    (20, "BLACK/AFRICAN AMERICAN", "Private", "M", "1975-01-01 00:00:00",
     ("male", "45 to 64", "black", "private")),  # 45 on the day of admission
    (30, "HISPANIC/LATINO - CUBAN", "Medicaid", "M", "1975-01-02 00:00:00",
     ("male", "18 to 44", "hispanic", "medicaid")),
    (40, "ASIAN - CHINESE", "Self Pay", "F", "1720-01-01 00:00:00",
     ("female", "80 and over", "asian", "self pay")),  # over 89, as MIMIC-III writes it
    (50, "UNABLE TO OBTAIN", None, None, None, ("unknown", "unknown", "unknown", "unknown")),
    (60, "MULTI RACE ETHNICITY", "Medicare", "F", "2010-01-01 00:00:00",
     ("female", "under 18", "other", "medicare")),
    (70, None, "Medicare", "F", "2021-01-01 00:00:00",
     ("female", "unknown", "unknown", "medicare")),  # born after the admission
    (80, "zqx", "Son pays, zqx", None, None, ("unknown", "unknown", "other", "other")),
]  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("people")
    stays = [
        {**stay(hadm // 10, hadm, "2020-01-01", "2020-01-04"),
         "ETHNICITY": ethnicity, "INSURANCE": insurance}
        for hadm, ethnicity, insurance, *_ in ROWS
    ]  # fmt: skip
    people = [
        {"SUBJECT_ID": str(hadm // 10), "GENDER": gender, "DOB": born}
        for hadm, _, _, gender, born, _ in ROWS
    ]
    return (
        write_csv(folder / "ADMISSIONS.csv", [*stays, stays[0]]),  # one delivered twice
        write_csv(folder / "PATIENTS.csv", people),
    )


def cohort(spark: SparkSession):  # type: ignore[no-untyped-def]
    rows = [
        (hadm // 10, hadm, datetime(2020, 1, 1, 12), "ZQX" if hadm == 80 else "EMERGENCY")
        for hadm, *_ in ROWS
    ]
    return spark.createDataFrame(
        rows, "subject_id long, hadm_id long, admittime timestamp, admission_type string"
    )


def discharges(spark: SparkSession) -> DataFrame:
    rows = [(10, "against_advice"), (20, None), (None, "home")]
    return spark.createDataFrame(rows, "hadm_id long, discharge_to string")


def test_groups_of_each_admission(spark: SparkSession, paths: tuple[str, str]) -> None:
    table = subgroups_table(
        cohort(spark),
        read_demographics(spark, paths[0]),
        read_patients(spark, paths[1]),
        TYPES,
        discharges(spark),
    )
    groups = {row[0]: tuple(row[1:]) for row in table.collect()}
    assert groups == {
        hadm: (
            *expected,
            "other" if hadm == 80 else "emergency",
            "against advice" if hadm == 10 else "unknown",
        )
        for hadm, *_, expected in ROWS
    }
    assert table.count() == len(ROWS)


def test_without_patients_sex_and_age_are_unknown(
    spark: SparkSession, paths: tuple[str, str], tmp_path: Path
) -> None:
    plain = write_csv(tmp_path / "A.csv", [stay(1, 10, "2020-01-01", "2020-01-04")])
    people = read_demographics(spark, plain)
    table = subgroups_table(cohort(spark), people, None, TYPES, discharges(spark))
    row = table.where("hadm_id = 10").first()
    assert row is not None and tuple(row)[1:5] == ("unknown",) * 4
