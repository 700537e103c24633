"""Convert CSV tables to Parquet once, so that all later jobs can read them in parallel.

Tables of another format than MIMIC-III's become tables of its shape (`formats/translate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.storage.codes import known_categories, known_types, unknown_values
from readmit_spark.storage.csv_file import CsvFile, Header, read_again, read_batches, read_header
from readmit_spark.storage.digest import TableDigest, digest_table
from readmit_spark.storage.formats import translate
from readmit_spark.storage.input_files import InputFile, InputFiles
from readmit_spark.storage.input_tables import (
    ADMISSIONS,
    NOTES,
    PATIENTS,
    read_admissions,
    read_notes,
    read_patients,
)
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.run import Run
from readmit_spark.storage.s3 import filesystem_of
from readmit_spark.storage.table_source import check_headers, find_table
from readmit_spark.storage.unread import CodeColumn, only_unread, unread_counts, unread_line

_STAGES_PER_TABLE = 3

_PART_BYTES = 128 << 20  # size of a Parquet file: what Spark reads in one task
_ROW_GROUP_BYTES = 32 << 20  # text that is held in memory and compressed together
_BUFFER_BYTES = 8 << 20  # size of a request to S3
_NEEDED_COLUMNS = {"admissions": ADMISSIONS, "notes": NOTES, "patients": PATIENTS}


def sources(spark: SparkSession, config: Config) -> dict[str, InputFiles]:
    """Return the configured CSV tables by name.

    Raise a UserError if there is none, or if one does not exist or lacks columns.
    """
    found = {}
    for name, needed in _NEEDED_COLUMNS.items():
        path = getattr(config.data, name)
        table = find_table(spark, path, f"data.{name}") if path else None
        if table is not None and table.kind == "csv":
            check_headers(spark, table, f"data.{name}", needed)  # before minutes are spent on any
            found[name] = table
    if not found:
        raise UserError(
            "there is nothing to ingest: none of data.admissions, data.notes and data.patients is "
            "a .csv or .csv.gz"
        )
    return found


def stages(spark: SparkSession, config: Config) -> int:
    """Return the number of stages. Raise a UserError if there is nothing to ingest."""
    if config.data.format != "mimic3":
        translate.find_tables(spark, config)
        return translate.STAGES
    return _STAGES_PER_TABLE * len(sources(spark, config))


def ingest(run: Run) -> dict[str, Any]:
    """Publish one Parquet table for each CSV, or the tables that the format has; return the
    manifest's facts."""
    if run.config.data.format != "mimic3":
        return translate.translate(run)
    converted = {}
    for name, table in sources(run.spark, run.config).items():
        converted[name] = _convert(name, table, f"{run.path}/{name}", run.progress)
        converted[name]["unread"] = _count_unread(run, name, f"{run.path}/{name}")
        run.add_table(name, converted[name]["rows"])
    return run.publish({"format": "mimic3", "sources": converted})


def summary_lines(config: Config, facts: Mapping[str, Any]) -> list[str]:
    """Return what was written, and how to read it."""
    lines = []
    for name, table in facts["sources"].items():
        if facts["format"] == "mimic3":
            columns = len(table["columns"])
            lines.append(f"{table['path']}: {table['rows']:,} rows, {columns} columns")
        else:
            lines.append(translate.account_line(name, table))
        lines.append(f"read it with --set data.{name}={config.output_root}")
    return lines


def _count_unread(run: Run, name: str, folder: str) -> dict[str, int]:
    """Return the number of unread values of each column as the other jobs will read them, and print
    a line if there are any. They stay as they are, so keys set later can still say how to read
    them."""
    key, config = f"data.{name}", run.config
    reading, code = replace(Reading.of(config), note_line=None), None
    if name == "notes":
        rows = read_notes(run.spark, folder, reading)
        code = CodeColumn("category", known_categories(config.codes))
    elif name == "admissions":
        rows = read_admissions(run.spark, folder, reading)
        code = CodeColumn("admission_type", known_types(config.codes))
    else:
        rows = read_patients(run.spark, folder, reading)
    with run.stage(f"{key}: count what is not understood"):
        first = rows.agg(*unread_counts(rows, code)).first()
        assert first is not None  # an aggregate without groups always has one row
        unread = only_unread(first.asDict())
        unknown = ""
        if code and unread[f"{code.name}_unread"]:
            unknown = unknown_values(rows, code.name, code.known)
    line = unread_line(key, unread, unknown)
    if line:
        run.say(line)
    return unread


@dataclass(frozen=True)
class _Source:
    """One CSV file, its header, and its size and time of change before it was read."""

    file: CsvFile
    header: Header
    version: tuple[int, Any]
    now: Callable[[], tuple[int, Any]]


def _source(file: InputFile, before: int, key: str, position: _ReadPosition) -> _Source:
    system, inner_path = filesystem_of(file.name)

    def open_source() -> BinaryIO:
        # Buffered, because gzip starts by reading two bytes, which would be a request to S3.
        stream = system.open_input_stream(inner_path, compression=None, buffer_size=_BUFFER_BYTES)
        return position.watch(stream, before)

    def now() -> tuple[int, Any]:
        info = system.get_file_info(inner_path)
        return info.size, info.mtime

    version = now()
    csv_file = CsvFile(f"{key}: {file.name}", file.path.lower().endswith(".gz"), open_source)
    return _Source(csv_file, read_header(csv_file), version, now)


