"""Turn the path of an input table into a frame of the columns that a reader asks for.

Columns go by name in every file. A CSV gives text. Parquet gives text, booleans, dates, whole
numbers, decimals, floating-point numbers, and times on the hospital's wall clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.errors import UserError
from readmit_spark.storage.csv_headers import (
    CsvHeader,
    check_padding,
    looks_like_header,
    read_csv_headers,
)
from readmit_spark.storage.input_files import (
    AS_IT_STANDS,
    InputFile,
    InputFiles,
    absolute_path,
    find_files,
)
from readmit_spark.storage.parquet_columns import Reading, check_types, convert
from readmit_spark.storage.parquet_footers import Footer, ParquetColumn, read_footers
from readmit_spark.storage.publish import has_result, read_manifest

# Spark reads this value as null. It never occurs, so that `""` stays an empty text.
_NULL_VALUE = "\u0000null"
# Columns that only one format has: data.format -> its title, columns.
_SIGNS = {
    "mimic4": ("MIMIC-IV", {"NOTE_SEQ", "ANCHOR_AGE", "ADMIT_PROVIDER_ID"}),
    "omop": ("OMOP", {"VISIT_OCCURRENCE_ID", "VISIT_CONCEPT_ID", "YEAR_OF_BIRTH"}),
}
_MALFORMED = "_malformed_record"


def read_columns(
    spark: SparkSession,
    path: str,
    key: str,
    needed: Sequence[str],
    optional: Sequence[str] = (),
    reading: Reading | None = None,
) -> DataFrame:
    """Read the needed and optional columns under upper-case names, and `malformed`.

    malformed: a CSV row with more or fewer fields than the header. A missing optional column is
    null. Raise a UserError if there is no table, a needed column is missing, or a column has a type
    that says nothing certain (see `parquet_columns.py`).
    """
    table = find_table(spark, path, key)
    if table.kind == "csv":
        return _read_csv(spark, table, key, needed, optional)
    return _read_parquet(spark, table, key, needed, optional, reading or Reading())


def find_table(spark: SparkSession, path: str, key: str) -> InputFiles:
    """Return the files of the table at `path`, or of the one that jobs/ingest.py wrote there."""
    return find_files(spark, _table_path(spark, absolute_path(spark, path), key), key)


def ingested_format(spark: SparkSession, path: str) -> str | None:
    """Return the `data.format` of the tables that jobs/ingest.py wrote to `path`, else None."""
    root = absolute_path(spark, path)
    if not has_result(spark, root, "ingest"):
        return None
    found: str | None = read_manifest(spark, root, "ingest", tables=()).get("format")
    return found


def check_columns(names: Iterable[str], needed: Iterable[str], path: str, key: str) -> None:
    """Raise a UserError if a needed column is not among `names`, ignoring case, or is so twice."""
    names = tuple(names)
    upper = [name.strip().upper() for name in names]
    missing = [name for name in needed if name not in upper]
    if missing:
        raise UserError(
            f"{key}: {path} lacks the columns {', '.join(missing)}; it has {_listed(names)}"
            f"{other_format(upper)}"
        )
    for name in needed:
        if upper.count(name) > 1:
            raise UserError(
                f"{key}: {path} has {upper.count(name)} columns that are called {name}, in upper "
                "or lower case; keep one"
            )


def check_headers(
    spark: SparkSession,
    table: InputFiles,
    key: str,
    needed: Sequence[str],
    optional: Sequence[str] = (),
) -> list[CsvHeader]:
    """Return the headers of a CSV's files. Every file must have every needed column, once."""
    headers = read_csv_headers(spark, table, key)
    for header in headers:
        present = {name.strip().upper() for name in header.names}
        once = [*needed, *present.intersection(optional)]
        check_columns(header.names, once, header.file.name, key)
    return headers


def _read_csv(
    spark: SparkSession,
    table: InputFiles,
    key: str,
    needed: Sequence[str],
    optional: Sequence[str],
) -> DataFrame:
    """Read files of one header together. Every file must have every needed column."""
    files: dict[tuple[str, ...], list[InputFile]] = defaultdict(list)
    check_padding(spark, table, key)
    for header in check_headers(spark, table, key, needed, optional):
        files[header.names].append(header.file)
    frames = [_csv(spark, names, same) for names, same in files.items()]
    selected = [
        frame.select(
            *_named(frame, needed, optional), F.col(_MALFORMED).isNotNull().alias("malformed")
        )
        for frame in frames
    ]
    return reduce(DataFrame.unionByName, selected)


