"""`readmit init`: write a configuration with a comment on each line, after a look at the tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import yaml

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.start.tables import Stays, find_table, look_at_stays
from readmit_spark.storage.formats.translate import format_of
from readmit_spark.storage.input_tables import ADMISSIONS
from readmit_spark.storage.table_source import check_columns


def write_configuration(
    file: Path, admissions: str, notes: str, patients: str | None, root: str, today: date
) -> None:
    """Write the configuration for these tables to `file`.

    Raise a UserError if the file exists, if a table is missing, or if ADMISSIONS lacks columns.
    """
    if file.exists():
        raise UserError(f"{file} exists; give another name, or delete it")
    paths = {"admissions": admissions, "notes": notes, "patients": patients}
    tables = {name: find_table(f"--{name}", path) for name, path in paths.items() if path}
    table = tables["admissions"]
    stays = None
    if table is not None:
        check_columns(table.columns, ADMISSIONS, admissions, "--admissions")
        stays = look_at_stays(table, load_config())
    absolute = {name: _absolute(path) for name, path in paths.items() if path}
    lines = _lines(absolute, _absolute(root), stays, today)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    load_config(file)  # what was written can be read


def write_ingest_configuration(file: Path, form: str, folder: str, root: str) -> None:
    """Write the configuration for tables of another format in `folder` to `file`.

    Raise a UserError if the file exists or there is no such format.
    """
    if file.exists():
        raise UserError(f"{file} exists; give another name, or delete it")
    named = _absolute(form) if form.endswith((".yaml", ".yml")) else form
    lines = _ingest_lines(named, _absolute(folder), _absolute(root))
    text = "\n".join(lines) + "\n"
    file.write_text(text, encoding="utf-8")
    try:
        format_of(load_config(file))
    except UserError:
        file.unlink()
        raise


def _ingest_lines(form: str, folder: str, root: str) -> Iterator[str]:
    yield "# Overrides of conf/base.yaml, which lists every key."
    yield "# First: readmit ingest. It writes tables of MIMIC-III's shape to output.root."
    yield from ("", "data:")
    yield f"  format: {_text(form)}"
    yield f"  folder: {_text(folder)}"
    for name in ("admissions", "notes", "patients"):
        yield f"  {name}: {_text(root)}"
    if form == "fhir":
        yield "  ids: text                # of resources"
        yield "  time_zone: null          # set it: the hospital's, such as Europe/Amsterdam"
    yield from ("", "output:")
    yield f"  root: {_text(root)}  # a folder of its own; it will hold patients' data"
    if form == "mimic4":
        yield from ("", "# MIMIC-IV has no early notes but radiology.", "windows: [discharge]")
        yield from ("train:", "  window: discharge")


def _lines(paths: dict[str, str], root: str, stays: Stays | None, today: date) -> Iterator[str]:
    yield "# Overrides of conf/base.yaml, which lists every key."
    yield ""
    yield "data:"
    for name, path in paths.items():
        yield f"  {name}: {_text(path)}"
    if stays is not None and stays.text_ids:
        yield "  ids: text                # they are not all whole numbers"
    yield from ("", "output:")
    yield f"  root: {_text(root)}  # a folder of its own; it will hold patients' data"
    if stays is not None:
        yield from _label(stays, today)
        yield from _codes(stays)
    yield from (
        "",
        "# For a first try on a laptop; leave out both sections for a clinical BERT on a GPU.",
    )
    yield from ("model:", "  max_tokens: 256          # tokens of a chunk; 512 is slower")
    yield from (
        "train:",
        "  learning_rate: 2.0e-4    # a small model can learn faster than BERT-base",
    )
    yield "  batch_size: 16           # chunks in each step"


def _label(stays: Stays, today: date) -> Iterator[str]:
    last = stays.last
    if last is None:
        return
    yield from ("", "label:")
    if last.date() > today:
        yield f"  known_until: null        # dates are shifted: admissions until {last:%Y-%m-%d}"
    else:
        yield "  known_until: auto        # stays of the last month have no"
        yield f"                           # outcome yet; last admission: {last:%Y-%m-%d}"


def _codes(stays: Stays) -> Iterator[str]:
    if not stays.types:
        return
    yield from ("", "# ADMISSION_TYPE without a meaning yet. Move each value to the right list.")
    yield "codes:"
    yield "  planned: [elective]"
    values = ", ".join(_text(name) for name in stays.types)
    yield f"  unplanned: [emergency, urgent, {values}]  # check these: readmissions are unplanned"


def _text(value: str) -> str:
    """Return a text as YAML reads it, quoted where that is needed."""
    return yaml.safe_dump(value, width=10**6, allow_unicode=True).split("\n")[0].strip()


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).expanduser().absolute())
