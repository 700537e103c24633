"""Values that are there and not understood: counted, named by column, and too many stop the job."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.codes import unknown_values
from readmit_spark.storage.input_tables import read_patients
from readmit_spark.storage.unread import check_unread, unread_counts, unread_line
from tests.runs import start_run
from tests.tables_in import Row, note, stay, write_csv

pytestmark = pytest.mark.spark4

SECRET = "zqxcanary"
NO_ID: Mapping[str, int] = {"hadm_id_there": 0, "hadm_id_unread": 0}


@pytest.mark.parametrize(
    ("there", "unread", "share", "stops"),
    [
        (1000, 5, 0.005, False),
        (1000, 6, 0.005, True),
        (1000, 6, 0.01, False),
        (1, 1, 0.99, True),  # nothing was understood
        (1, 0, 0.0, False),
        (1000, 1, 0.0, True),
    ],
)
def test_too_many_unread_values_stop_the_job(
    there: int, unread: int, share: float, stops: bool
) -> None:
    counts = {**NO_ID, "charttime_there": there, "charttime_unread": unread}
    if not stops:
        assert check_unread("data.notes", "n.csv", counts, share) == {
            "hadm_id_unread": 0,
            "charttime_unread": unread,
        }
        return
    with pytest.raises(UserError) as error:
        check_unread("data.notes", "n.csv", counts, share)
    assert str(error.value) == (
        f"data.notes: n.csv: {unread:,} of {there:,} values of CHARTTIME are not understood; read "
        "are times such as 2101-02-26 02:00:00 of the years 1971 to 2299 (also with T, without "
        "seconds, with decimals, or the date alone; with Z or an offset if data.time_zone is set); "
        "nothing was written; correct them, or if so "
        f"many may be left out, raise data.max_unread_share (now {share:g})"
    )


def test_the_line_names_columns_with_unread_values_only() -> None:
    unread = {"chartdate_unread": 0, "charttime_unread": 1200, "category_unread": 3}
    assert unread_line("data.notes", unread, "DS 3") == (
        "data.notes: values that are not understood: CHARTTIME 1,200; CATEGORY (DS 3) 3"
    )
    assert unread_line("data.notes", {"chartdate_unread": 0}) is None


def test_unread_values_of_admissions(spark: SparkSession, tmp_path: Path) -> None:
    good = [stay(i, i, "2020-01-01", "2020-01-02") for i in range(1, 7)]
    odd: list[Row] = [
        {**stay(7, 7, "01/05/2020 12:00", SECRET, "Elective surgery", SECRET)},
        stay(8, 8, "2020-01-01", "9999-12-31 00:00:00", " Elective  SURGERY", "9999-12-31"),
        {**stay(9, 9, "2020-01-01", "2020-01-02", SECRET, "NULL"), "SUBJECT_ID": "<NA>"},
    ]
    path = write_csv(tmp_path / "a.csv", [*good, *odd, good[0]])
    overrides = [f"data.admissions={path}", f"output.root={tmp_path}/out"]
    out = io.StringIO()

    def counts_of(config: Config) -> dict[str, int]:
        with start_run(spark, config, "prepare", out) as run:
            table, counts = all_admissions(run)
            return counts | {"distinct": table.count()}

    config = load_config(overrides=[*overrides, "data.max_unread_share=0.4"])
    with pytest.raises(UserError) as error:  # its one DEATHTIME
        counts_of(config)
    assert "1 of 1 values of DEATHTIME are not understood" in str(error.value)
    path = write_csv(tmp_path / "a.csv", [*good, *odd, good[0], stay(6, 10, "2021-01-01", None,
                                          died="2021-01-02"), stay(6, 11, "2022-01-01", None,
                                          died="2022-01-02")])  # fmt: skip
    counts = counts_of(config)
    assert {name: n for name, n in counts.items() if n} == {
        "rows": 12, "distinct": 11,
        "admittime_unread": 1, "dischtime_unread": 1, "deathtime_unread": 1,
        "admission_type_unread": 3, "dischtime_placeholder": 1, "deathtime_placeholder": 1,
    }  # fmt: skip
    assert out.getvalue() == (
        "prepare: data.admissions: values that are not understood: ADMITTIME 1; DISCHTIME 1; "
        "DEATHTIME 1; ADMISSION_TYPE (ELECTIVE SURGERY 2, 1 not shown) 3\n"
    )
    with pytest.raises(UserError, match=r"3 of 12 values of ADMISSION_TYPE \(ELECTIVE SURGERY 2"):
        counts_of(load_config(overrides=overrides))
    listed = load_config(
        overrides=[*overrides, "data.max_unread_share=0.4",
                   f"codes.planned=[elective, 'Elective   Surgery', {SECRET}]"]
    )  # fmt: skip
    assert counts_of(listed)["admission_type_unread"] == 0
    assert SECRET not in f"{out.getvalue()} {error.value}"


def test_unread_values_of_notes(spark: SparkSession, tmp_path: Path) -> None:
    good = [note(i, 1, 1, "a", time="08:00:00") for i in range(1, 10)]
    odd: list[Row] = [
        {**note(10, 1, 1, SECRET, "01/05/2020", category=SECRET), "CHARTTIME": "25:00"},
        note(11, 1, 1, "NULL", category="NULL", iserror="yes"),
        note(12, 1, 1, "a", iserror="0"),
        note(13, 1, 1, "a", iserror=SECRET),
    ]
    path = write_csv(tmp_path / "n.csv", [{**row, "STORETIME": "\\N"} for row in [*good, *odd]])
    config = load_config(overrides=[f"data.notes={path}", "data.max_unread_share=0.4"])
    source = read_checked_notes(spark, config)
    texts = {row.row_id: (row.text, row.iserror) for row in source.rows.collect()}
    assert (texts[11], texts[12], texts[13]) == (("NULL", True), ("a", False), ("a", True))
    lines: list[str] = []
    counts = source.check(lines.append)
    assert {name: n for name, n in counts.items() if n} == {
        "notes": 13, "chartdate_unread": 1, "charttime_unread": 1, "iserror_unread": 1,
        "category_unread": 1,
    }  # fmt: skip
    assert lines == [
        "data.notes: values that are not understood: CHARTDATE 1; CHARTTIME 1; ISERROR 1; "
        "CATEGORY (1 not shown) 1"
    ]
    strict = read_checked_notes(spark, load_config(overrides=[f"data.notes={path}"]))
    strict.rows.collect()
    with pytest.raises(UserError, match="1 of 3 values of ISERROR are not understood") as error:
        strict.check(lines.append)
    assert SECRET not in f"{lines} {error.value}"


def test_unread_values_of_patients(spark: SparkSession, tmp_path: Path) -> None:
    rows: list[Row] = [
        {"SUBJECT_ID": "1", "GENDER": "F", "DOB": "1844-07-18 00:00:00", "DOD": None},
        {"SUBJECT_ID": "2", "GENDER": " f", "DOB": "18/07/1950", "DOD": "2150-01-02 00:00:00"},
        {"SUBJECT_ID": "3", "GENDER": "M", "DOB": "NULL", "DOD": "02-JAN-50"},
    ]
    patients = read_patients(spark, write_csv(tmp_path / "p.csv", rows))
    first = patients.agg(*unread_counts(patients)).first()
    assert first is not None
    assert first.asDict() == {
        "subject_id_there": 3, "subject_id_unread": 0, "dob_there": 2, "dob_unread": 1,
        "dod_there": 2, "dod_unread": 1,
    }  # fmt: skip
    values = patients.orderBy("subject_id").select("gender", "dob", "dod").collect()
    assert [tuple(row) for row in values] == [
        ("F", date(1844, 7, 18), None), ("F", None, date(2150, 1, 2)), ("M", None, None),
    ]  # fmt: skip


def test_only_codes_are_named(spark: SparkSession) -> None:
    values = {"ds": 2, "john": 1, "seen by dr. 12": 5, "d/c summary (addendum)": 3, "nursing": 9}
    values["discharge_summary"] = 2
    rows = [(value,) for value, n in values.items() for _ in range(n)] + [(None,)]
    frame = spark.createDataFrame(rows, "category string")
    assert unknown_values(frame, "category", ["nursing"]) == (
        "D/C SUMMARY (ADDENDUM) 3, DISCHARGE_SUMMARY 2, DS 2, 2 not shown"
    )
    names = [(f"patient {chr(97 + i)}",) for i in range(21) for _ in range(3)]
    frame = spark.createDataFrame(names, "category string")
    assert unknown_values(frame, "category", ["nursing"]) == "too many different ones to show"