def _csv(spark: SparkSession, names: Sequence[str], files: Sequence[InputFile]) -> DataFrame:
    """Read all columns as text, and rows with a wrong number of fields into _MALFORMED."""
    upper = [name.strip().upper() for name in names]
    # A name that no reader asks for may be empty or there twice.
    unique = [name if upper.count(name) == 1 else f"_{i}" for i, name in enumerate(upper)]
    fields = [T.StructField(name or "_", T.StringType()) for name in unique]
    return (
        spark.read.options(
            header=True,
            multiLine=True,
            escape='"',
            nullValue=_NULL_VALUE,
            columnNameOfCorruptRecord=_MALFORMED,
            **AS_IT_STANDS,
        )
        .schema(T.StructType([*fields, T.StructField(_MALFORMED, T.StringType())]))
        .csv([file.path for file in files])
    )


def _named(frame: DataFrame, needed: Sequence[str], optional: Sequence[str]) -> list[F.Column]:
    found = {name: frame[f"`{name}`"] for name in needed}
    for name in optional:
        missing = F.lit(None).cast("string")
        found[name] = frame[f"`{name}`"] if name in frame.columns else missing
    return [column.alias(name) for name, column in found.items()]


def _read_parquet(
    spark: SparkSession,
    table: InputFiles,
    key: str,
    needed: Sequence[str],
    optional: Sequence[str],
    reading: Reading,
) -> DataFrame:
    """Read files of equal types together. A needed column must be in one file at least."""
    asked = [*needed, *optional]
    footers = read_footers(spark, table, key)
    everywhere = dict.fromkeys(column.name for footer in footers for column in footer.columns)
    check_columns(everywhere, (), table.path, key)
    groups: dict[tuple[tuple[str, ParquetColumn], ...], list[InputFile]] = defaultdict(list)
    for footer in footers:
        groups[tuple(_asked(footer, key, asked).items())].append(footer.file)
    found = {name for columns in groups for name, _ in columns}
    if not found.issuperset(needed):
        check_columns(everywhere, [n for n in needed if n not in found], table.path, key)
    by_file = [(files[0], dict(columns)) for columns, files in groups.items()]
    targets = {name: check_types(name, by_file, key, reading) for name in asked}
    frames = []
    for columns, files in groups.items():
        raw = _parquet(spark, table, dict(columns), files, whole=len(groups) == 1)
        frames.append(
            raw.select(
                *(
                    convert(raw, dict(columns).get(name), targets[name], name, reading).alias(name)
                    for name in asked
                ),
                F.lit(False).alias("malformed"),
            )
        )
    return reduce(DataFrame.unionByName, frames)


def _asked(footer: Footer, key: str, asked: Sequence[str]) -> dict[str, ParquetColumn]:
    """Return the columns that are asked for, by their upper-case names."""
    names = [column.name for column in footer.columns]
    found = {column.name.strip().upper(): column for column in footer.columns}
    check_columns(names, [name for name in asked if name in found], footer.file.name, key)
    return {name: found[name] for name in asked if name in found}


def _parquet(
    spark: SparkSession,
    table: InputFiles,
    columns: Mapping[str, ParquetColumn],
    files: Sequence[InputFile],
    whole: bool,
) -> DataFrame:
    """Read files with the types of their footers.

    whole: the files are all of the table, so that a folder can be read as one.
    """
    fields = [
        T.StructField(column.name, column.spark_type)
        for column in columns.values()
        if column.spark_type is not None
    ]
    reader = spark.read.options(**AS_IT_STANDS).schema(T.StructType(fields))
    if table.folder:
        reader = reader.option("basePath", table.path)
        if whole and all("/" not in f.path.partition(f"{table.path}/")[2] for f in files):
            return reader.parquet(table.path)
    return reader.parquet(*(file.path for file in files))


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


def other_format(upper: Sequence[str]) -> str:
    """Return a hint if these are columns of a format that jobs/ingest.py reads."""
    for form, (title, columns) in _SIGNS.items():
        if columns.intersection(upper):
            return f"; that is {title}: run jobs/ingest.py with data.format={form} and data.folder"
    return ""


def _listed(names: tuple[str, ...]) -> str:
    """Return the column names for a message, unless they may be text of a note."""
    if not looks_like_header(names):
        return f"{len(names)} columns, but its first line is not a header"
    return ", ".join(name.strip() or '""' for name in names) or "none"
