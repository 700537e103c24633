"""A first look at `data.folder`, the tables of another format, without Spark."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from readmit_spark.config import Config, required
from readmit_spark.early_checks import local_table
from readmit_spark.errors import UserError
from readmit_spark.start.findings import Finding
from readmit_spark.start.tables import find_table
from readmit_spark.storage.formats.shape import KEY, SourceTable
from readmit_spark.storage.formats.translate import format_of
from readmit_spark.storage.table_source import check_columns

_TABLE = r"(\.csv|\.csv\.gz|\.parquet|\.parq|\.pq)?"
_NDJSON = r"(?![a-z])[^/]*\.(ndjson|jsonl|json)"


def look_at_folder(config: Config) -> Iterator[Finding]:
    """Say which tables of `data.format` are in `data.folder`, and which columns they lack."""
    form = format_of(config)
    folder = local_table(KEY, required(config.data.folder, KEY))
    if form.needs_zone and not config.data.time_zone:
        yield Finding("missing", f"data.time_zone is not set: data.format={form.name} needs it")
    if folder is None:
        yield Finding("warning", f"{KEY} is not looked at: it is no path of this machine")
        return
    for source in form.sources.values():
        yield _look(folder, source, form.name)
    windows = config.windows
    if form.name == "mimic4" and (config.train.window != "discharge" or windows != ("discharge",)):
        yield Finding(
            "warning",
            "early windows of MIMIC-IV hold radiology alone, and training on them is refused: set "
            "windows=[discharge] and train.window=discharge",
        )


def _look(folder: Path, source: SourceTable, form: str) -> Finding:
    files = _files(folder, source)
    name = source.file if source.resource is None else f"{source.file}*.ndjson"
    if not files:
        if not source.required:
            return Finding("ok", f"{KEY}: {name} is not there, and may be left out")
        return Finding(
            "missing", f"{KEY}: {name} is missing in {folder}; data.format={form} needs it"
        )
    size = sum(file.stat().st_size for file in files if file.is_file())
    found = f"{KEY}: {name}, {size / 1e6:,.1f} MB in {len(files):,} files"
    if source.resource is not None:
        return _first_line(files[0], source.file, found)
    try:
        table = find_table(KEY, str(files[0]))
        if table is not None:
            check_columns(table.columns, source.needed, str(files[0]), KEY)
    except UserError as error:
        return Finding("missing", str(error))
    absent = [] if table is None else table.missing(source.optional)
    without = f"; without {', '.join(absent)}" if absent else ""
    return Finding("ok", f"{found}, all columns that are needed{without}")


def _files(folder: Path, source: SourceTable) -> Sequence[Path]:
    """Return the files of a source, as `sources.find_sources` finds them."""
    place = folder / Path(source.file).parent
    last, ending = Path(source.file).name, _TABLE if source.resource is None else _NDJSON
    pattern = re.compile(re.escape(last) + ending, re.IGNORECASE)
    present = sorted(place.iterdir()) if place.is_dir() else []
    names = [file for file in present if pattern.fullmatch(file.name.removesuffix(".gz"))]
    return names if source.resource is not None else names[:1]


def _first_line(file: Path, resource: str, found: str) -> Finding:
    """Check that the first line of NDJSON is such a resource."""
    if file.suffix == ".gz":
        return Finding("ok", found)
    with file.open(encoding="utf-8", errors="replace") as lines:
        line = next((line for line in lines if line.strip()), "{}")
    try:
        kind = json.loads(line).get("resourceType")
    except (ValueError, AttributeError):
        kind = None
    if kind != resource:
        return Finding("missing", f"{KEY}: the first line of {file.name} is no {resource} of FHIR")
    return Finding("ok", found)
