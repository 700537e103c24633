"""Columns that a hospital adds to the list: from ADMISSIONS or from a table of tonight's places."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.nightly.shown_columns import shown_columns

ADMISSIONS = """SUBJECT_ID,HADM_ID,ADMITTIME,Ward
1,11,2020-01-01, 3B
2,21,2020-01-01,
3,31,2020-01-01,5A
"""
PLACES = "hadm_id,BED\n11,7\n11,7\n31,8\n31,9\n"


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ((), {}),
        (("nightly.columns=[WARD]",), {11: {"WARD": "3B"}, 21: {}}),
        (("nightly.columns=[bed]", "nightly.columns_table={0}/places.csv"), {11: {"bed": "7"}}),
    ],
)
def test_values_of_the_patients_in_the_house(
    spark: SparkSession, tmp_path: Path, keys: tuple[str, ...], shown: dict[int, dict[str, str]]
) -> None:
    assert read(spark, tmp_path, [11, 21], *keys) == shown


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("nightly.columns=[BED]",), "lacks the columns BED; it has SUBJECT_ID"),
        (("nightly.columns=[Rank]",), "Rank: the list has a column of this name"),
        (("nightly.columns=[WARD, ward]",), "lists a column twice"),
        (
            ("nightly.columns=[BED]", "nightly.columns_table={0}/places.csv"),
            "1 further rows of patients in the house that differ in BED",
        ),
    ],
)
def test_what_would_be_wrong_is_refused(
    spark: SparkSession, tmp_path: Path, keys: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(spark, tmp_path, [11, 31], *keys)


def read(
    spark: SparkSession, folder: Path, in_house: list[int], *keys: str
) -> dict[int, dict[str, str]]:
    (folder / "ADMISSIONS.csv").write_text(ADMISSIONS)
    (folder / "places.csv").write_text(PLACES)
    given = [key.format(folder) for key in keys]
    config = load_config(overrides=[f"data.admissions={folder}/ADMISSIONS.csv", *given])
    house = spark.createDataFrame([(hadm,) for hadm in in_house], "hadm_id long")
    return shown_columns(spark, config, house)
