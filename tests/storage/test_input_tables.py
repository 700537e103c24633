"""Reading tables: headers, quotes, bytes and times, and errors that show no note text."""

from __future__ import annotations

import csv
import gzip
import io
import random
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.notes.cohort import check_one_row_each, distinct_rows
from readmit_spark.storage.check_csv import (
    RecordCount,
    _count_splits,
    check_records,
    count_records,
    expected_records,
)
from readmit_spark.storage.input_tables import read_admissions, read_notes
from tests.tables_in import note, stay, write_csv

pytestmark = pytest.mark.spark4

HEADER = "ROW_ID,SUBJECT_ID,HADM_ID,CHARTDATE,CHARTTIME,CATEGORY,ISERROR,TEXT\n"
ROW = "{0},1,1,2020-01-01,,Nursing,,{1}\n"
NASTY = 'said "no, no",\r\n""twice""\n\n,;|\t\\ end\\'


def raw_notes(folder: Path, *texts: str) -> str:
    """NOTEEVENTS with the texts as they stand, quotes and all."""
    path = folder / "NOTEEVENTS.csv"
    rows = "".join(ROW.format(i, text) for i, text in enumerate(texts, start=1))
    path.write_bytes((HEADER + rows).encode())
    return str(path)


def texts(spark: SparkSession, path: str) -> list[str | None]:
    return [row.text for row in read_notes(spark, path).orderBy("row_id").collect()]


# --- columns --------------------------------------------------------------------------------------


def test_headers_may_be_in_any_case_and_order(spark: SparkSession, tmp_path: Path) -> None:
    row = stay(1, 11, "2020-01-01", "2020-01-05")
    path = write_csv(
        tmp_path / "a.csv",
        [{"Extra": "x", **{k.capitalize(): v for k, v in reversed(row.items())}}],
    )
    admission = read_admissions(spark, path).first()
    assert admission is not None
    assert (admission.subject_id, admission.hadm_id, admission.admission_type) == (
        1,
        11,
        "EMERGENCY",
    )


def test_missing_and_existing_columns_are_named(spark: SparkSession, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [{"subject_id": "1", "Hadm_Id": "2", "ADMITTIME": None}])
    with pytest.raises(UserError) as error:
        read_admissions(spark, path)
    assert str(error.value) == (
        f"data.admissions: {path} lacks the columns DISCHTIME, DEATHTIME, ADMISSION_TYPE; "
        "it has subject_id, Hadm_Id, ADMITTIME"
    )


def test_a_file_without_a_header_does_not_show_its_first_note(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(ROW.format(1, "secret"))
    with pytest.raises(UserError, match="8 columns, but its first line is not a header") as error:
        read_notes(spark, str(path))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["none.csv", "none.csv.gz", "none"])
def test_a_missing_file_is_named(spark: SparkSession, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"data.notes: .*{name} does not exist"):
        read_notes(spark, str(tmp_path / name))


