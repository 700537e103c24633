"""One data frame gives the same cohort and documents, whatever form it is written in.

Each round draws a form for every column of every file, so all forms meet each other.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Observation, SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.admissions import all_admissions
from readmit_spark.notes.cohort import cohort_table, exclusions_table, label_admissions
from readmit_spark.notes.documents_table import documents_table
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.ingest_job import ingest
from tests.runs import start_run

ROUNDS = 4
ZONE = ZoneInfo("America/New_York")
Value = Any
Form = Callable[[Value], Value]
Rows = list[dict[str, Value]]


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0, micro: int = 0) -> datetime:
    return datetime(2150, 1 + day // 28, 1 + day % 28, hour, minute, second, micro)


def _stay(subject: int, hadm: int, *times: datetime | None, kind: str = "EMERGENCY") -> Any:
    names = ("ADMITTIME", "DISCHTIME", "DEATHTIME")
    ids = {"SUBJECT_ID": subject, "HADM_ID": hadm}
    return {**ids, **dict(zip(names, times, strict=True)), "ADMISSION_TYPE": kind}


STAYS: Rows = [
    _stay(1, 29079101, at(0, 23, 30, 1), at(4, 12), None),
    _stay(1, 29079102, at(34, 12), at(40, 1, 2, 3, 123457), None),  # exactly 30 days later
    _stay(2, 29079103, at(0), at(9), at(9), kind="URGENT"),
    _stay(3, 29079104, at(2, 0, 30), None, None),
    _stay(4, 29079105, at(2), at(3), None, kind="NEWBORN"),
    _stay(5, 29079106, at(20, 3), at(21), None, kind="ELECTIVE"),
    _stay(5, 29079107, at(1, 2), at(5, 0, 0, 59), None),
]


def _note(row: int, stay: int, day: int, category: str, marked: bool | None = None) -> Any:
    of = STAYS[stay]
    return {
        "ROW_ID": row, "SUBJECT_ID": of["SUBJECT_ID"], "HADM_ID": of["HADM_ID"],
        "CHARTDATE": at(day).date(), "CHARTTIME": None if row % 3 == 0 else at(day, row, 5, row),
        "STORETIME": None, "CATEGORY": category, "ISERROR": marked,
        "TEXT": f'note {row} "said", no\nGröße ≥ {row}, {"denies pain " * 9}.',
    }  # fmt: skip


NOTES: Rows = [
    _note(1, 0, 0, "Nursing"), _note(2, 0, 1, "Nursing/other", True), _note(3, 0, 2, "Physician"),
    _note(4, 0, 4, "Discharge summary"), _note(5, 1, 34, "ECG"), _note(6, 1, 36, "Radiology"),
    _note(7, 3, 2, "Nursing", False), _note(8, 3, 3, "Nursing"), _note(9, 6, 1, "Echo"),
    {**_note(10, 6, 5, "Discharge summary"), "HADM_ID": None}, _note(11, 5, 20, "Nursing"),
    _note(12, 5, 22, "Consult"), _note(13, 6, 5, "Discharge summary"),
]  # fmt: skip


# --- forms as text, for CSV and for columns of text in Parquet ------------------------------------


def _without_seconds(time: datetime) -> str:
    short = not (time.second or time.microsecond)
    return f"{time:%Y-%m-%d %H:%M}" if short else str(time)


def _date_alone(time: datetime) -> str:
    return str(time.date()) if time == datetime.combine(time, datetime.min.time()) else str(time)


TIME_TEXTS: list[Form] = [
    str, datetime.isoformat, _without_seconds, _date_alone,
    lambda t: f"{t:%Y-%m-%dT%H:%M:%S.%f}000",
    lambda t: t.replace(tzinfo=ZONE).isoformat(),
    lambda t: f"{t.replace(tzinfo=ZONE).astimezone(ZoneInfo('UTC')):%Y-%m-%dT%H:%M:%S.%fZ}",
    lambda t: f"\ufeff {t}\t",
]  # fmt: skip
TEXTS: dict[str, list[Form]] = {
    "id": [str, lambda n: f"{n}.0", lambda n: f" 00{n}", lambda n: f"+{n}\u00a0"],
    "time": TIME_TEXTS,
    "date": [str, lambda d: f"{d} 00:00:00", lambda d: f"{d}T00:00", lambda d: f"{d}T00:00:00-05"],
    "flag": [
        lambda f: "1" if f else "0", lambda f: str(f), lambda f: "t" if f else "f",
        lambda f: " YES" if f else "no", lambda f: "1.0" if f else "0.0",
    ],
    "code": [str, str.upper, lambda c: f" {c.lower()} ", lambda c: c.replace(" ", "\u00a0 ")],
    "text": [str],
}  # fmt: skip
NULLS = ["", "NULL", "\\N", "NaT", "nan", "None", "<NA>"]
KINDS = {
    **dict.fromkeys(("ROW_ID", "SUBJECT_ID", "HADM_ID"), "id"),
    **dict.fromkeys(("ADMITTIME", "DISCHTIME", "DEATHTIME", "CHARTTIME", "STORETIME"), "time"),
    "CHARTDATE": "date", "ISERROR": "flag", "ADMISSION_TYPE": "code", "CATEGORY": "code",
    "TEXT": "text",
}  # fmt: skip


# --- forms in Parquet -----------------------------------------------------------------------------


def _instants(unit: str) -> Callable[[Sequence[Any]], pa.Array]:
    def array(times: Sequence[Any]) -> pa.Array:
        moments = [
            t and datetime.combine(t, getattr(t, "time", datetime.min.time)()) for t in times
        ]
        return pa.array(
            [m and m.replace(tzinfo=ZONE) for m in moments], pa.timestamp(unit, "America/New_York")
        )

    return array


def _times(unit: str) -> Callable[[Sequence[Any]], pa.Array]:
    return lambda times: (
        pa.array(times, pa.date32()).cast(pa.timestamp(unit))
        if any(type(t) is date for t in times)
        else pa.array(times, pa.timestamp(unit))
    )


def _micros(times: Sequence[Any]) -> pa.Array:
    return pa.array(times, pa.timestamp("us")).cast(pa.int64())


def _of(
    kind: pa.DataType, convert: Form = lambda value: value
) -> Callable[[Sequence[Any]], pa.Array]:
    return lambda values: pa.array([None if v is None else convert(v) for v in values], kind)


def _text(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if v is None else str(v) for v in values])


ARRAYS: dict[str, list[Callable[[Sequence[Any]], pa.Array]]] = {
    "id": [
        _of(pa.int64()), _of(pa.int32()), _of(pa.uint32()), _of(pa.float64(), float), _text,
        _of(pa.decimal128(20, 0), Decimal), _of(pa.float64(), lambda n: float(n)),
    ],
    "time": [_times("ns"), _times("us"), _instants("ns"), _instants("us"), _micros, _text],
    "date": [
        _of(pa.date32()), _of(pa.date64()), _times("ns"), _times("ms"), _instants("us"), _text,
    ],
    "flag": [
        _of(pa.bool_()), _of(pa.int8(), int), _of(pa.float64(), float), _text,
        _of(pa.decimal128(5, 2), lambda f: Decimal(int(f))),
        lambda flags: pa.nulls(len(flags)) if set(flags) == {None} else pa.array(flags, pa.bool_()),
    ],
    "code": [_text, lambda c: _text(c).dictionary_encode(), _of(pa.large_string())],
    "text": [_text, _of(pa.large_string())],
}  # fmt: skip


def parts(rows: Rows, draw: random.Random) -> list[Rows]:
    """Return the rows in one to three parts, in any order."""
    rows = draw.sample(rows, len(rows))
    n = draw.randint(1, 3)
    return [rows[i::n] for i in range(n)]


def write_csv(rows: Rows, folder: Path, name: str, draw: random.Random, turn: int) -> str:
    whole = [rows] if turn % 2 else parts(rows, draw)
    folder = folder if turn % 2 else folder / f"{name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    for i, part in enumerate(whole):
        columns = draw.sample(list(rows[0]), len(rows[0]))
        forms = {c: draw.choice(TEXTS[KINDS[c]]) for c in columns}
        null = draw.choice(NULLS)
        out = io.StringIO()
        writer = csv.writer(out, quoting=draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        writer.writerow(["", *(draw.choice([c, c.lower()]) for c in columns)])
        for j, row in enumerate(part):
            writer.writerow([j, *(null if row[c] is None else forms[c](row[c]) for c in columns)])
        raw = out.getvalue().encode("utf-8-sig" if draw.random() < 0.3 else "utf-8")
        path = folder / (f"{name}.csv" if turn % 2 else f"part-{i}.csv")
        if draw.random() < 0.5:
            middle = len(raw) // 2
            path = path.with_suffix(".csv.gz")
            raw = gzip.compress(raw[:middle]) + gzip.compress(raw[middle:])
        path.write_bytes(raw)
    return str(path if turn % 2 else folder)


def write_parquet(rows: Rows, folder: Path, name: str, draw: random.Random, turn: int) -> str:
    folder = folder / name
    folder.mkdir(parents=True)
    for i, part in enumerate(parts(rows, draw)):
        columns = {
            c: ARRAYS[KINDS[c]][(turn + i + place) % len(ARRAYS[KINDS[c]])]([r[c] for r in part])
            for place, c in enumerate(draw.sample(list(rows[0]), len(rows[0])))
        }
        pq.write_table(pa.table(columns), folder / f"part-{i}.parquet")
    return str(folder)


def config_of(admissions: str, notes: str, root: Path) -> Config:
    return load_config(
        overrides=[
            f"data.admissions={admissions}", f"data.notes={notes}", f"output.root={root}",
            "windows=[2days, 3days, discharge]", "data.time_zone=America/New_York",
            "data.integer_times=microseconds",
        ]
    )  # fmt: skip


def tables(spark: SparkSession, config: Config) -> dict[str, list[str]]:
    """Return the rows of cohort, exclusions and documents, whose texts decide the chunks."""
    with start_run(spark, config, "prepare") as run:
        distinct, _ = all_admissions(run)
        labelled = label_admissions(distinct, config).cache()
        labelled.count()
    cohort = cohort_table(labelled, config)
    notes = read_checked_notes(spark, config)
    documents = documents_table(
        notes.rows, cohort, labelled, config, Observation("notes"), Observation("repeated")
    )
    frames = {"cohort": cohort, "documents": documents, "exclusions": exclusions_table(labelled)}
    found = {name: sorted(map(str, frame.collect())) for name, frame in frames.items()}
    notes.check(print)
    labelled.unpersist()
    return found


@pytest.fixture(scope="module")
def expected(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The tables of the plainest CSV."""
    folder = tmp_path_factory.mktemp("plain")
    for name, rows in (("A", STAYS), ("N", NOTES)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    found = tables(spark, config_of(f"{folder}/A.csv", f"{folder}/N.csv", folder))
    assert [len(found[name]) for name in sorted(found)] == [5, 12, 2]
    return found


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(0, marks=pytest.mark.spark4),
        *(pytest.param(turn, marks=pytest.mark.slow) for turn in range(1, ROUNDS)),
    ],
)
def test_every_form_gives_the_same_tables(
    spark: SparkSession, tmp_path: Path, expected: dict[str, list[str]], turn: int
) -> None:
    draw = random.Random(turn)
    paths = [
        write_csv(rows, tmp_path, name, draw, turn) for name, rows in (("A", STAYS), ("N", NOTES))
    ]
    of_csv = config_of(*paths, tmp_path / "raw")
    assert tables(spark, of_csv) == expected
    parquet = [
        write_parquet(rows, tmp_path / "p", n, draw, turn)
        for n, rows in (("A", STAYS), ("N", NOTES))
    ]
    assert tables(spark, config_of(*parquet, tmp_path)) == expected
    if turn < 2:
        with start_run(spark, of_csv, "ingest") as run:
            ingest(run)
        root = str(tmp_path / "raw")
        assert tables(spark, config_of(root, root, tmp_path)) == expected
