"""Notes with a check that the CSV parser lost none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.storage.checked_notes import CheckedNotes, read_checked_notes
from tests.tables_in import Row, note, write_csv

pytestmark = pytest.mark.spark4


def read(spark: SparkSession, path: str) -> CheckedNotes:
    return read_checked_notes(spark, load_config(overrides=[f"data.notes={path}"]))


def test_complete_notes_pass(spark: SparkSession, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "n.csv", [note(1, 1, 10, 'said "no",\n'), note(2, 1, 10, "b")])
    notes = read(spark, path)
    assert len(notes.rows.collect()) == notes.expected == 2
    notes.check(print)


def test_a_row_with_too_many_fields_is_an_error_after_reading(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = Path(write_csv(tmp_path / "n.csv", [note(1, 1, 10, "a")]))
    path.write_text(path.read_text() + "2,1,10,,,Nursing,,b,more\n")
    notes = read(spark, str(path))
    assert len(notes.rows.collect()) == 2
    with pytest.raises(UserError, match=r"data\.notes: .*1 rows with more or fewer fields"):
        notes.check(print)


def test_a_misplaced_quote_is_an_error_before_reading(spark: SparkSession, tmp_path: Path) -> None:
    path = Path(write_csv(tmp_path / "n.csv", [note(1, 1, 10, "a")]))
    path.write_text(path.read_text() + '2,1,10,,,Nursing,,5" tall\n')
    with pytest.raises(UserError, match=r"data\.notes: .*1 lines with a quote in the middle"):
        read(spark, str(path))


def line(row: int | None, number: str | None, text: str | None, **others: str | None) -> Row:
    made = note(0, 1, 10, text)
    return {**made, "STORETIME": None, **others, "Nr": number, "ROW_ID": row and str(row)}


LINES = [
    *(line(1, str(n), f"line {n}") for n in (10, 9, 1)),
    line(1, "2", "again"), line(1, "2", "again"), line(1, "3", "again"),
    line(2, "1", "b", ISERROR="1"), line(2, "2", None, STORETIME="2020-01-02 12:00:00"),
    line(3, "1", "one"), line(3, "1", "other"),
    line(4, "1", "a", CATEGORY="ECG"), line(4, "2", "b", CATEGORY="Echo"),
    line(5, None, "x"), line(5, None, "y"), line(None, "1", "p"), line(None, "2", "q"),
    line(6, "1", None),
]  # fmt: skip


def test_the_lines_of_a_note_are_joined_in_their_order(spark: SparkSession, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "n.csv", LINES)
    config = load_config(overrides=[f"data.notes={path}", "data.note_line=nr"])
    notes = read_checked_notes(spark, config)
    rows = sorted(notes.rows.collect(), key=lambda row: (row.row_id or 0, row.text or ""))
    assert [(row.row_id, row.text) for row in rows] == [
        (None, "p"), (None, "q"),
        (1, "line 1\nagain\nagain\nline 9\nline 10"),
        (2, "b"),
        (3, "one"), (3, "other"),  # which of them is line 1?
        (4, "a"), (4, "b"),
        (5, "x"), (5, "y"),
        (6, None),
    ]  # fmt: skip
    assert [row.iserror for row in rows if row.row_id == 2] == [True]
    assert [str(row.storetime) for row in rows if row.row_id == 2] == ["2020-01-02 12:00:00"]
    assert notes.check(print)["notes"] == len(LINES)


def test_a_column_of_lines_must_number_them(spark: SparkSession, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "n.csv", [line(1, "first", "a"), line(1, "second", "b")])
    for column, message in (
        ("LINE", "lacks the columns LINE"),
        ("row_id", "data.note_line: ROW_ID is no column that numbers"),
    ):
        with pytest.raises(UserError, match=message):
            read_checked_notes(
                spark, load_config(overrides=[f"data.notes={path}", f"data.note_line={column}"])
            )
    config = load_config(overrides=[f"data.notes={path}", "data.note_line=Nr"])
    notes = read_checked_notes(spark, config)
    assert len(notes.rows.collect()) == 2
    with pytest.raises(UserError, match="2 of 2 values of LINE are not understood"):
        notes.check(print)


def test_texts_that_are_not_plain_are_counted_and_said(spark: SparkSession, tmp_path: Path) -> None:
    texts = [
        "plain < 3 and > 2 <b>late</b>", "temp {98}", r"{\rtf1\ansi pain}", "\n {\\rtf1 x}",
        "<p>no pain</p>", " <!DOCTYPE html><html>", "<BR/>seen", "<pain> scale", "broken ?? byte",
        "\ufeff<ul>\n<li>a", "<a href='x'>b</a>", "<td class = x>", "</div>", "<!-- x -->", "<i>x",
        "\ufeff{\\rtf1 x}", "<p 0.05 in <b>all</b>", "<i think so>",
    ]  # fmt: skip
    path = Path(write_csv(tmp_path / "n.csv", [note(i, 1, 10, t) for i, t in enumerate(texts)]))
    path.write_bytes(path.read_bytes().replace(b"??", b"\xe9\xff"))
    lines: list[str] = []
    notes = read(spark, str(path))
    assert len(notes.rows.collect()) == len(texts)
    counts = notes.check(lines.append)
    assert (counts["text_rtf"], counts["text_html"], counts["text_not_utf8"]) == (3, 9, 1)
    assert lines == [
        "data.notes: notes that are no plain text: 3 are RTF, 9 are HTML, 1 have bytes that are "
        "not UTF-8; markup is read as words"
    ]
