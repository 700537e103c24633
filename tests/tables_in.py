"""Make rows of ADMISSIONS and NOTEEVENTS for tests, and write them as CSV."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = dict[str, str | None]


def stay(
    subject: int,
    hadm: int | str | None,
    admitted: str | None,
    discharged: str | None,
    kind: str | None = "EMERGENCY",
    died: str | None = None,
) -> Row:
    """Return a row of ADMISSIONS; a date without a time means noon."""
    return {
        "SUBJECT_ID": str(subject),
        "HADM_ID": None if hadm is None else str(hadm),
        "ADMITTIME": _noon(admitted),
        "DISCHTIME": _noon(discharged),
        "DEATHTIME": _noon(died),
        "ADMISSION_TYPE": kind,
    }


def note(
    row: int,
    subject: int,
    hadm: int | str | None,
    text: str | None,
    day: str | None = "2020-01-01",
    time: str | None = None,
    category: str | None = "Nursing",
    iserror: str | None = None,
) -> Row:
    """Return a row of NOTEEVENTS; `time` is a time of `day`."""
    return {
        "ROW_ID": str(row),
        "SUBJECT_ID": str(subject),
        "HADM_ID": None if hadm is None else str(hadm),
        "CHARTDATE": day,
        "CHARTTIME": None if time is None else f"{day} {time}",
        "CATEGORY": category,
        "ISERROR": iserror,
        "TEXT": text,
    }


def words(n: int, start: int = 0) -> str:
    """Return n different words that cleaning does not change."""
    letters = "abcdefghijklmnopqrst"
    return " ".join(
        "w" + "".join(letters[int(digit)] for digit in str(i)) for i in range(start, start + n)
    )


def write_csv(path: Path, rows: Iterable[Mapping[str, str | None]], end: str = "\n") -> str:
    """Write a CSV as in RFC 4180: None becomes an empty field, any other value is quoted.

    Lone surrogates become bytes that are not UTF-8.
    """
    rows = list(rows)
    lines = [",".join(rows[0])]
    lines += [",".join(map(_field, row.values())) for row in rows]
    raw = "".join(line + end for line in lines).encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def _field(value: str | None) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'


def _noon(time: str | None) -> str | None:
    return f"{time} 12:00:00" if time is not None and len(time) == 10 and time[4] == "-" else time
