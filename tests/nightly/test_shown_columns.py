"""Columns that a hospital adds to the list: from ADMISSIONS or from a table of tonight's places."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.nightly.shown_columns import shown_columns
from readmit_spark.storage.ward_actions import read_actions

ADMISSIONS = """SUBJECT_ID,HADM_ID,ADMITTIME,Ward
1,11,2020-01-01, 3B
2,21,2020-01-01,
3,31,2020-01-01,5A
"""
PLACES = "hadm_id,BED\n11,7\n11,7\n31,8\n31,9\n"

ACTIONS = """HADM_ID,TIME,ACTION
11,2020-01-02 09:00:00,seen
11,2020-01-02 10:00:00,Acted
11,2020-01-03 09:00:00,wrong
99,2020-01-02 10:00:00,seen
"""


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ((), {}),
        (("nightly.columns=[WARD]",), {11: {"WARD": "3B"}, 21: {}}),
        (("nightly.actions={0}/actions.csv",), {11: {"action": "acted"}}),
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
        (("nightly.columns=[Action]",), "Action: the list has a column of this name"),
        (
            ("nightly.actions={0}/places.csv",),
            "nightly.actions: .* lacks the columns TIME, ACTION",
        ),
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
    (folder / "actions.csv").write_text(ACTIONS)
    config = load_config(overrides=[f"data.admissions={folder}/ADMISSIONS.csv", *given])
    house = spark.createDataFrame([(hadm,) for hadm in in_house], "hadm_id long")
    return shown_columns(spark, config, house, datetime(2020, 1, 3, 2))


def test_an_action_that_means_nothing_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "HADM_ID,TIME,ACTION\n1,2020-01-02,called\n2,soon,seen\n3,2020-01-02,acted\n"
    )
    config = load_config(overrides=[f"nightly.actions={tmp_path}/a.csv"])
    with pytest.raises(UserError, match=r"2 rows of .* an ACTION other than seen, acted, wrong"):
        read_actions(spark, config)
