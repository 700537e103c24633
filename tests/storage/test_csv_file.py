"""CSV files as batches: exact texts, and errors that name the line or row but show no text."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from readmit_spark.errors import UserError
from readmit_spark.storage.csv_file import CsvFile, read_again, read_batches, read_header
from readmit_spark.storage.digest import digest_table
from tests.nasty_texts import NASTY_TEXTS
from tests.tables_in import note, write_csv

SECRET = "zqxcanary"


def csv_of(raw: bytes, gzipped: bool = False) -> CsvFile:
    stored = gzip.compress(raw) if gzipped else raw
    return CsvFile("data.notes: n.csv", gzipped, lambda: io.BytesIO(stored))


def rows(raw: bytes, block: int = 1 << 20) -> list[dict[str, str | None]]:
    file = csv_of(raw)
    return [
        row for batch in read_batches(file, read_header(file), block) for row in batch.to_pylist()
    ]


def nasty(end: str, folder: Path) -> bytes:
    texts = [text for _, text in NASTY_TEXTS]
    path = write_csv(folder / "n.csv", [note(i, 1, 1, t) for i, t in enumerate(texts)], end)
    return Path(path).read_bytes()


def test_an_empty_field_is_null_and_quotes_alone_are_an_empty_text() -> None:
    assert rows(b'A,TEXT\n1,""\n2,\n3," "\n"",x\n') == [
        {"A": "1", "TEXT": ""},
        {"A": "2", "TEXT": None},
        {"A": "3", "TEXT": " "},
        {"A": "", "TEXT": "x"},
    ]


def test_blank_lines_are_not_rows_and_the_last_line_needs_no_end() -> None:
    raw = b'\xef\xbb\xbfA,"B"\r\n\r\n1,"x\r\ny"\r\n\r\n2,"q ""z"", c"'
    assert rows(raw) == [{"A": "1", "B": "x\ny"}, {"A": "2", "B": 'q "z", c'}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_two_parsers_agree_on_every_nasty_text(tmp_path: Path, end: str) -> None:
    file = csv_of(nasty(end, tmp_path), gzipped=True)
    header = read_header(file)
    first = digest_table(read_batches(file, header, 1 << 17))
    second = digest_table(read_again(file, header))
    assert first.rows == second.rows == len(NASTY_TEXTS)
    assert {name: digest.hex() for name, digest in first.columns.items()} == {
        name: digest.hex() for name, digest in second.columns.items()
    }


def test_a_lone_surrogate_is_one_replacement_character_as_in_java() -> None:
    assert rows(b"A\nx\xed\xa0\xbdy\ncaf\xe9 \xf0\x9f\x98\n")[0]["A"] == "x\ufffdy"
    assert rows(b"A\nx\xed\xa0y\n")[0]["A"] == "x\ufffdy"
    assert rows(b"A\ncaf\xe9 \xf0\x9f\x98 z\n")[0]["A"] == "caf\ufffd \ufffd z"


def test_memory_does_not_grow_with_the_file() -> None:
    def file(n: int) -> CsvFile:
        return CsvFile("n.csv", False, lambda: io.BufferedReader(Repeated(n)))

    def peak(n: int) -> int:
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        arrow = 0
        source = file(n)
        for _ in read_batches(source, read_header(source), 1 << 16):
            arrow = max(arrow, pa.total_allocated_bytes() - before)
        _, python = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return arrow + python

    assert peak(16_000) < 4_000_000  # the file has 16 MB


class Repeated(io.RawIOBase):
    """A header and n kilobytes of rows, generated while they are read."""

    def __init__(self, kilobytes: int) -> None:
        row = b'1,"' + b"word " * 200 + b'\n"\n'
        self._parts: Iterator[bytes] = iter([b"A,TEXT\n", *[row] * kilobytes])
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._rest = self._rest or next(self._parts, b"")
        data, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ('1,"a\n2,"b"\n3,"c"\n', 3),
        (f'1,"a"\n2,5" {SECRET}\n', 3),
        (f'1,"a\nb"\n2,"{SECRET}"x\n3,"c"\n', 4),
        ('1,""a"\n2,b\n', 2),
    ],
)
@pytest.mark.parametrize("block", [48, 1 << 20])
def test_the_line_of_a_misplaced_quote_is_named(broken: str, line: int, block: int) -> None:
    with pytest.raises(UserError, match=rf"n\.csv: line {line} has a quote in the middle") as error:
        rows(b"A,TEXT\n" + broken.encode(), block)
    assert SECRET not in str(error.value)


def test_a_quote_that_is_never_closed_is_an_error() -> None:
    with pytest.raises(UserError, match=r"2 records by its quotes but 3 by|quote is not closed"):
        rows(b'A,TEXT\n1,"a"\n2,"b"\n3,"c\nd\n')


def test_a_text_larger_than_a_block_is_an_error() -> None:
    raw = b"A,TEXT\n1,x\n2," + f"{SECRET} ".encode() * 5000 + b"\n"
    with pytest.raises(UserError, match=r"a row after row \d has more than") as error:
        rows(raw, 1 << 10)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(("row", "fields"), [(f"2,{SECRET},3", 3), (SECRET, 1)])
def test_a_row_with_more_or_fewer_fields_is_an_error(row: str, fields: int) -> None:
    raw = f"A,TEXT\n1,x\n{row}\n".encode()
    with pytest.raises(UserError, match=rf"has {fields} fields and its header has 2") as error:
        rows(raw)
    assert SECRET not in str(error.value)


def test_a_file_that_is_cut_off_is_an_error_without_its_text() -> None:
    letters = "".join(random.Random(1).choices("secrt ", k=200_000))
    complete = gzip.compress(f'A,TEXT\n1,"{letters}"\n'.encode())
    damaged = complete[:1000] + b"zz" + complete[1002:]
    for stored in (complete[: len(complete) // 2], complete[:-4], damaged):
        file = CsvFile("data.notes: n.csv.gz", True, lambda stored=stored: io.BytesIO(stored))
        with pytest.raises(UserError, match=r"n\.csv\.gz cannot be read to its end") as error:
            list(read_batches(file, read_header(file)))
        assert len(str(error.value)) < 150


@pytest.mark.parametrize("first", ["", "\n"])
def test_a_file_without_a_first_line_is_an_error(first: str) -> None:
    with pytest.raises(UserError, match=r"n\.csv is empty"):
        read_header(csv_of(first.encode()))


def test_a_column_without_a_name_or_with_one_that_is_there_already_gets_one() -> None:
    names = read_header(csv_of(b",TEXT,Text,a b (%),,column_5\n")).names
    assert names == ("column_1", "TEXT", "column_3", "a b (%)", "column_5_", "column_5")
