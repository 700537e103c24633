"""Turn the path of an input table into a frame of the columns that a reader asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.errors import UserError
from readmit_spark.storage.check_csv import is_csv, unreadable_error
from readmit_spark.storage.publish import has_result, read_manifest

# Spark reads this value as null. It never occurs, so that `""` stays an empty text.
_NULL_VALUE = "\u0000null"
_MALFORMED = "_malformed_record"


def read_columns(
    spark: SparkSession, path: str, key: str, needed: Sequence[str], optional: Sequence[str] = ()
) -> DataFrame:
    """Read the needed and optional columns under upper-case names, and `malformed`.

    A missing optional column is null. Raise a UserError if a needed column is missing.
    """
    try:
        frame = (
            _csv(spark, path) if is_csv(path) else spark.read.parquet(_table_path(spark, path, key))
        )
        names = {name.strip().upper(): name for name in frame.columns}
    except (PySparkException, Py4JJavaError) as error:
        raise unreadable_error(path, key, error) from None
    check_columns(frame.columns, needed, path, key)
    malformed = F.col(_MALFORMED).isNotNull() if is_csv(path) else F.lit(False)
    return frame.select(
        *(F.col(f"`{names[name]}`").alias(name) for name in needed),
        *(
            (F.col(f"`{names[name]}`") if name in names else F.lit(None).cast("string")).alias(name)
            for name in optional
        ),
        malformed.alias("malformed"),
    )


def check_columns(names: Iterable[str], needed: Iterable[str], path: str, key: str) -> None:
    """Raise a UserError if a needed column is not among `names`, ignoring case."""
    names = list(names)
    missing = [name for name in needed if name not in {n.strip().upper() for n in names}]
    if missing:
        raise UserError(
            f"{key}: {path} lacks the columns {', '.join(missing)}; it has {_list_columns(names)}"
        )


def _table_path(spark: SparkSession, path: str, key: str) -> str:
    """Return `path`, or the path of the key's table if jobs/ingest.py published to `path`."""
    if not has_result(spark, path, "ingest"):
        return path
    ingested = read_manifest(spark, path, "ingest")
    name = key.removeprefix("data.")
    if name not in ingested["tables"]:
        raise UserError(
            f"{key}: jobs/ingest.py wrote no table of {key} under {path}, only of "
            f"{', '.join(ingested['tables'])}; run it with {key} set"
        )
    return f"{ingested['path']}/{name}"


def _csv(spark: SparkSession, path: str) -> DataFrame:
    """Read all columns as text, and rows with a wrong number of fields into _MALFORMED."""
    reader = spark.read.options(
        header=True,
        multiLine=True,
        escape='"',
        nullValue=_NULL_VALUE,
        columnNameOfCorruptRecord=_MALFORMED,
    )
    header = reader.csv(path)
    if not header.columns:
        return header
    return reader.schema(header.schema.add(_MALFORMED, T.StringType())).csv(path)


def _list_columns(columns: Iterable[str]) -> str:
    """Return the column names for a message, unless they may be text of a note."""
    names = [name for name in columns if name != _MALFORMED]
    if not all(re.fullmatch(r"\w{1,40}", name.strip()) for name in names):
        return f"{len(names)} columns, but its first line is not a header"
    return ", ".join(names) or "none"
