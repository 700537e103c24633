"""Write the demo hospital as CSV files, quoted like MIMIC-III's."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from readmit_spark.demo.hospital import TIMES, Hospital


def write_hospital(hospital: Hospital, folder: Path) -> None:
    """Write ADMISSIONS.csv, NOTEEVENTS.csv, PATIENTS.csv and TRUTH.csv into `folder`.

    Texts are quoted, with quotes doubled; times and numbers are not quoted; a missing value is
    empty. Files are UTF-8 with line feeds. `folder` is created if needed, and existing files of
    these names are replaced.

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
    """Format a table; pandas' own writer would also quote missing values."""
    fields = pd.DataFrame({name: _fields(table[name]) for name in table.columns})
    header = ",".join(f'"{name}"' for name in table.columns)
    lines = map(",".join, fields.itertuples(index=False, name=None))
    return "\n".join([header, *lines]) + "\n"


def _fields(column: pd.Series) -> pd.Series:
    if column.name == "CHARTDATE":
        text = column.dt.strftime("%Y-%m-%d")
    elif column.name in TIMES:
        text = column.dt.strftime("%Y-%m-%d %H:%M:%S")
    elif pd.api.types.is_numeric_dtype(column):
        text = column.astype("string")
    else:
        text = '"' + column.str.replace('"', '""') + '"'
    return text.astype(object).where(column.notna(), "")
