"""Turn tables of another format into tables of MIMIC-III's shape, with an account of every row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.storage.formats.fhir import FHIR
from readmit_spark.storage.formats.mapping import mapping_format
from readmit_spark.storage.formats.mapping_file import read_mapping
from readmit_spark.storage.formats.mimic4 import MIMIC4
from readmit_spark.storage.formats.omop import OMOP
from readmit_spark.storage.formats.plain_notes import as_plain, with_form
from readmit_spark.storage.formats.shape import FORM, LEFT_OUT, SOURCE_ROWS, Format, check_codes
from readmit_spark.storage.formats.sources import find_sources, read_source
from readmit_spark.storage.output_tables import INGEST
from readmit_spark.storage.run import Run

STAGES = 3  # read; check codes; translate

_FORMATS = {form.name: form for form in (MIMIC4, FHIR, OMOP)}


def format_of(config: Config) -> Format:
    """Return the format that `data.format` names, or that its mapping file describes."""
    name = config.data.format
    return _FORMATS[name] if name in _FORMATS else mapping_format(name, read_mapping(name))


def find_tables(spark: SparkSession, config: Config) -> dict[str, list[str]]:
    """Return the paths of the format's sources; raise a UserError if one or a key is missing."""
    form = format_of(config)
    if form.needs_zone:
        required(config.data.time_zone, "data.time_zone")
    return find_sources(spark, config, form)


def translate(run: Run) -> dict[str, Any]:
    """Publish admissions, notes and patients of `data.folder`; return the manifest's facts.

    Raise a UserError if a source is missing, cannot be read to its end, or has codes without a
    meaning.
    """
    form = format_of(run.config)
    paths = find_tables(run.spark, run.config)
    with run.stage(f"read {', '.join(paths)}"):
        raw = {name: read_source(run, name, form.sources[name], paths[name]) for name in paths}
    with run.stage("check codes"):
        for coded in form.coded(raw):
            check_codes(coded)
    facts = {}
    with run.stage(f"write {', '.join(form.main)}"):
        tables = form.select(raw, run.config)
        form.check(tables, run.config)
        for name, frame in tables.items():
            mains = [main for main in form.main[name] if main in raw]
            read = sum(raw[main].count() for main in mains)
            sources = [path for main in mains for path in paths[main]]
            facts[name] = {"path": ", ".join(sources), **_write(run, name, frame, read)}
    return run.publish({"format": form.name, "sources": facts})


def _write(run: Run, name: str, frame: DataFrame, read: int) -> dict[str, Any]:
    """Write the rows that are not left out; return the account of the table.

    rows_read = rows + joined + the rows of each reason in left_out. Raise a RuntimeError if not.
    """
    columns = INGEST[name].schema.names
    if name == "notes":
        frame = with_form(frame)
    kept_rows = frame.where(F.col(LEFT_OUT).isNull())
    written = kept_rows.withColumn("TEXT", as_plain()) if name == "notes" else kept_rows
    run.write_table(written.select(*columns), name)
    rows = run.rows(name)
    if not rows:
        raise UserError(f"data.format: no row of {name} is left; nothing was published")
    stands_for = F.col(SOURCE_ROWS) if SOURCE_ROWS in frame.columns else F.lit(1)
    counts = {
        row[LEFT_OUT]: (row["n"], row["source"])
        for row in frame.groupBy(LEFT_OUT)
        .agg(F.count(F.lit(1)).alias("n"), F.sum(stands_for).alias("source"))
        .collect()
    }
    kept, stood_for = counts.pop(None, (0, 0))
    left_out = {reason: source for reason, (_, source) in sorted(counts.items())}
    account = {"rows_read": read, "rows": rows, "joined": stood_for - kept, "left_out": left_out}
    if kept != rows or read != rows + account["joined"] + sum(left_out.values()):
        raise RuntimeError(f"{name}: the account does not add up: {account}")
    forms = kept_rows.groupBy(FORM).count().collect() if name == "notes" else []
    converted = {row[FORM]: row["count"] for row in forms if row[FORM]}
    return {**account, "converted": converted, "columns": list(columns)}


def account_line(name: str, account: Mapping[str, Any]) -> str:
    """Return a line on the rows of a table."""
    parts = [f"{account['rows_read']:,} rows read", f"{account['rows']:,} written"]
    if account["joined"]:
        parts.append(f"{account['joined']:,} joined to others")
    parts += [f"{n:,} left out: {reason}" for reason, n in account["left_out"].items()]
    parts += [f"{n:,} converted from {form.upper()}" for form, n in account["converted"].items()]
    return f"{name}: {', '.join(parts)}"
