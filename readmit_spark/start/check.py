"""`readmit check`: whether this machine and these tables are ready, without Spark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from readmit_spark.config import Config, required
from readmit_spark.early_checks import FEWEST_READMITTED
from readmit_spark.errors import UserError
from readmit_spark.start.findings import Finding
from readmit_spark.start.folder import look_at_folder
from readmit_spark.start.tables import Stays, Table, find_table, look_at_stays
from readmit_spark.storage.input_tables import ADMISSIONS, NOTES, PATIENTS
from readmit_spark.storage.java import java_home
from readmit_spark.storage.stay_facts import OPTIONAL
from readmit_spark.storage.table_source import check_columns

_GB = 1e9
_MEMORY, _DISK = 6 * _GB, 5 * _GB  # Java, two workers and a model; results of a small hospital
_SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}
_DISK_PER_NOTES = 3  # results and scratch files of prepare, per byte of notes
_NEEDED = {"data.admissions": ADMISSIONS, "data.notes": NOTES, "data.patients": PATIENTS}


# What results lack without an optional column. One of several names is enough.
_WITHOUT: dict[str, Mapping[tuple[str, ...], str]] = {
    "data.admissions": {
        (
            "DISCHARGE_TO",
            "DISCHARGE_LOCATION",
        ): "where patients went is not known (label.leave_out)",
        ("ETHNICITY",): "no figures by ethnicity",
        ("INSURANCE",): "no figures by insurance",
    },
    "data.notes": {
        ("STORETIME",): "notes count from CHARTTIME, which may be before anybody could read them",
        ("DESCRIPTION",): "an addendum is not told from a discharge summary",
    },
    "data.patients": {("DOD",): "deaths after discharge are not known"},
}
_TELLING = {"data.admissions": OPTIONAL}  # optional columns that are worth a word if they are there


def check(config: Config, environment: Mapping[str, str]) -> list[Finding]:
    """Look at the machine and at the tables of the configuration."""
    findings = [_java(environment), _memory()]
    tables: dict[str, Table] = {}
    if config.data.format != "mimic3" and not _is_ingested(config):
        findings += look_at_folder(config)
        findings.append(_disk(config, 0))
        ok = not any(finding.state == "missing" for finding in findings)
        findings += [Finding("ok", "next: readmit ingest, then readmit check again")] if ok else []
        return findings
    for key in _NEEDED:
        findings += _look(config, key, tables)
        if key in tables:
            findings += _optional(key, tables[key], config)
    findings += _of_nights(config)
    size = tables["data.notes"].size if "data.notes" in tables else 0
    findings.append(_disk(config, size))
    admissions = tables.get("data.admissions")
    if admissions and not admissions.missing(ADMISSIONS):
        findings += _stays(look_at_stays(admissions, config), config)
    return findings


def _is_ingested(config: Config) -> bool:
    """Return whether `data.notes` is a folder that jobs/ingest.py wrote."""
    path = config.data.notes
    return bool(path) and (Path(str(path)).expanduser() / "_manifests" / "ingest.json").exists()


def _optional(key: str, table: Table, config: Config) -> Iterator[Finding]:
    """Say which optional columns are there, and what is missing without the others."""
    for names, lack in _WITHOUT.get(key, {}).items():
        if set(names) <= set(table.missing(names)):
            yield Finding("warning", f"{key} has no {' or '.join(names)}: {lack}")
    absent = table.missing(_TELLING.get(key, ()))
    present = [name for name in _TELLING.get(key, ()) if name not in absent]
    if present:
        yield Finding("ok", f"{key} also has {', '.join(present)}")
    nightly, split = config.nightly, config.split
    asked: dict[str, dict[str, Sequence[str | None] | None]] = {
        "data.admissions": {
            "split.site_column": [split.site_column] if split.by == "site" else [],
            "nightly.columns": [] if nightly.columns_table else nightly.columns,
        },
        "data.notes": {"data.note_line": [config.data.note_line]},
    }
    for of, columns in asked.get(key, {}).items():
        upper = [column.strip().upper() for column in columns or () if column]
        if lacking := table.missing(upper):
            yield Finding("missing", f"{of}: {key} has no column {', '.join(lacking)}")


def _of_nights(config: Config) -> Iterator[Finding]:
    """Look at the tables that only the nights read."""
    nightly = config.nightly
    tables = {
        "nightly.columns_table": (nightly.columns_table, ["HADM_ID", *(nightly.columns or ())]),
        "nightly.actions": (nightly.actions, ["HADM_ID", "TIME", "ACTION"]),
    }
    for key, (path, columns) in tables.items():
        try:
            table = find_table(key, path) if path else None
            if table is not None:
                upper = [column.strip().upper() for column in columns]
                check_columns(table.columns, upper, str(path), key)
                yield Finding("ok", f"{key}: all columns")
        except UserError as error:
            yield Finding("missing", str(error))


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
