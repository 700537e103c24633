"""Notes with a check that the CSV parser lost none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.storage.checked_notes import CheckedNotes, read_checked_notes
from tests.tables_in import note, write_csv

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


def test_texts_that_are_not_plain_are_counted_and_said(spark: SparkSession, tmp_path: Path) -> None:
    texts = [
        "plain < 3 and > 2 <b>late</b>", "temp {98}", r"{\rtf1\ansi pain}", "\n {\\rtf1 x}",
        "<p>no pain</p>", " <!DOCTYPE html><html>", "<BR/>seen", "<pain> scale", "broken ?? byte",
    ]  # fmt: skip
    path = Path(write_csv(tmp_path / "n.csv", [note(i, 1, 10, t) for i, t in enumerate(texts)]))
    path.write_bytes(path.read_bytes().replace(b"??", b"\xe9\xff"))
    lines: list[str] = []
    notes = read(spark, str(path))
    assert len(notes.rows.collect()) == len(texts)
    counts = notes.check(lines.append)
    assert (counts["text_rtf"], counts["text_html"], counts["text_not_utf8"]) == (2, 3, 1)
    assert lines == [
        "data.notes: notes that are no plain text: 2 are RTF, 3 are HTML, 1 have bytes that are "
        "not UTF-8; markup is read as words"
    ]
