"""Find and read the tables of a format in `data.folder`."""

from __future__ import annotations

import re

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.storage.check_csv import check_records, expected_records
from readmit_spark.storage.files import open_files
from readmit_spark.storage.formats.shape import KEY, Format, SourceTable, as_texts
from readmit_spark.storage.input_files import AS_IT_STANDS, absolute_path
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.run import Run
from readmit_spark.storage.table_source import read_columns

_ENDINGS = r"(\.csv|\.csv\.gz|\.parquet|\.parq|\.pq)?"
_NDJSON = r"[^/]*\.(ndjson|jsonl|json)(\.gz)?"


def find_sources(spark: SparkSession, config: Config, form: Format) -> dict[str, list[str]]:
    """Return the paths of each source that is there, by its name in the format.

    Raise a UserError if a source that the format needs is missing.
    """
    folder = absolute_path(spark, required(config.data.folder, KEY).rstrip("/"))
    found = {}
    for name, source in form.sources.items():
        paths = _paths(spark, folder, source)
        if paths:
            found[name] = paths
        elif source.required:
            raise UserError(
                f"{KEY}: {_wanted(source)} is missing in {folder}; data.format={form.name} needs it"
            )
    return found


def read_source(run: Run, name: str, source: SourceTable, paths: list[str]) -> DataFrame:
    """Read a source into a temporary table, so that what follows reads it in parallel.

    All columns are text. Raise a UserError if it cannot be read to its end.
    """
    if source.resource is not None:
        return _read_resources(run, name, source, paths)
    path = paths[0]
    expected = expected_records(run.spark, path, KEY)
    reading = Reading.of(run.config)
    raw = read_columns(run.spark, path, KEY, source.needed, source.optional, reading)
    rows = run.write_temp(as_texts(raw), f"source_{name}")
    malformed = F.count(F.when(F.col("malformed") == "true", 1))
    counts = rows.agg(F.count(F.lit(1)), malformed).collect()[0]
    check_records(path, KEY, expected, counts[0], counts[1])
    return rows.drop("malformed")


def _read_resources(run: Run, name: str, source: SourceTable, paths: list[str]) -> DataFrame:
    """Read the fields of `source.resource` from NDJSON files of one kind of resource."""
    assert source.resource is not None
    lines = run.spark.read.options(**AS_IT_STANDS).text(paths).where(F.btrim("value") != "")
    try:
        expected = lines.count()
    except (PySparkException, Py4JJavaError):  # its message may contain note text
        raise UserError(f"{KEY}: {_wanted(source)} cannot be read to its end") from None
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_corrupt"}
    schema = f"{source.resource}, _corrupt STRING"
    parsed = lines.select(F.from_json("value", schema, options).alias("r")).select("r.*")
    rows = run.write_temp(
        parsed.withColumn("_corrupt", F.col("_corrupt").isNotNull()), f"source_{name}"
    )
    strange = rows.where(F.col("_corrupt") | ~F.col("resourceType").eqNullSafe(source.file)).count()
    if strange:
        raise UserError(
            f"{KEY}: {strange:,} of {expected:,} lines of {_wanted(source)} are no {source.file} "
            "of FHIR R4; nothing was published"
        )
    return rows.drop("_corrupt")


def _wanted(source: SourceTable) -> str:
    return f"{source.file}*.ndjson" if source.resource is not None else source.file


def _paths(spark: SparkSession, folder: str, source: SourceTable) -> list[str]:
    """Return the files, or the one table, of a source. Upper and lower case do not matter."""
    head, _, last = f"{folder}/{source.file}".rpartition("/")
    names = open_files(spark, head).names("")
    if source.resource is not None:
        pattern = re.compile(rf"{re.escape(last)}(?![a-z]){_NDJSON}", re.IGNORECASE)
        return [f"{head}/{name}" for name in names if pattern.fullmatch(name)]
    pattern = re.compile(re.escape(last) + _ENDINGS, re.IGNORECASE)
    found = [f"{head}/{name}" for name in names if pattern.fullmatch(name)]
    if len(found) > 1:
        raise UserError(f"{KEY}: {' and '.join(found)} are the same table; keep one")
    return found
