"""Ids are whole numbers of 64 bits, in every way that programs write them."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from readmit_spark.storage.column_values import id_texts, parse_columns
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


# Value -> the text that is an id, and the number that stands for it where that is known.
TEXTS: dict[str, tuple[str | None, int | None]] = {
    "A0012": ("A0012", -8851922125125876069),
    " A0012\t": ("A0012", -8851922125125876069),
    "a0012": ("a0012", 0),
    "0012": ("0012", 0),  # another patient than 12
    "12": ("12", 12),
    "12.0": ("12", 12),
    "-12": ("-12", -12),
    "99999999999999999999": ("99999999999999999999", 0),
    "d3b07384-d9a0-4c9b-8f3e-1f0c2b7a9e55": ("d3b07384-d9a0-4c9b-8f3e-1f0c2b7a9e55", 0),
    "Müller 7": ("Müller 7", 0),
    "2.9079101E7": (None, None),
    "=A1": (None, None),
    "two\nlines": (None, None),
    "x" * 65: (None, None),
    "NULL": (None, None),
    "": (None, None),
}


def test_the_forms_of_a_text_id(spark: SparkSession) -> None:
    given = [(text, text) for text in [*TEXTS, None]]
    frame = spark.createDataFrame(given, "HADM_ID string, G string")
    rows = parse_columns(frame, {"HADM_ID": "text_id"}, frame["G"].alias("given")).collect()
    texts = {row.id: row.text for row in id_texts(frame, ["HADM_ID"]).collect()}
    assert set(texts.values()) == {text for text, _ in TEXTS.values() if text}
    for row in rows:
        text, number = TEXTS.get(row.given, (None, None))
        assert texts.get(row.hadm_id) == text
        if number or number is None:
            assert row.hadm_id == number
    unread = [row.given for row in rows if row.unread.hadm_id]
    assert unread == ["2.9079101E7", "=A1", "two\nlines", "x" * 65]
