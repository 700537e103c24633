"""A first look at ADMISSIONS and NOTEEVENTS: columns, kinds of ids, stays and readmissions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

from readmit_spark.config import Config
from readmit_spark.config_types import folded_code
from readmit_spark.early_checks import local_table
from readmit_spark.errors import UserError

_CSV = re.compile(r"\.csv(\.gz)?$", re.IGNORECASE)
_WHOLE_NUMBER = r"\s*[+-]?\d+(?:\.0+)?\s*"


@dataclass(frozen=True)
class Table:
    """A table on this machine. columns: as written. files: sorted; their bytes in sum: size."""

    key: str
    files: tuple[Path, ...]
    columns: tuple[str, ...]
    size: int

    def missing(self, needed: Sequence[str]) -> list[str]:
        """Return the needed columns that the table lacks, in any case."""
        present = {column.strip().upper() for column in self.columns}
        return [column for column in needed if column not in present]

    def read(self, columns: Sequence[str]) -> pd.DataFrame:
        """Read the columns as text, under upper-case names; those that are missing are left out."""
        names = {column: column.strip().upper() for column in self.columns}
        wanted = [column for column, name in names.items() if name in columns]
        return pd.concat([_read(file, wanted) for file in self.files]).rename(columns=names)


@dataclass(frozen=True)
class Stays:
    """What ADMISSIONS holds, about as `prepare` will find it.

    readmitted: stays before an unplanned one that begins within the horizon. unread_times: share of
    ADMITTIMEs that pandas does not understand. types: ADMISSION_TYPE that `codes.*` does not list,
    with counts. last: the last admission.
    """

    n: int
    patients: int
    readmitted: int
    text_ids: bool
    unread_times: float
    types: dict[str, int]
    last: pd.Timestamp | None


def find_table(key: str, path: str) -> Table | None:
    """Return the table at `path`; None if it is not on this machine (a URL, or a pattern).

    Raise a UserError if there is none, or if no file of it can be read.
    """
    place = local_table(key, path)
    if place is None:
        return None
    ingested = place / "_manifests" / "ingest.json"
    if ingested.exists():
        place = place / json.loads(ingested.read_text())["run"] / key.rpartition(".")[2]
    found = sorted(place.iterdir()) if place.is_dir() else [place]
    files = tuple(f for f in found if f.is_file() and not f.name.startswith(("_", ".")))
    if not files:
        raise UserError(f"{key}: {place} has no file to read")
    try:
        columns = _columns(files[0])
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{key}: {files[0]} cannot be read ({type(error).__name__})") from None
    return Table(key, files, columns, sum(file.stat().st_size for file in files))


def look_at_stays(admissions: Table, config: Config) -> Stays:
    """Read ADMISSIONS whole. It is small: MIMIC-III's has 58,976 rows."""
    columns = ("SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME", "ADMISSION_TYPE", "PLANNED")
    rows = admissions.read(columns).drop_duplicates()
    ids = pd.concat([rows["SUBJECT_ID"], rows["HADM_ID"]]).dropna()
    written = rows["ADMITTIME"].dropna()
    rows["ADMITTIME"] = pd.to_datetime(rows["ADMITTIME"], errors="coerce", format="mixed")
    rows["DISCHTIME"] = pd.to_datetime(rows["DISCHTIME"], errors="coerce", format="mixed")
    types = rows["ADMISSION_TYPE"].dropna().map(folded_code)
    codes = config.codes
    unknown = types[~types.isin([*codes.planned, *codes.unplanned, *codes.newborn])]
    return Stays(
        n=len(rows),
        patients=rows["SUBJECT_ID"].nunique(),
        readmitted=_readmitted(rows, types, config),
        text_ids=not ids.str.fullmatch(_WHOLE_NUMBER).all(),
        unread_times=1 - rows["ADMITTIME"].count() / len(written) if len(written) else 0.0,
        types={str(name): int(n) for name, n in unknown.value_counts().items()},
        last=None if rows["ADMITTIME"].isna().all() else rows["ADMITTIME"].max(),
    )


def _readmitted(rows: pd.DataFrame, types: pd.Series, config: Config) -> int:
    """Count the stays before an unplanned one that begins less than the horizon after them."""
    planned = types.reindex(rows.index).isin(config.codes.planned)
    if "PLANNED" in rows:  # what a site computes has the last word
        said = rows["PLANNED"].str.strip().str.lower()
        planned = planned.mask(said == "yes", True).mask(said == "no", False)
    stays = rows.assign(planned=planned)
    stays = stays.dropna(subset=["ADMITTIME"]).sort_values(["SUBJECT_ID", "ADMITTIME"])
    unplanned = stays["ADMITTIME"].where(~stays["planned"])
    patient = stays["SUBJECT_ID"]
    later = unplanned.groupby(patient).shift(-1).groupby(patient).bfill()
    days = (later - stays["DISCHTIME"]) / pd.Timedelta(days=1)
    return int((days < config.label.horizon_days).sum())


def _columns(file: Path) -> tuple[str, ...]:
    if _CSV.search(file.name):
        return tuple(pd.read_csv(file, nrows=0).columns)
    return tuple(ds.dataset(file, format="parquet").schema.names)


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    if _CSV.search(file.name):
        return pd.read_csv(file, usecols=list(columns), dtype=str)
    table = ds.dataset(file, format="parquet").to_table(columns=list(columns)).to_pandas()
    return table.astype(object).where(table.notna()).map(lambda v: v if v is None else str(v))