def _convert(name: str, table: InputFiles, folder: str, progress: Progress) -> dict[str, Any]:
    """Write one table's Parquet files to `folder` and check them against a second reading.

    Return the source's entry in the manifest.
    """
    key = f"data.{name}"
    position = _ReadPosition(table.size)
    before = accumulate((file.size for file in table.files), initial=0)
    files = [_source(file, b, key, position) for file, b in zip(table.files, before, strict=False)]
    names = _all_names(files)
    with progress.stage(f"{key}: write Parquet", position.status):
        rows, nulls = _write(_rows(files, names, read_batches), names, folder, position)
    with progress.stage(f"{key}: check against the source", position.status):
        source = digest_table(_rows(files, names, read_again))
        written = digest_table(_read_parts(folder))
    if any(file.now() != file.version for file in files):
        raise UserError(f"{key}: {table.path} changed while it was read; run jobs/ingest.py again")
    _compare(f"{key}: {table.path}", rows, nulls, source, written)
    return {
        "path": table.path,
        "bytes": table.size,
        "rows": rows,
        "columns": {
            name: {"sha256": digest.hex(), "nulls": digest.nulls}
            for name, digest in written.columns.items()
        },
    }


def _all_names(files: Sequence[_Source]) -> tuple[str, ...]:
    """Return the columns of all files, each in the spelling of the first file that has it."""
    names: dict[str, str] = {}
    for file in files:
        for name in file.header.names:
            names.setdefault(name.upper(), name)
    return tuple(names.values())


def _rows(
    files: Sequence[_Source],
    names: Sequence[str],
    read: Callable[[CsvFile, Header], Iterator[pa.RecordBatch]],
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all files with the columns `names`; one that a file lacks is null."""
    for file in files:
        places = {name.upper(): i for i, name in enumerate(file.header.names)}
        for batch in read(file.file, file.header):
            missing = pa.nulls(len(batch), pa.string())
            columns = [
                batch.column(places[n.upper()]) if n.upper() in places else missing for n in names
            ]
            yield pa.RecordBatch.from_arrays(columns, list(names))


def _write(
    batches: Iterator[pa.RecordBatch],
    names: tuple[str, ...],
    folder: str,
    position: _ReadPosition,
) -> tuple[int, dict[str, int]]:
    """Write the batches; return the number of rows, and of nulls by column."""
    rows, nulls = 0, dict.fromkeys(names, 0)
    with _ParquetParts(folder, pa.schema(dict.fromkeys(names, pa.string()))) as parts:
        for batch in batches:
            parts.write(batch)
            rows += len(batch)
            position.rows = rows
            for name, column in zip(names, batch.columns, strict=True):
                nulls[name] += column.null_count
    return rows, nulls


def _compare(
    source_name: str,
    rows: int,
    nulls: dict[str, int],
    source: TableDigest,
    written: TableDigest,
) -> None:
    """Raise a RuntimeError if the Parquet files differ from the source.

    rows, nulls: counts of the first reading; source: second reading, which has no nulls.
    """
    different = [
        name
        for name, digest in written.columns.items()
        if nulls[name] != digest.nulls or (rows and source.columns[name].hex() != digest.hex())
    ]
    if written.rows != rows or different:
        raise RuntimeError(
            f"{source_name}: {rows:,} rows were read and {written.rows:,} written; columns that "
            f"differ: {', '.join(different) or 'none'}; nothing was published"
        )


def _read_parts(folder: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the written files in order."""
    system, inner_path = filesystem_of(folder)
    files = system.get_file_info(fs.FileSelector(inner_path))
    for info in sorted(files, key=lambda info: str(info.path)):
        with system.open_input_file(info.path) as file:
            yield from pq.ParquetFile(file).iter_batches(batch_size=4096)


class _ParquetParts:
    """Write rows in order to Parquet files of about _PART_BYTES; there is at least one file."""

    def __init__(self, folder: str, schema: pa.Schema) -> None:
        self._system, self._folder = filesystem_of(folder)
        self._system.create_dir(self._folder)
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._count = 0
        self._open()

    def __enter__(self) -> _ParquetParts:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._flush()
        self._close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; write a row group when enough text is pending."""
        self._pending.append(batch)
        if sum(batch.nbytes for batch in self._pending) >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._sink.tell() >= _PART_BYTES:
            self._close()
            self._open()
        table = pa.Table.from_batches(self._pending, self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._pending = []

    def _open(self) -> None:
        self._sink = self._system.open_output_stream(
            f"{self._folder}/part-{self._count:05d}.zstd.parquet"
        )
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._count += 1

    def _close(self) -> None:
        self._writer.close()
        self._sink.close()


class _ReadPosition:
    """How much of the source has been read, for the progress output."""

    def __init__(self, size: int) -> None:
        self.rows = 0
        self._size = size
        self._before = 0
        self._file: Any = None

    def watch(self, file: Any, before: int) -> Any:
        """Report the position of `file` from now on; return it. before: bytes of earlier files."""
        self._before = before
        self._file = file
        return file

    def status(self) -> str:
        """Return the share read, for `Progress.stage`; "" between two readings."""
        if self._file is None or self._file.closed or not self._size:
            return ""
        read = (self._before + self._file.tell()) / self._size
        return f"{read:.0%} of {self._size:,} bytes, {self.rows:,} rows"
