"""`readmit check`: whether this machine and these tables are ready, without Spark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from readmit_spark.config import Config, required
from readmit_spark.early_checks import FEWEST_READMITTED
from readmit_spark.errors import UserError
from readmit_spark.start.tables import Stays, Table, find_table, look_at_stays
from readmit_spark.storage.input_tables import ADMISSIONS, NOTES, PATIENTS
from readmit_spark.storage.java import java_home
from readmit_spark.storage.table_source import check_columns

_GB = 1e9
_MEMORY, _DISK = 6 * _GB, 5 * _GB  # Java, two workers and a model; results of a small hospital
_SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
_DISK_PER_NOTES = 3  # results and scratch files of prepare, per byte of notes
_NEEDED = {"data.admissions": ADMISSIONS, "data.notes": NOTES, "data.patients": PATIENTS}


@dataclass(frozen=True)
class Finding:
    """One line of the check."""

    state: Literal["ok", "warning", "missing"]
    line: str

    def __str__(self) -> str:
        return f"{self.state:<8} {self.line}"


def check(config: Config, environment: Mapping[str, str]) -> list[Finding]:
    """Look at the machine and at the tables of the configuration."""
    findings = [_java(environment), _memory()]
    tables: dict[str, Table] = {}
    for key in _NEEDED:
        findings += _look(config, key, tables)
    size = tables["data.notes"].size if "data.notes" in tables else 0
    findings.append(_disk(config, size))
    admissions = tables.get("data.admissions")
    if admissions and not admissions.missing(ADMISSIONS):
        findings += _stays(look_at_stays(admissions, config), config)
    return findings


def _java(environment: Mapping[str, str]) -> Finding:
    try:
        return Finding("ok", f"Java 17 in {java_home(environment)}")
    except UserError as error:
        return Finding("missing", str(error))


def _memory() -> Finding:
    bytes_ = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    line = f"{bytes_ / _GB:.0f} GB of memory"
    if bytes_ < _MEMORY:
        return Finding("warning", f"{line}: {_MEMORY / _GB:.0f} GB or more is better")
    return Finding("ok", line)


def _disk(config: Config, notes: int) -> Finding:
    root = required(config.output.root, "output.root")
    if "://" in root:
        return Finding("ok", f"output.root is {root}: its space is not looked at")
    place = Path(root).absolute()
    while not place.exists():
        place = place.parent
    free, needed = shutil.disk_usage(place).free, max(_DISK, _DISK_PER_NOTES * notes)
    line = f"{free / _GB:.0f} GB of disk are free for output.root"
    if free < needed:
        return Finding("missing", f"{line}: about {needed / _GB:.0f} GB are needed")
    return Finding("ok", line)


def _look(config: Config, key: str, tables: dict[str, Table]) -> Iterator[Finding]:
    """Find the table of a key, add it to `tables`, and say which columns it lacks."""
    path = getattr(config.data, key.removeprefix("data."))
    if not path:
        if key != "data.patients":
            yield Finding("missing", f"{key} is not set")
        return
    try:
        table = find_table(key, path)
    except UserError as error:
        yield Finding("missing", str(error))
        return
    if table is None:
        yield Finding("warning", f"{key}: {path} is not looked at: it is no path of this machine")
        return
    tables[key] = table
    try:
        check_columns(table.columns, _NEEDED[key], path, key)
    except UserError as error:
        yield Finding("missing", str(error))
    else:
        size = f"{table.size / 1e6:,.1f} MB in {len(table.files):,} files"
        yield Finding("ok", f"{key}: {size}, all columns")


def _stays(stays: Stays, config: Config) -> Iterator[Finding]:
    share = stays.readmitted / stays.n if stays.n else 0.0
    horizon = f"{config.label.horizon_days:g} days"
    yield Finding(
        "ok",
        f"{stays.n:,} stays of {stays.patients:,} patients, about {stays.readmitted:,} "
        f"({share:.1%}) with an unplanned stay within {horizon}",
    )
    if stays.text_ids and config.data.ids == "integers":
        yield Finding("missing", "ids are not whole numbers: set data.ids=text")
    if stays.unread_times > 0:
        yield Finding("warning", f"{stays.unread_times:.1%} of ADMITTIME may not be understood")
    if stays.types:
        named = ", ".join(f"{name.upper()} ({n:,})" for name, n in stays.types.items())
        yield Finding("warning", f"codes.* list no meaning for ADMISSION_TYPE {named}")
    for split, part in _SPLITS.items():
        expected, fewest = round(part * stays.readmitted), FEWEST_READMITTED[split]
        if expected < fewest:
            purpose = "learn" if split == "train" else "measure"
            yield Finding(
                "warning",
                f"{split} will have about {expected} readmitted stays, fewer than {fewest}: too "
                f"few to {purpose} from",
            )
