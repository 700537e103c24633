"""Ingest: CSV tables to Parquet, once, so that every later job reads them in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.storage.check_csv import is_csv
from readmit_spark.storage.csv_file import (
    CsvFile,
    Digest,
    digests,
    read_again,
    read_batches,
    read_header,
)
from readmit_spark.storage.input_tables import ADMISSIONS, NOTES, check_columns
from readmit_spark.storage.publish import Publication
from readmit_spark.storage.s3 import filesystem_of

_PART_BYTES = 128 << 20  # bytes of a file: what Spark gives a task
_GROUP_BYTES = 32 << 20  # bytes of text that are compressed together, and held in memory
STAGES_PER_TABLE = 2
_BUFFER_BYTES = 8 << 20  # bytes of a request to S3
_NEEDED = {"admissions": ADMISSIONS, "notes": NOTES, "patients": ()}


def sources(config: Config) -> dict[str, str]:
    """The CSV files that the configuration names, by table. UserError where there is none, or where
    one does not exist."""
    named = {name: getattr(config.data, name) for name in _NEEDED}
    found = {name: path for name, path in named.items() if path and is_csv(path)}
    if not found:
        raise UserError(
            "there is nothing to ingest: data.admissions, data.notes and data.patients name no "
            ".csv or .csv.gz"
        )
    for name, path in found.items():
        _source(f"data.{name}", path)  # before the first one is read for minutes
    return found


def ingest(
    spark: SparkSession, config: Config, progress: Progress, now: Callable[[], datetime]
) -> dict[str, Any]:
    """Publishes one Parquet table a CSV under output.root and gives the manifest's facts."""
    started = now()
    publication = Publication(spark, config.output_root, "ingest", config.output.overwrite, now)
    facts: dict[str, Any] = {"started": started.isoformat(timespec="seconds"), "sources": {}}
    try:
        for name, path in sources(config).items():
            found = _convert(f"data.{name}", path, f"{publication.path}/{name}", progress)
            publication.add_table(name, found["rows"])
            facts["sources"][name] = found
        publication.publish(
            {
                **facts,
                "finished": now().isoformat(timespec="seconds"),
                "seconds": progress.seconds,
            }
        )
    except BaseException:
        publication.abandon()
        raise
    return facts


def _source(key: str, path: str) -> tuple[fs.FileSystem, fs.FileInfo]:
    source, inside = filesystem_of(path)
    found = source.get_file_info(inside)
    if found.type != fs.FileType.File:
        raise UserError(f"{key}: {path} does not exist, or is no single file")
    return source, found


def _convert(key: str, path: str, folder: str, progress: Progress) -> dict[str, Any]:
    """Writes the table's files and holds them against a second reading of the source."""
    source, before = _source(key, path)
    inside, read = before.path, _Read(before.size)

    def opened() -> BinaryIO:
        # Buffered: gunzip begins with two bytes, for which S3 would be asked.
        stream = source.open_input_stream(inside, compression=None, buffer_size=_BUFFER_BYTES)
        return read.watch(stream)

    file = CsvFile(f"{key}: {path}", path.lower().endswith(".gz"), opened)
    header = read_header(file)
    check_columns(header.names, _NEEDED[key.removeprefix("data.")], path, key)
    with progress.stage(f"{key}: write Parquet", read.status):
        rows, nulls = _write(read_batches(file, header), header.names, folder, read)
    with progress.stage(f"{key}: check against the source", read.status):
        _, again = digests(read_again(file, header))
        written_rows, written = digests(_batches_of(folder))
    after = source.get_file_info(inside)
    if (after.size, after.mtime) != (before.size, before.mtime):
        raise UserError(f"{key}: {path} changed while it was read; run jobs/ingest.py again")
    _compare(key, path, rows, nulls, again, written_rows, written)
    return {
        "path": path,
        "bytes": before.size,
        "rows": rows,
        "columns": {
            name: {"sha256": digest.hex(), "nulls": digest.nulls}
            for name, digest in written.items()
        },
    }


def _write(
    batches: Iterator[pa.RecordBatch], names: tuple[str, ...], folder: str, read: _Read
) -> tuple[int, dict[str, int]]:
    """Rows written, and nulls by column."""
    rows, nulls = 0, dict.fromkeys(names, 0)
    with _Parts(folder, pa.schema(dict.fromkeys(names, pa.string()))) as parts:
        for batch in batches:
            parts.write(batch)
            rows += len(batch)
            read.rows = rows
            for name, column in zip(names, batch.columns, strict=True):
                nulls[name] += column.null_count
    return rows, nulls


def _compare(
    key: str,
    path: str,
    rows: int,
    nulls: dict[str, int],
    again: dict[str, Digest],
    written_rows: int,
    written: dict[str, Digest],
) -> None:
    """RuntimeError where what was written is not what the source holds."""
    differ = [
        name
        for name, digest in written.items()
        if nulls[name] != digest.nulls or (rows and again[name].hex() != digest.hex())
    ]
    if written_rows != rows or differ:
        raise RuntimeError(
            f"{key}: {path}: {rows:,} rows were read and {written_rows:,} written; columns that "
            f"differ: {', '.join(differ) or 'none'}; nothing was published"
        )


def _batches_of(folder: str) -> Iterator[pa.RecordBatch]:
    """The written files, in order, a row group at a time."""
    system, inside = filesystem_of(folder)
    files = system.get_file_info(fs.FileSelector(inside))
    for info in sorted(files, key=lambda info: str(info.path)):
        with system.open_input_file(info.path) as source:
            parquet = pq.ParquetFile(source)
            yield from parquet.iter_batches(batch_size=4096)


class _Parts:
    """Parquet files of about _PART_BYTES, in the order of the rows; at least one."""

    def __init__(self, folder: str, schema: pa.Schema) -> None:
        self._system, self._folder = filesystem_of(folder)
        self._system.create_dir(self._folder)
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0
        self._open()

    def __enter__(self) -> _Parts:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is None:
            self._flush()
        self._close()

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        if sum(waiting.nbytes for waiting in self._waiting) >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._sink.tell() >= _PART_BYTES:
            self._close()
            self._open()
        table = pa.Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._waiting = []

    def _open(self) -> None:
        self._sink = self._system.open_output_stream(
            f"{self._folder}/part-{self._count:05d}.zstd.parquet"
        )
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._count += 1

    def _close(self) -> None:
        self._writer.close()
        self._sink.close()


class _Read:
    """How far the reading is."""

    def __init__(self, size: int) -> None:
        self.rows = 0
        self._size = size
        self._file: Any = None

    def watch(self, file: Any) -> Any:
        self._file = file
        return file

    def status(self) -> str:
        if self._file is None or self._file.closed or not self._size:
            return ""
        return f"{self._file.tell() / self._size:.0%} of {self._size:,} bytes, {self.rows:,} rows"
