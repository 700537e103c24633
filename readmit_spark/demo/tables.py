"""The demo hospital on disk, quoted as MIMIC-III's CSV files are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from readmit_spark.demo.hospital import TIMES, Hospital


def write_hospital(hospital: Hospital, folder: Path) -> None:
    """Write ADMISSIONS.csv, NOTEEVENTS.csv, PATIENTS.csv and TRUTH.csv into `folder`.

    Texts are quoted (line breaks and commas inside, quotes doubled), times and numbers are not,
    a missing value is empty; UTF-8, lines end in a line feed. `folder` is made where it is
    missing, and files of these names in it are replaced.

    >>> write_hospital(make_hospital(patients=10, seed=0), Path("data"))  # doctest: +SKIP
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "ADMISSIONS": hospital.admissions,
        "NOTEEVENTS": hospital.notes,
        "PATIENTS": hospital.patients,
        "TRUTH": hospital.truth,
    }
    for name, table in tables.items():
        (folder / f"{name}.csv").write_bytes(_csv(table).encode())


def _csv(table: pd.DataFrame) -> str:
    """pandas' own writer quotes missing values too, which MIMIC-III does not."""
    fields = pd.DataFrame({name: _fields(table[name]) for name in table.columns})
    header = ",".join(f'"{name}"' for name in table.columns)
    lines = map(",".join, fields.itertuples(index=False, name=None))
    return "\n".join([header, *lines]) + "\n"


def _fields(column: pd.Series) -> pd.Series:
    if column.name == "CHARTDATE":
        written = column.dt.strftime("%Y-%m-%d")
    elif column.name in TIMES:
        written = column.dt.strftime("%Y-%m-%d %H:%M:%S")
    elif pd.api.types.is_numeric_dtype(column):
        written = column.astype("string")
    else:
        written = '"' + column.str.replace('"', '""') + '"'
    return written.astype(object).where(column.notna(), "")