def test_records_of_a_missing_file_are_an_error(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.notes: .*none\.csv does not exist"):
        expected_records(spark, str(tmp_path / "none.csv"), "data.notes")


@pytest.mark.parametrize("name", ["bad.csv.gz", "bad.parquet"])
def test_a_file_of_another_kind_is_named(spark: SparkSession, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(HEADER)
    with pytest.raises(UserError, match=rf"data.notes: .*{name} cannot be read"):
        read_notes(spark, str(tmp_path / name))


def test_an_empty_file_has_no_columns_and_a_header_alone_no_rows(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"lacks the columns .*; it has none"):
        read_notes(spark, str(tmp_path / "empty.csv"))
    assert read_notes(spark, raw_notes(tmp_path)).count() == 0


# --- text -----------------------------------------------------------------------------------------


def test_an_empty_text_stays_empty_and_a_missing_one_is_null(
    spark: SparkSession, tmp_path: Path
) -> None:
    assert texts(spark, raw_notes(tmp_path, '""', "", '" "')) == ["", None, " "]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["notes.csv", "notes.csv.gz"])
def test_quotes_commas_and_line_ends_in_a_text_are_preserved(
    spark: SparkSession, tmp_path: Path, name: str, end: str
) -> None:
    written = [NASTY, "\n", '"', '""', ",", "", None, "a\rb", "# no comment", "last"]
    path = write_csv(tmp_path / name, [note(i, 1, 1, text) for i, text in enumerate(written)], end)
    # The parser replaces the header's kind of line end by \n; cleaning replaces both by blanks.
    assert texts(spark, path) == [text and text.replace(end, "\n") for text in written]
    assert expected_records(spark, path, "data.notes") == len(written)


def test_a_byte_order_mark_is_not_part_of_the_header(spark: SparkSession, tmp_path: Path) -> None:
    path = Path(write_csv(tmp_path / "notes.csv", [note(1, 1, 1, "a")]))
    path.write_bytes(b'\xef\xbb\xbf"ROW_ID"' + path.read_bytes().removeprefix(b"ROW_ID"))
    assert texts(spark, str(path)) == ["a"]
    assert count_records(spark, [str(path)]) == RecordCount(1, misplaced=0)


def test_nul_is_preserved_and_invalid_utf8_replaced_in_a_csv(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = Path(raw_notes(tmp_path, '"a\x00b"', '"caf@ au lait"', '"end"'))
    path.write_bytes(path.read_bytes().replace(b"@", b"\xe9"))
    assert texts(spark, str(path)) == ["a\x00b", "caf\ufffd au lait", "end"]
    assert count_records(spark, [str(path)]) == RecordCount(3, misplaced=0)


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()])
def test_invalid_utf8_is_replaced_in_parquet(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType
) -> None:
    raw = pa.array([b"caf\xe9 au lait", "na\u00efve".encode(), None], pa.binary())
    text = raw if kind == pa.binary() else pa.Array.from_buffers(kind, 3, raw.buffers())
    rows = {name: [str(i) for i in range(3)] for name in HEADER.strip().split(",")}
    pq.write_table(pa.table({**rows, "TEXT": text}), tmp_path / "notes.parquet")
    assert texts(spark, str(tmp_path / "notes.parquet")) == [
        "caf\ufffd au lait",
        "na\u00efve",
        None,
    ]


def test_a_text_of_five_megabytes_is_read_completely(spark: SparkSession, tmp_path: Path) -> None:
    long = 'word "quoted", and\n' * (5_000_000 // 19)
    path = write_csv(tmp_path / "notes.csv", [note(1, 1, 1, long), note(2, 1, 1, "next")])
    assert texts(spark, path) == [long, "next"]
    assert count_records(spark, [path]) == RecordCount(2, misplaced=0)


# --- misplaced quotes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        ('"a', '"b"', '"c"'),
        ('"a"', '"b"', '"c'),
        ('"a', '"b', '"c"'),  # the second hides the first from a count of records
        ('"a "b", c"', '"b"'),
        ('5" tall', '"b"'),
        ('5" x 6" tall', '"b"'),
        ('""a"', '"b"'),
    ],
)
def test_a_quote_that_is_not_closed_or_not_doubled_is_an_error(
    spark: SparkSession, tmp_path: Path, fields: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match=r"data\.notes: .*quote is not closed or not doubled"):
        check(spark, raw_notes(tmp_path, *fields))


@pytest.mark.parametrize("fields", ['"a","b"', '"a"\n7,1,1'])
def test_a_row_with_more_or_fewer_fields_is_an_error(
    spark: SparkSession, tmp_path: Path, fields: str
) -> None:
    with pytest.raises(UserError, match="1 rows with more or fewer fields than its header"):
        check(spark, raw_notes(tmp_path, fields, '"b"'))


def test_valid_quotes_pass(spark: SparkSession, tmp_path: Path) -> None:
    path = raw_notes(tmp_path, '"a ""b"", c"', "plain", "", '"x\n\ny"')
    check(spark, path)
    assert texts(spark, path) == ['a "b", c', "plain", None, "x\n\ny"]


def check(spark: SparkSession, path: str) -> None:
    expected = expected_records(spark, path, "data.notes")
    rows = read_notes(spark, path).collect()
    check_records(path, "data.notes", expected, len(rows), sum(row.malformed for row in rows))


def test_records_that_the_parser_lost_are_an_error() -> None:
    with pytest.raises(UserError, match="5 records by its quotes but 4 by the CSV parser"):
        check_records("n.csv", "data.notes", 5, 4, 0)


