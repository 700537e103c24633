"""Tables as they come: headers, quotes, bytes, times; and what is refused, and how."""

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
from readmit_spark.notes.cohort import distinct_admissions
from readmit_spark.storage.check_csv import (
    Records,
    _count_splits,
    check_records,
    count_records,
    csv_records,
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
    found = read_admissions(spark, path).first()
    assert found is not None
    assert (found.subject_id, found.hadm_id, found.admission_type) == (1, 11, "EMERGENCY")


def test_missing_columns_are_named_beside_those_there(spark: SparkSession, tmp_path: Path) -> None:
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


def test_a_missing_file_has_no_records(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.notes: .*none\.csv does not exist"):
        csv_records(spark, str(tmp_path / "none.csv"), "data.notes")


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


def test_an_empty_text_stays_empty_and_an_absent_one_is_null(
    spark: SparkSession, tmp_path: Path
) -> None:
    assert texts(spark, raw_notes(tmp_path, '""', "", '" "')) == ["", None, " "]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["notes.csv", "notes.csv.gz"])
def test_quotes_commas_and_line_ends_in_a_text_are_kept(
    spark: SparkSession, tmp_path: Path, name: str, end: str
) -> None:
    sent = [NASTY, "\n", '"', '""', ",", "", None, "a\rb", "# no comment", "last"]
    path = write_csv(tmp_path / name, [note(i, 1, 1, text) for i, text in enumerate(sent)], end)
    # The parser folds the header's kind of line end to \n; cleaning makes blanks of either.
    folded = [text and text.replace(end, "\n") for text in sent]
    assert texts(spark, path) == folded
    assert csv_records(spark, path, "data.notes") == len(sent)


def test_a_byte_order_mark_is_no_part_of_the_header(spark: SparkSession, tmp_path: Path) -> None:
    path = Path(write_csv(tmp_path / "notes.csv", [note(1, 1, 1, "a")]))
    path.write_bytes(b'\xef\xbb\xbf"ROW_ID"' + path.read_bytes().removeprefix(b"ROW_ID"))
    assert texts(spark, str(path)) == ["a"]
    assert count_records(spark, str(path)) == Records(1, broken=0)


def test_nul_and_broken_utf8_in_a_csv_are_kept_or_marked(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = Path(raw_notes(tmp_path, '"a\x00b"', '"caf@ au lait"', '"end"'))
    path.write_bytes(path.read_bytes().replace(b"@", b"\xe9"))
    assert texts(spark, str(path)) == ["a\x00b", "caf\ufffd au lait", "end"]
    assert count_records(spark, str(path)) == Records(3, broken=0)


@pytest.mark.parametrize("kind", [pa.binary(), pa.string()])
def test_broken_utf8_in_parquet_is_marked(
    spark: SparkSession, tmp_path: Path, kind: pa.DataType
) -> None:
    raw = pa.array([b"caf\xe9 au lait", "na\u00efve".encode(), None], pa.binary())
    text = raw if kind == pa.binary() else pa.Array.from_buffers(kind, 3, raw.buffers())
    rows = {name: [str(i) for i in range(3)] for name in HEADER.strip().split(",")}
    pq.write_table(pa.table({**rows, "TEXT": text}), tmp_path / "notes.parquet")
    found = texts(spark, str(tmp_path / "notes.parquet"))
    assert found == ["caf\ufffd au lait", "na\u00efve", None]


def test_a_text_of_five_megabytes_is_read_whole(spark: SparkSession, tmp_path: Path) -> None:
    long = 'word "quoted", and\n' * (5_000_000 // 19)
    path = write_csv(tmp_path / "notes.csv", [note(1, 1, 1, long), note(2, 1, 1, "next")])
    assert texts(spark, path) == [long, "next"]
    assert count_records(spark, path) == Records(2, broken=0)


# --- quotes that do not pair ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
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
def test_a_quote_that_is_not_closed_or_not_doubled_is_noticed(
    spark: SparkSession, tmp_path: Path, sent: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match=r"data\.notes: .*quote is not closed or not doubled"):
        check(spark, raw_notes(tmp_path, *sent))


@pytest.mark.parametrize("sent", ['"a","b"', '"a"\n7,1,1'])
def test_a_row_with_more_or_fewer_fields_is_noticed(
    spark: SparkSession, tmp_path: Path, sent: str
) -> None:
    with pytest.raises(UserError, match="1 rows with more or fewer fields than its header"):
        check(spark, raw_notes(tmp_path, sent, '"b"'))


def test_quotes_that_pair_pass(spark: SparkSession, tmp_path: Path) -> None:
    check(spark, raw_notes(tmp_path, '"a ""b"", c"', "plain", "", '"x\n\ny"'))


def check(spark: SparkSession, path: str) -> None:
    expected = csv_records(spark, path, "data.notes")
    rows = read_notes(spark, path).collect()
    check_records(path, "data.notes", expected, len(rows), sum(row.malformed for row in rows))


def test_records_that_the_parser_swallowed_are_noticed() -> None:
    with pytest.raises(UserError, match="5 records by its quotes but 4 by the CSV parser"):
        check_records("n.csv", "data.notes", 5, 4, 0)


def test_a_file_that_breaks_off_is_an_error_without_its_text(
    spark: SparkSession, tmp_path: Path
) -> None:
    secrets = "".join(random.Random(1).choices("secrt ", k=200_000))
    whole = gzip.compress((HEADER + ROW.format(1, f'"{secrets}"')).encode())
    (tmp_path / "notes.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read to its end") as error:
        csv_records(spark, str(tmp_path / "notes.csv.gz"), "data.notes")
    assert len(str(error.value)) < 300


def test_parquet_has_no_quotes_to_count(spark: SparkSession, tmp_path: Path) -> None:
    assert csv_records(spark, str(tmp_path), "data.notes") is None


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
        found = count_records(spark, str(tmp_path / "many.csv"))
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
        spark.conf.unset("spark.sql.files.openCostInBytes")
    assert found == Records(sum(map(records, files)), broken=0)


def in_batches(raw: bytes, size: int) -> Records:
    """The file cut into splits of `size` lines, and each of those into two batches."""
    lines = raw.replace(b"\r\n", b"\n").split(b"\n")
    count = broken = 0
    inside = False
    for start in range(0, len(lines), size):
        part = lines[start : start + size]
        batches = [
            pa.RecordBatch.from_arrays(
                [[0] * len(some), [start] * len(some), pa.array(some, pa.binary())],
                ["file", "start", "value"],
            )
            for some in (part[: size // 2], part[size // 2 :])
            if some
        ]
        (split,) = next(iter(_count_splits(iter(batches)))).to_pylist()
        count += split["count_inside"] if inside else split["count_outside"]
        broken += split["broken_inside"] if inside else split["broken_outside"]
        inside ^= split["flips"]
    return Records(count - 1, broken)


def test_valid_files_have_no_broken_line_and_the_count_of_the_csv_module() -> None:
    for seed in range(80):
        raw = random_csv(random.Random(seed), MIXED)
        for size in (1, 2, 5, 1000):
            assert in_batches(raw, size) == Records(records(raw), broken=0), seed


def test_rows_that_go_with_a_quote_taken_out_or_put_in_are_noticed() -> None:
    """Except where what remains is a sound file, which no program could tell from the original."""
    losses = 0
    for seed in range(400):
        rng = random.Random(seed)
        whole = raw = random_csv(rng, PROSE)
        for _ in range(rng.choice([1, 2])):
            at = rng.choice([i for i, byte in enumerate(raw + b'"') if byte == ord('"')])
            raw = raw[:at] + raw[at + 1 :] if rng.random() < 0.5 else raw[:at] + b'"' + raw[at:]
        found, rows = in_batches(raw, 5), parsed(raw)
        if len(rows) - 1 == records(whole) or is_sound(raw):
            continue
        losses += 1
        assert found.broken or found.count != len(rows) - 1 or {len(r) for r in rows} != {3}, seed
    assert losses > 50


def is_sound(raw: bytes) -> bool:
    try:
        return {len(row) for row in parsed(raw, strict=True)} == {3}
    except csv.Error:
        return False


# --- times, numbers, duplicates -------------------------------------------------------------------


def test_times_of_one_format_only_are_read_and_the_others_counted(
    spark: SparkSession, tmp_path: Path
) -> None:
    read = {
        "2101-10-20 19:08:00": datetime(2101, 10, 20, 19, 8),
        "2101-10-20T19:08:00.25": datetime(2101, 10, 20, 19, 8, 0, 250_000),
        "2024-03-10 02:30:00": datetime(2024, 3, 10, 2, 30),  # no such hour in New York
    }
    refused = ["2101", "2101-02-30 10:00:00", "2101-10-20 25:00:00", "20/10/2101 10:00:00",
               "2101-10-20", "yesterday", "2101-10-20 19:08:00 UTC"]  # fmt: skip
    times = [*read, *refused, None, ""]
    path = write_csv(
        tmp_path / "a.csv",
        [{**stay(1, i, None, None), "ADMITTIME": time} for i, time in enumerate(times)],
    )
    rows = read_admissions(spark, path).orderBy("hadm_id").toPandas()
    found = [None if t is None else t for t in rows.admittime.astype(object).where(
        rows.admittime.notna(), None)]  # fmt: skip
    assert found == [*read.values(), *[None] * 9]
    assert rows.admittime_unparsed.tolist() == [*[False] * 3, *[True] * 7, False, False]


def test_parquet_may_hold_times_and_numbers_of_its_own(spark: SparkSession, tmp_path: Path) -> None:
    noon = datetime(2020, 1, 1, 12)
    pq.write_table(
        pa.table(
            {
                "subject_id": pa.array([1], pa.int32()),
                "hadm_id": pa.array([2.0], pa.float64()),
                "admittime": pa.array([noon], pa.timestamp("us")),
                "dischtime": pa.array([noon], pa.timestamp("us", tz="UTC")),
                "deathtime": pa.array([None], pa.timestamp("ms")),
                "admission_type": ["urgent "],
            }
        ),
        tmp_path / "a.parquet",
    )
    row = read_admissions(spark, str(tmp_path / "a.parquet")).toPandas().iloc[0]
    assert (row.subject_id, row.hadm_id, row.admission_type) == (1, 2, "URGENT")
    assert (row.admittime, row.dischtime) == (noon, noon)
    assert not (row.admittime_unparsed or row.deathtime_unparsed or row.malformed)


def test_a_note_of_parquet_may_hold_a_date_a_number_and_a_flag(
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
    assert (two.hadm_id, two.chartdate, two.category, two.iserror) == (None, None, None, False)


def test_identical_admissions_count_once_and_different_ones_are_named(
    spark: SparkSession, tmp_path: Path
) -> None:
    same = stay(1, 11, "2020-01-01", "2020-01-05")
    path = write_csv(tmp_path / "a.csv", [same, same, stay(1, 12, "2020-01-09", "2020-01-10")])
    assert distinct_admissions(read_admissions(spark, path)).count() == 2
    path = write_csv(tmp_path / "b.csv", [same, stay(1, 11, "2020-01-01", "2020-01-06")])
    with pytest.raises(UserError, match=r"HADM_ID 11 .*rows that differ"):
        distinct_admissions(read_admissions(spark, path))
