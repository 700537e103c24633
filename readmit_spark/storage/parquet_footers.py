"""Read what the footers of Parquet files say about their columns.

Spark alone does not show it: it reads nanoseconds and plain integers as the same type, and takes
the types of one file for those of all.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from readmit_spark.errors import UserError
from readmit_spark.storage.input_files import READ, InputFile, InputFiles, content, open_file

ColumnKind = Literal["text", "flag", "whole", "real", "decimal", "date", "time", "null", "other"]

_TAIL = 64 << 10  # bytes; most footers are smaller
_READERS = 16  # files read at the same time
_SPARK_VERSION = b"org.apache.spark.version"


@dataclass(frozen=True)
class ParquetColumn:
    """A column of one file.

    name: in the file; spark_type: with which Spark reads it; type: its Parquet type, for messages;
    instant: it is a point in time, not the time on a wall clock; by_spark: Spark wrote it, which
    marks every time as an instant; nanoseconds: its integers are nanoseconds.
    """

    name: str
    kind: ColumnKind
    spark_type: T.DataType | None
    type: str
    instant: bool = False
    by_spark: bool = False
    nanoseconds: bool = False


@dataclass(frozen=True)
class Footer:
    """The columns of one file, in its order."""

    file: InputFile
    columns: tuple[ParquetColumn, ...]


def read_footers(spark: SparkSession, table: InputFiles, key: str) -> list[Footer]:
    """Return the footer of each file, in order.

    Folders such as `CATEGORY=Nursing` below the table's count as columns of text. Raise a UserError
    if a file is not Parquet or is cut off.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda file: _footer(spark, file, table.path, key), table.files))


@lru_cache(maxsize=4096)  # a job reads a table more than once
def _footer(spark: SparkSession, file: InputFile, table: str, key: str) -> Footer:
    metadata = _metadata(spark, file, key)
    arrow = _arrow_schema(metadata)
    by_spark = _SPARK_VERSION in (metadata.metadata or {})
    schema = metadata.schema
    columns: dict[str, ParquetColumn] = {}
    for i in range(len(schema)):
        leaf = schema.column(i)
        if leaf.path == leaf.name and leaf.max_repetition_level == 0:
            field = arrow.field(leaf.name).type if leaf.name in arrow.names else None
            columns[leaf.path] = _column(leaf, field, by_spark)
        else:
            top = leaf.path.partition(".")[0]
            columns[top] = ParquetColumn(top, "other", None, "a list, map or struct")
    below = file.path.partition(f"{table.rstrip('/')}/")[2].split("/")[:-1]
    for name, equals, _ in (folder.partition("=") for folder in below):
        if equals:
            name = unquote(name)
            columns[name] = ParquetColumn(name, "text", T.StringType(), "the name of a folder")
    return Footer(file, tuple(columns.values()))


def _metadata(spark: SparkSession, file: InputFile, key: str) -> pq.FileMetaData:
    try:
        tail = _tail(spark, file, _TAIL)
        if tail[-4:] == b"PAR1":
            needed = int.from_bytes(tail[-8:-4], "little") + 8
            if needed > len(tail):
                tail = _tail(spark, file, needed)
            return pq.read_metadata(pa.BufferReader(b"PAR1" + tail[-needed:]))
        start = _start(spark, file)
    except (pa.ArrowException, OSError, Py4JJavaError):
        raise UserError(f"{key}: {file.name} cannot be read: its footer is damaged") from None
    if start.startswith(b"PAR1"):
        raise UserError(f"{key}: {file.name} cannot be read to its end: it is cut off")
    what = content(start)
    raise UserError(
        f"{key}: {file.name} cannot be read: it is {what or 'neither named .csv nor Parquet'}; "
        f"{READ}"
    )


def _tail(spark: SparkSession, file: InputFile, size: int) -> bytes:
    stream = open_file(spark, file)
    try:
        stream.seek(max(0, file.size - size))
        return bytes(stream.readAllBytes())
    finally:
        stream.close()


def _start(spark: SparkSession, file: InputFile) -> bytes:
    stream = open_file(spark, file)
    try:
        return bytes(stream.readNBytes(32))
    finally:
        stream.close()


def _arrow_schema(metadata: pq.FileMetaData) -> pa.Schema:
    """Return the schema that pyarrow, pandas, polars and others store beside Parquet's own."""
    try:
        return metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError):  # a type that Arrow does not know
        return pa.schema([])


def _column(leaf: Any, arrow: pa.DataType | None, by_spark: bool) -> ParquetColumn:
    logical = json.loads(leaf.logical_type.to_json())
    meaning = logical["Type"]
    if meaning == "Timestamp" or leaf.physical_type == "INT96":
        return _timestamp(leaf, logical, arrow, by_spark)
    kind, spark_type = _plain(leaf, logical)
    names = {"whole": "whole numbers", "real": "floating-point numbers", "decimal": "decimals"}
    label = names.get(kind, meaning.lower() if meaning != "None" else leaf.physical_type.lower())
    return ParquetColumn(leaf.name, kind, spark_type, label)


def _timestamp(
    leaf: Any, logical: dict[str, Any], arrow: pa.DataType | None, by_spark: bool
) -> ParquetColumn:
    """Times of writers older than the format's rule for zones are wall clock."""
    adjusted = bool(logical.get("isAdjustedToUTC"))
    unmarked = leaf.physical_type == "INT96" or logical.get("is_from_converted_type")
    int96_by_spark = leaf.physical_type == "INT96" and by_spark
    instant = int96_by_spark or (adjusted and not unmarked)
    nanoseconds = logical.get("timeUnit") == "nanoseconds"
    spark_type: T.DataType = T.TimestampType()
    if nanoseconds:
        spark_type = T.LongType()
    elif not adjusted and not unmarked:
        spark_type = T.TimestampNTZType()
    zone = arrow.tz if arrow is not None and pa.types.is_timestamp(arrow) else None
    label = f"a time in {logical.get('timeUnit', 'the old format INT96')}"
    label += f" in the zone {zone or 'UTC'}" if instant else ""
    return ParquetColumn(leaf.name, "time", spark_type, label, instant, by_spark, nanoseconds)


def _plain(leaf: Any, logical: dict[str, Any]) -> tuple[ColumnKind, T.DataType | None]:
    physical, meaning = leaf.physical_type, logical["Type"]
    if meaning == "Null":
        return "null", None
    if meaning == "Date":
        return "date", T.DateType()
    if meaning == "Decimal" and logical["precision"] <= 38:
        return "decimal", T.DecimalType(logical["precision"], logical["scale"])
    if physical == "BYTE_ARRAY" and meaning in ("String", "Enum", "JSON"):
        return "text", T.StringType()
    if meaning == "Int" and not logical["isSigned"]:
        if logical["bitWidth"] == 64:
            return "decimal", T.DecimalType(20, 0)
        return "whole", T.LongType() if logical["bitWidth"] == 32 else T.IntegerType()
    if meaning not in ("None", "Int"):
        return "other", None
    plain: dict[str, tuple[ColumnKind, T.DataType]] = {
        "BOOLEAN": ("flag", T.BooleanType()),
        "INT32": ("whole", T.IntegerType()),
        "INT64": ("whole", T.LongType()),
        "FLOAT": ("real", T.FloatType()),
        "DOUBLE": ("real", T.DoubleType()),
        "BYTE_ARRAY": ("text", T.BinaryType()),
    }
    return plain.get(physical, ("other", None))