def test_a_file_that_is_cut_off_is_an_error_without_its_text(
    spark: SparkSession, tmp_path: Path
) -> None:
    secrets = "".join(random.Random(1).choices("secrt ", k=200_000))
    complete = gzip.compress((HEADER + ROW.format(1, f'"{secrets}"')).encode())
    (tmp_path / "notes.csv.gz").write_bytes(complete[: len(complete) // 2])
    with pytest.raises(UserError, match="cannot be read to its end") as error:
        expected_records(spark, str(tmp_path / "notes.csv.gz"), "data.notes")
    assert len(str(error.value)) < 300


def test_records_of_parquet_are_not_counted(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"ROW_ID": [1]}), tmp_path / "n.parquet")
    assert expected_records(spark, str(tmp_path), "data.notes") is None


# --- counting records -----------------------------------------------------------------------------


MIXED = ['"', "\n", "\r\n", ",", "a", "word ", '""', '","', '"\n"', "\u00e9"]
PROSE = ["word ", "\n", ", ", 'said "no" ', 'a 5" scar ', '"yes", ']


def random_csv(rng: random.Random, pieces: list[str]) -> bytes:
    """A valid file of quoted and plain fields."""
    end = rng.choice(["\n", "\r\n"])
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=rng.choice([csv.QUOTE_ALL, 0]))
    for _ in range(rng.randrange(1, 15)):
        field = "".join(rng.choices(pieces, k=rng.choice([0, 1, 3, 30])))
        writer.writerow(["key", field, rng.choice(["x", field])])
    blank = end * rng.randrange(3)
    return ("a,b,c" + end + blank + out.getvalue() + blank).encode()


def parsed(raw: bytes, strict: bool = False) -> list[list[str]]:
    rows = csv.reader(io.StringIO(raw.decode(), newline=""), strict=strict)
    return [row for row in rows if row]


def records(raw: bytes) -> int:
    return len(parsed(raw)) - 1


@pytest.mark.parametrize("split_bytes", ["61", "1000", None])
def test_records_are_counted_as_the_csv_module_does_wherever_a_file_is_split(
    spark: SparkSession, tmp_path: Path, split_bytes: str | None
) -> None:
    files = [random_csv(random.Random(seed), MIXED) for seed in range(8)]
    (tmp_path / "many.csv").mkdir()
    for i, raw in enumerate(files):
        (tmp_path / "many.csv" / f"{i}.csv").write_bytes(raw)
    if split_bytes:
        spark.conf.set("spark.sql.files.maxPartitionBytes", split_bytes)
        spark.conf.set("spark.sql.files.openCostInBytes", "1")
    try:
        frame = spark.read.text(str(tmp_path / "many.csv"))
        assert (frame.rdd.getNumPartitions() > 20) == (split_bytes == "61")
        count = count_records(spark, [str(tmp_path / "many.csv")])
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
        spark.conf.unset("spark.sql.files.openCostInBytes")
    assert count == RecordCount(sum(map(records, files)), misplaced=0)
    # A few megabytes are counted in the driver.
    assert expected_records(spark, str(tmp_path / "many.csv"), "data.notes") == count.records


