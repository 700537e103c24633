"""Single values: what is read, what is missing and what is there and not understood."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.storage.column_values import Kind, code, parse_columns

pytestmark = pytest.mark.spark4

UNREAD = "unread"
MISSING = [
    None, "", "  ", "NULL", "null", "\\N", "NaT", "nan", "NaN", " None ", "<NA>", "N/A", "(null)",
    "\tNULL\u00a0", "\ufeff",
]  # fmt: skip
TIMES: dict[str, Any] = {
    "2101-10-20 19:08:00": datetime(2101, 10, 20, 19, 8),
    "2101-10-20T19:08:00.25": datetime(2101, 10, 20, 19, 8, 0, 250_000),
    "2101-10-20 19:08:00.123456789": datetime(2101, 10, 20, 19, 8, 0, 123_456),
    "2101-10-20 19:08": datetime(2101, 10, 20, 19, 8),
    "2101-10-20T19:08": datetime(2101, 10, 20, 19, 8),
    "\ufeff 2101-10-20 19:08:00\t": datetime(2101, 10, 20, 19, 8),
    "2024-03-10 02:30:00": datetime(2024, 3, 10, 2, 30),  # no such hour in New York
    "2101-10-20": datetime(2101, 10, 20),
    "1971-01-01 00:00:00": datetime(1971, 1, 1),
    "2299-12-31 23:59:59": datetime(2299, 12, 31, 23, 59, 59),
    **dict.fromkeys(
        (
            "2101", "2101-10", "2101-02-30 10:00:00", "2101-10-20 25:00:00", "2101-10-20 24:00:00",
            "2101-10-20 23:59:60", "20/10/2101 10:00:00", "01/05/2150", "2101/10/20 10:00:00",
            "2101-10-20 07:08:00 PM", "2101-10-20 19", "2101-10-20 19:08:00 UTC",
            "2101-10-20T19:08:00Z", "2101-10-20T19:08:00+01:00", "20-OCT-01", "yesterday", "0",
            "4134567890", "2101-10-20 ", "1970-01-01 00:00:00", "1900-01-01", "0001-01-01 00:00:00",
            "2101-10-20 19:08:00.1234567890",
        ),
        UNREAD,
    ),
    "2101-10-20 ": datetime(2101, 10, 20),
    "9999-12-31 00:00:00": "placeholder",
    "2300-01-01": "placeholder",
    **dict.fromkeys((text for text in MISSING if text is not None), None),
}  # fmt: skip
FLAGS: dict[str, Any] = {
    **dict.fromkeys(("1", "01", "1.00", "1.0", "-1", "2", "+1", ".5", "t", "T", "true", "TRUE",
                     "True", "y", "Y", "yes", " Yes\t", "\u00a01"), True),
    **dict.fromkeys(("0", "00", "0.0", "-0", "f", "F", "false", "False", "n", "no", "NO"), False),
    **dict.fromkeys(("x", "error", "1a", "yes!", "1,0", "-", "2101-10-20"), UNREAD),
    **dict.fromkeys((text for text in MISSING if text is not None), None),
}  # fmt: skip


def texts(spark: SparkSession, values: Sequence[str | None]) -> DataFrame:
    return spark.createDataFrame(list(enumerate(values)), "i int, X string").repartition(2)


def read(frame: DataFrame, kind: Kind, name: str = "X", zone: str | None = None) -> list[Any]:
    """Return each value: itself, `unread` or `placeholder`. Times as text, the machine's own zone
    would shift them."""
    table = parse_columns(frame, {name: kind}, frame["i"], time_zone=zone)
    later = F.col("placeholder")[name.lower()] if kind == "end_time" else F.lit(False)
    marks = F.col("unread")[name.lower()].alias("unread"), later.alias("later")
    rows = sorted(table.select("i", F.col(name).cast("string").alias("value"), *marks).collect())
    assert not any((row.unread or row.later) and row.value is not None for row in rows)
    return [UNREAD if r.unread else "placeholder" if r.later else r.value for r in rows]


def shown(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        text = str(value)
        return text.rstrip("0") if "." in text else text
    return value


def test_times_that_may_be_yet_to_come(spark: SparkSession) -> None:
    frame = texts(spark, list(TIMES))
    found = dict(zip(TIMES, read(frame, "end_time", "X"), strict=True))
    assert found == {text: shown(value) for text, value in TIMES.items()}


def test_other_times_and_dates(spark: SparkSession) -> None:
    cases = ["9999-12-31", "2101-10-20 19:08:00", "2101-10-20", "2101-10-20T23:30", "2101-10-20x"]
    frame = texts(spark, cases)
    assert read(frame, "time", "X") == [
        UNREAD, "2101-10-20 19:08:00", "2101-10-20 00:00:00", "2101-10-20 23:30:00", UNREAD,
    ]  # fmt: skip
    # Notes: a date alone tells that a note was there at the end of that day.
    assert read(frame, "note_time", "X") == [
        UNREAD, "2101-10-20 19:08:00", "2101-10-20 23:59:59.999999", "2101-10-20 23:30:00", UNREAD,
    ]  # fmt: skip
    assert read(frame, "date", "X") == [
        UNREAD, "2101-10-20", "2101-10-20", "2101-10-20", UNREAD,
    ]  # fmt: skip


# As text -> on the wall clock of Amsterdam.
INSTANTS: dict[str, Any] = {
    "2150-01-01T11:00:00Z": datetime(2150, 1, 1, 12),
    "2150-07-01T10:00:00.5z": datetime(2150, 7, 1, 12, 0, 0, 500_000),
    "2150-01-01 12:00:00+01:00": datetime(2150, 1, 1, 12),
    "2150-01-01 12:00:00.123456789+0100": datetime(2150, 1, 1, 12, 0, 0, 123_456),
    "2150-01-01 12:00:00+01": datetime(2150, 1, 1, 12),
    "2150-01-01 16:45+05:45": datetime(2150, 1, 1, 12),
    "2150-01-01 01:00:00 -05:00": datetime(2150, 1, 1, 7),
    "2150-01-01 11:00:00 UTC": datetime(2150, 1, 1, 12),
    "2149-12-31T23:30:00Z": datetime(2150, 1, 1, 0, 30),
    "2150-01-01 12:00:00": datetime(2150, 1, 1, 12),  # on the wall clock already
    "2150-01-01": datetime(2150, 1, 1),
    "2024-10-27T00:30:00Z": datetime(2024, 10, 27, 2, 30),  # two instants have this time
    "2024-10-27T01:30:00Z": datetime(2024, 10, 27, 2, 30),
    "9999-12-31T00:00:00Z": UNREAD,
    **dict.fromkeys(("2150-01-01Z", "2150-01-01T12:00:00 CET", "2150-01-01T12:00:00+19:00",
                     "2150-02-30T12:00:00Z", "2150-01-01T12:00:00+1"), UNREAD),
    "NULL": None,
}  # fmt: skip


def test_instants_become_the_wall_clock_of_the_zone(spark: SparkSession) -> None:
    frame = texts(spark, list(INSTANTS))
    found = dict(zip(INSTANTS, read(frame, "time", zone="Europe/Amsterdam"), strict=True))
    assert found == {text: shown(value) for text, value in INSTANTS.items()}
    frame = texts(spark, ["2149-12-31T23:30:00Z", "9999-12-31T00:00:00Z"])
    assert read(frame, "date", zone="Europe/Amsterdam") == ["2150-01-01", UNREAD]
    late = read(frame, "end_time", zone="Europe/Amsterdam")
    assert late == ["2150-01-01 00:30:00", "placeholder"]


def test_flags_in_the_ways_that_databases_write_them(spark: SparkSession) -> None:
    frame = texts(spark, list(FLAGS))
    found = dict(zip(FLAGS, read(frame, "flag", "X"), strict=True))
    assert found == {text: shown(value) for text, value in FLAGS.items()}


def test_codes_in_one_spelling(spark: SparkSession) -> None:
    cases = {
        "Discharge summary": "DISCHARGE SUMMARY",
        "discharge\u00a0summary": "DISCHARGE SUMMARY",
        " Discharge \t  SUMMARY ": "DISCHARGE SUMMARY",
        "\ufeffDischarge\u2003summary\u200b": "DISCHARGE SUMMARY",
        "Nursing/other": "NURSING/OTHER",
        **dict.fromkeys((text for text in MISSING if text is not None), None),
    }
    frame = texts(spark, list(cases))
    rows = sorted(frame.select("i", code(frame, "X").alias("code")).collect())
    assert dict(zip(cases, [row.code for row in rows], strict=True)) == cases


def test_the_types_of_parquet_mean_what_their_text_means(
    spark: SparkSession, tmp_path: Path
) -> None:
    noon, day = datetime(2101, 10, 20, 12), date(2101, 10, 20)
    columns = {
        "us": pa.array([noon, None, datetime(9999, 12, 31)], pa.timestamp("us")),
        "day": pa.array([day, None, date(1900, 1, 1)], pa.date32()),
        "flag": pa.array([True, None, False], pa.bool_()),
        "int": pa.array([1, None, 0], pa.int64()),
        "double": pa.array([1.0, None, float("nan")], pa.float64()),
        "decimal": pa.array([1, None, 0], pa.decimal128(5, 2)),
    }
    pq.write_table(pa.table({"i": [0, 1, 2], **columns}), tmp_path / "x.parquet")
    frame = spark.read.parquet(str(tmp_path / "x.parquet"))
    assert read(frame, "end_time", "us") == [str(noon), None, "placeholder"]
    assert read(frame, "time", "us") == [str(noon), None, UNREAD]
    assert read(frame, "time", "day") == [f"{day} 00:00:00", None, UNREAD]
    assert read(frame, "date", "day") == [str(day), None, UNREAD]
    assert read(frame, "note_time", "day")[0] == ("2101-10-20 23:59:59.999999")
    for name in ("flag", "int", "decimal"):
        assert read(frame, "flag", name) == ["true", None, "false"], name
    assert read(frame, "flag", "double") == ["true", None, None]
