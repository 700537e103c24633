"""From the path of a table to its columns: which files, which names, and what types mean."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.storage.check_csv import expected_records
from readmit_spark.storage.input_files import find_files
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.table_source import read_columns

pytestmark = pytest.mark.spark4

# Odd seconds and microseconds after 2116, where a division in doubles is no longer exact.
ODD = datetime(2150, 1, 4, 23, 30, 1, 123457)
NOON = datetime(2150, 1, 1, 12, 0, 3)
CSV = b"HADM_ID,TEXT\n1,a\n"


def rows(spark: SparkSession, path: Any, *columns: str, **reading: Any) -> list[tuple[Any, ...]]:
    """The rows without `malformed`, sorted."""
    asked = Reading(**reading)
    frame = read_columns(spark, str(path), "data.notes", columns, reading=asked)
    return sorted((tuple(row)[:-1] for row in frame.collect()), key=str)


def parquet(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


# --- types of Parquet -----------------------------------------------------------------------------


def test_every_unit_of_time_is_read_to_the_microsecond(spark: SparkSession, tmp_path: Path) -> None:
    before_1970 = datetime(1931, 5, 6, 7, 8, 9, 999999)
    wall_clock = {
        unit: pa.array([NOON, ODD, before_1970, None], pa.timestamp(unit)) for unit in ("ns", "us")
    }
    path = parquet(
        tmp_path / "t.parquet", ADMITTIME=wall_clock["ns"], DISCHTIME=wall_clock["us"],
        DEATHTIME=pa.array([NOON] * 4, pa.timestamp("ms")),
    )  # fmt: skip
    read = rows(spark, path, "ADMITTIME", "DISCHTIME", "DEATHTIME")
    assert read == [
        (None, None, NOON),
        (before_1970, before_1970, NOON),
        (NOON, NOON, NOON),
        (ODD, ODD, NOON),
    ]


@pytest.mark.parametrize(
    ("unit", "count"),
    [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)],
)
def test_whole_numbers_are_times_in_the_unit_of_the_key(
    spark: SparkSession, tmp_path: Path, unit: str, count: int
) -> None:
    noon = int(pa.scalar(NOON, pa.timestamp("s")).value)  # seconds since 1970
    path = parquet(
        tmp_path / "t.parquet",
        CHARTTIME=pa.array([noon * count, None, 2**63 - 1]),
        CHARTDATE=pa.array([float(noon * count), None, float("nan")]),
    )
    with pytest.raises(UserError, match=r"CHART\w+ of .*t.parquet is .*set data.integer_times"):
        rows(spark, path, "CHARTTIME", "CHARTDATE")
    read = rows(spark, path, "CHARTTIME", "CHARTDATE", integer_times=unit)
    noon_text = "2150-01-01 12:00:03.000000"
    assert (noon_text, noon_text) in read and (None, None) in read
    # Too large for the unit: not a time, and so counted as not understood.
    assert unit == "nanoseconds" or (str(2**63 - 1), "NaN") in read


def test_instants_become_the_wall_clock_of_the_hospital(
    spark: SparkSession, tmp_path: Path
) -> None:
    instants = pa.array([datetime(2150, 1, 2, 2, 0, 1), None], pa.timestamp("ns", "Asia/Tokyo"))
    path = parquet(tmp_path / "t.parquet", CHARTTIME=instants, CHARTDATE=instants.cast("date32"))
    with pytest.raises(UserError, match=r"CHARTTIME of .* zone Asia/Tokyo.*set data\.time_zone"):
        rows(spark, path, "CHARTTIME")
    read = rows(spark, path, "CHARTTIME", "CHARTDATE", time_zone="America/New_York")
    assert read == [(None, None), (datetime(2150, 1, 1, 21, 0, 1), date(2150, 1, 2))]


def test_times_that_spark_wrote_are_wall_clock_unless_a_zone_is_set(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = str(tmp_path / "t")
    times = "timestamp'2150-01-01 12:00:03' CHARTTIME, timestamp_ntz'2150-01-01 12:00:03' STORETIME"
    spark.sql(f"select {times}").write.parquet(path)
    pq.write_table(
        pa.table({"CHARTTIME": [NOON], "STORETIME": [NOON]}), f"{path}/old.parquet",
        use_deprecated_int96_timestamps=True,
    )  # fmt: skip
    assert rows(spark, path, "CHARTTIME", "STORETIME") == [(NOON, NOON)] * 2
    shifted = (datetime(2150, 1, 1, 7, 0, 3), NOON)
    read = rows(spark, path, "CHARTTIME", "STORETIME", time_zone="America/New_York")
    assert read == [(NOON, NOON), shifted]


def test_parts_of_unlike_types_are_each_read_rightly(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    parquet(
        folder / "1.parquet", ROW_ID=[1], HADM_ID=[29079101], ISERROR=pa.nulls(1),
        CHARTTIME=pa.array([ODD], pa.timestamp("ns")),
    )  # fmt: skip
    parquet(
        folder / "2.parquet", hadm_id=[29079102.0], row_id=pa.array([2], pa.int16()), ISERROR=[1.0],
        CHARTTIME=pa.array([ODD], pa.timestamp("us")),
    )  # fmt: skip
    parquet(
        folder / "3.parquet", ISERROR=pa.nulls(1), ROW_ID=[3], HADM_ID=pa.array([Decimal("5.00")]),
        CHARTTIME=pa.nulls(1),
    )  # fmt: skip
    assert rows(spark, folder, "ROW_ID", "HADM_ID", "ISERROR", "CHARTTIME") == [
        (1, "29079101", None, ODD),
        (2, "29079102", 1.0, ODD),
        (3, "5", None, None),
    ]
    parquet(folder / "4.parquet", ROW_ID=["4"], HADM_ID=[-(2**63)], ISERROR=[True],
            CHARTTIME=[date(2150, 1, 4)])  # fmt: skip
    assert rows(spark, folder, "ROW_ID", "HADM_ID", "ISERROR", "CHARTTIME") == [
        ("1", "29079101", None, "2150-01-04 23:30:01.123457"),
        ("2", "29079102", "1", "2150-01-04 23:30:01.123457"),
        ("3", "5", None, None),
        ("4", str(-(2**63)), "true", "2150-01-04"),
    ]


def test_types_that_cannot_mean_the_same_are_named(spark: SparkSession, tmp_path: Path) -> None:
    parquet(tmp_path / "n" / "1.parquet", ISERROR=[1], TEXT=["a"])
    parquet(tmp_path / "n" / "2.parquet", ISERROR=[NOON], TEXT=[["a"]])
    with pytest.raises(UserError, match=r"ISERROR is whole numbers in .*1\.parquet but a time in"):
        rows(spark, tmp_path / "n", "ISERROR")
    with pytest.raises(UserError, match=r"TEXT of .*2\.parquet is a list, map or struct, which is"):
        rows(spark, tmp_path / "n", "TEXT")


def test_floating_point_ids_have_no_exponent_and_keep_what_is_not_whole(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = parquet(tmp_path / "a.parquet", HADM_ID=[29079101.0, -1e15, 1.5, 2.0**60, None])
    read = {row[0] for row in rows(spark, path, "HADM_ID")}
    # 2^60 is one of many whole numbers that became the same floating-point number.
    large = {value for value in read if value and value.endswith("E18")}
    assert len(large) == 1
    assert read - large == {"29079101", "-1000000000000000", "1.5", None}


def test_names_of_folders_are_columns(spark: SparkSession, tmp_path: Path) -> None:
    for category in ("Nursing", "Rehab%20Services"):
        (tmp_path / "n").mkdir(exist_ok=True)
        parquet(tmp_path / "n" / f"CATEGORY={category}" / "1.parquet", ROW_ID=[1])
    read = rows(spark, tmp_path / "n", "ROW_ID", "CATEGORY")
    assert read == [(1, "Nursing"), (1, "Rehab Services")]


# --- files ----------------------------------------------------------------------------------------


def test_columns_go_by_name_in_every_file_of_a_folder(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(CSV)
    (tmp_path / "2.CSV").write_bytes(b",text, Hadm_Id ,\n0,b,2,\n")
    (tmp_path / "3.csv.gz").write_bytes(
        gzip.compress(b"TEXT,HADM_ID\nc,3\n") + gzip.compress(b"d,4\n")
    )
    (tmp_path / "4.csv").write_bytes(b"")
    assert rows(spark, tmp_path, "HADM_ID", "TEXT") == [
        ("1", "a"), ("2", "b"), ("3", "c"), ("4", "d"),
    ]  # fmt: skip
    assert expected_records(spark, str(tmp_path), "data.notes") == 4
    (tmp_path / "5.csv").write_bytes(b"5,secret,\n")
    with pytest.raises(UserError, match=r"5\.csv lacks the columns HADM_ID, TEXT; .*not a header"):
        rows(spark, tmp_path, "HADM_ID", "TEXT")


@pytest.mark.parametrize("name", ["notes [1] {2}.csv", "10:30?.csv", "day=3/a b.csv", "#%20.csv"])
def test_a_name_is_taken_as_it_stands(spark: SparkSession, tmp_path: Path, name: str) -> None:
    path = tmp_path / "a [b] {c} d" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(CSV)
    assert rows(spark, path, "HADM_ID") == [("1",)]
    assert expected_records(spark, str(path), "data.notes") == 1
    assert rows(spark, path.parent, "HADM_ID") == [("1",)]


def test_a_pattern_and_the_home_folder(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("n-1.csv", "n-2.csv", "m.csv"):
        (tmp_path / name).write_bytes(CSV)
    monkeypatch.setenv("HOME", str(tmp_path))
    for pattern in ("~/n-*.csv", "~/n-[12].csv", "~/n-{1,2}.csv", "~/n-?.csv"):
        names = [Path(f.name).name for f in find_files(spark, pattern, "data.notes").files]
        assert names == ["n-1.csv", "n-2.csv"]
    with pytest.raises(UserError, match=r"data\.notes: .*/x-\*\.csv does not exist"):
        find_files(spark, "~/x-*.csv", "data.notes")


UTF16 = CSV.decode().encode("utf-16")
GZ = gzip.compress(CSV, mtime=0)  # a time would be part of the names of tests


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("n.zip", b"PK\x03\x04", "is a .zip; a .csv, a .csv.gz, a Parquet file"),
        ("n.csv.bz2", b"BZh", "is a .bz2;"),
        ("n.tsv", b"HADM_ID\tTEXT\n", "is a .tsv;"),
        ("n.txt", CSV, "is a .txt;"),
        ("n.csv.zst", b"", "is a .zst;"),
        ("n.csv.gz", CSV, "its name ends in .gz, but it is not gzip"),
        ("n.csv", GZ, "it is gzip, not text; let its name end in .csv.gz"),
        ("n.csv", b"PK\x03\x04", "it is a zip archive, not text;"),
        ("n.csv", UTF16, "it is UTF-16 text"),
        ("n.csv", b"HADM_ID;TEXT\n1;a\n", "semicolons separate its columns"),
        ("n.csv", CSV.decode().encode("utf-16-le"), "its header has zero bytes, as in UTF-16"),
        ("n.csv.gz", gzip.compress(UTF16, mtime=0), "the gzip holds UTF-16 text"),
        ("n.csv.gz", gzip.compress(GZ, mtime=0), "the gzip holds gzip, not text"),
        ("n.csv.gz", b"", "lacks the columns HADM_ID; it has none"),
        ("n.csv.gz", gzip.compress(b"", mtime=0), "lacks the columns HADM_ID; it has none"),
        ("n.csv", b"HADM_ID^TEXT\n1^a\n", "carets separate its columns"),
        ("n.csv.gz", GZ + bytes(512), "zero bytes follow its gzip data; jobs/ingest.py reads it"),
        ("n.csv.gz", GZ[:3] + b"zzzzzzzz" + GZ[11:], "its gzip data is damaged"),
        ("_n.csv", CSV, "Spark takes no file whose name begins with _ or ."),
        (".n.csv", CSV, "Spark takes no file whose name begins with _ or ."),
        ("n", b"version https://git-lfs", "it is a Git LFS pointer"),
        ("n.parquet", CSV, "it is neither named .csv nor Parquet"),
        ("n.parquet", b"PAR1" + bytes(100), "it is cut off"),
        ("n.csv", b"TEXT,Hadm_Id,HADM_ID\n", "2 columns that are called HADM_ID"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named(
    spark: SparkSession, tmp_path: Path, name: str, raw: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError) as error:
        rows(spark, tmp_path / name, "HADM_ID")
    assert message in str(error.value) and f"/{name}" in str(error.value)
    assert "\n" not in str(error.value)


def test_another_delimiter_or_encoding_is_named_before_quotes_are_counted(
    spark: SparkSession, tmp_path: Path
) -> None:
    text = '"HADM_ID";"TEXT"\n"1";"a"\n'
    for raw, message in ((text.encode(), "semicolons"), (text.encode("utf-16"), "UTF-16")):
        (tmp_path / "n.csv").write_bytes(raw)
        with pytest.raises(UserError, match=message):
            expected_records(spark, str(tmp_path / "n.csv"), "data.notes")


def test_an_empty_member_is_no_padding(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "n.csv.gz").write_bytes(GZ + gzip.compress(b""))
    assert rows(spark, tmp_path / "n.csv.gz", "HADM_ID") == [("1",)]


def test_folders_that_are_no_table_are_named(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(CSV)
    parquet(tmp_path / "b.parquet", HADM_ID=[1])
    with pytest.raises(UserError, match=r"files of several kinds, such as .*a\.csv and .*b\.parq"):
        rows(spark, tmp_path, "HADM_ID")
    (tmp_path / "_delta_log").mkdir()
    with pytest.raises(UserError, match="is a Delta Lake table"):
        rows(spark, tmp_path, "HADM_ID")
    two = parquet(tmp_path / "c" / "two.parquet", TEXT=["a"], text=["b"])
    with pytest.raises(UserError, match=r"two\.parquet has 2 columns that are called TEXT"):
        rows(spark, two, "TEXT")
