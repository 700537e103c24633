"""Ids are whole numbers of 64 bits, in every way that programs write them."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.ids import whole_number

pytestmark = pytest.mark.spark4

FORMS = {
    "100001": 100001,
    "100001.0": 100001,
    "7.": 7,
    " 7\u00a0\t": 7,
    "007": 7,
    "+7": 7,
    "-7": -7,
    "0": 0,
    "29079101": 29079101,
    "9223372036854775807": 2**63 - 1,
    "-9223372036854775808": -(2**63),
    "00000000000000000000000000012": 12,
    # not whole numbers of 64 bits
    "9223372036854775808": None,
    "-9223372036854775809": None,
    "99999999999999999999": None,
    "7.5": None,
    "2.9079101E7": None,
    "7 8": None,
    "A7": None,
    "-": None,
    "": None,
    "0x10": None,
}


def test_the_forms_of_an_id(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(text,) for text in [*FORMS, None]], "HADM_ID string")
    read = {
        row[0]: row[1] for row in frame.select("HADM_ID", whole_number(frame, "HADM_ID")).collect()
    }
    assert read == {**FORMS, None: None}


def test_numbers_of_parquet_are_taken_as_they_are(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(-(2**63),), (None,)], "HADM_ID long")
    assert [row[0] for row in frame.select(whole_number(frame, "HADM_ID")).collect()] == [
        -(2**63),
        None,
    ]