def in_batches(raw: bytes, size: int) -> RecordCount:
    """Count a file that is cut into splits of `size` lines, each with two batches."""
    all_lines = raw.replace(b"\r\n", b"\n").split(b"\n")
    count = misplaced = 0
    inside = False
    for start in range(0, len(all_lines), size):
        part = all_lines[start : start + size]
        batches = [
            pa.RecordBatch.from_arrays(
                [[0] * len(lines), [start] * len(lines), pa.array(lines, pa.binary())],
                ["file", "start", "value"],
            )
            for lines in (part[: size // 2], part[size // 2 :])
            if lines
        ]
        (split,) = next(iter(_count_splits(iter(batches)))).to_pylist()
        count += split["records_inside"] if inside else split["records_outside"]
        misplaced += split["misplaced_inside"] if inside else split["misplaced_outside"]
        inside ^= split["flips"]
    return RecordCount(count - 1, misplaced)


def test_valid_files_have_no_misplaced_quote_and_the_count_of_the_csv_module() -> None:
    for seed in range(80):
        raw = random_csv(random.Random(seed), MIXED)
        for size in (1, 2, 5, 1000):
            assert in_batches(raw, size) == RecordCount(records(raw), misplaced=0), seed


def test_rows_lost_by_an_added_or_removed_quote_are_noticed() -> None:
    """Except if the changed file is valid, so that no program could notice the change."""
    losses = 0
    for seed in range(400):
        rng = random.Random(seed)
        original = raw = random_csv(rng, PROSE)
        for _ in range(rng.choice([1, 2])):
            at = rng.choice([i for i, byte in enumerate(raw + b'"') if byte == ord('"')])
            raw = raw[:at] + raw[at + 1 :] if rng.random() < 0.5 else raw[:at] + b'"' + raw[at:]
        count, rows = in_batches(raw, 5), parsed(raw)
        if len(rows) - 1 == records(original) or is_valid(raw):
            continue
        losses += 1
        noticed = count.misplaced or count.records != len(rows) - 1 or {len(r) for r in rows} != {3}
        assert noticed, seed
    assert losses > 50


def is_valid(raw: bytes) -> bool:
    try:
        return {len(row) for row in parsed(raw, strict=True)} == {3}
    except csv.Error:
        return False


# --- times, numbers, duplicates -------------------------------------------------------------------


def test_parquet_may_have_columns_of_times_and_numbers(spark: SparkSession, tmp_path: Path) -> None:
    noon = datetime(2020, 1, 1, 12)
    pq.write_table(
        pa.table(
            {
                "subject_id": pa.array([1], pa.int32()),
                "hadm_id": pa.array([2.0], pa.float64()),
                "admittime": pa.array([noon], pa.timestamp("us")),
                "dischtime": pa.array([noon], pa.timestamp("ns")),
                "deathtime": pa.array([None], pa.timestamp("ms")),
                "admission_type": ["urgent "],
            }
        ),
        tmp_path / "a.parquet",
    )
    row = read_admissions(spark, str(tmp_path / "a.parquet")).toPandas().iloc[0]
    assert (row.subject_id, row.hadm_id, row.admission_type) == (1, 2, "URGENT")
    assert (row.admittime, row.dischtime) == (noon, noon)
    assert not any(row.unread) and not row.malformed


def test_notes_in_parquet_may_have_dates_numbers_and_flags(
    spark: SparkSession, tmp_path: Path
) -> None:
    pq.write_table(
        pa.table(
            {
                "ROW_ID": [1, 2],
                "SUBJECT_ID": [1, 1],
                "HADM_ID": pa.array([7.0, None], pa.float64()),
                "CHARTDATE": pa.array([date(2020, 1, 1), None], pa.date32()),
                "CHARTTIME": pa.array([datetime(2020, 1, 1, 8), None], pa.timestamp("us")),
                "CATEGORY": ["Physician ", None],
                "ISERROR": pa.array([1.0, None], pa.float64()),
                "TEXT": ["a", "b"],
            }
        ),
        tmp_path / "n.parquet",
    )
    one, two = read_notes(spark, str(tmp_path / "n.parquet")).orderBy("row_id").collect()
    assert (one.hadm_id, one.chartdate, one.category, one.iserror) == (
        7, date(2020, 1, 1), "physician", True,
    )  # fmt: skip
    assert (two.hadm_id, two.chartdate, two.category, two.iserror) == (None, None, None, None)


def test_identical_admissions_count_once_and_different_ones_are_an_error(
    spark: SparkSession, tmp_path: Path
) -> None:
    same = stay(1, 11, "2020-01-01", "2020-01-05")
    path = write_csv(tmp_path / "a.csv", [same, same, stay(1, 12, "2020-01-09", "2020-01-10")])
    distinct = distinct_rows(read_admissions(spark, path))
    assert distinct.count() == 2
    check_one_row_each(distinct)
    path = write_csv(tmp_path / "b.csv", [same, stay(1, 11, "2020-01-01", "2020-01-06")])
    with pytest.raises(UserError, match=r"HADM_ID 11 .*several different rows"):
        check_one_row_each(distinct_rows(read_admissions(spark, path)))
