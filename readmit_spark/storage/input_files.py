"""Find the files of an input table: a file, a folder, or a pattern such as `notes-*.csv.gz`.

All jobs find a table here, so all read the same files. A path that exists is taken as it stands,
also with `[ ] { } : ?` or blanks in it; only otherwise is it a pattern.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError

Kind = Literal["csv", "parquet"]

# Spark must not take brackets and braces in the name of a file for a pattern.
AS_IT_STANDS = {"__globPaths__": "false"}

READ = "a .csv, a .csv.gz, a Parquet file, a folder of them or a pattern is needed"
_PARQUET_NAMES = (".parquet", ".parq", ".pq")
_OTHER_NAMES = re.compile(
    r"\.(zip|bz2|zst|zstd|xz|lz4|snappy|7z|rar|tar|tgz|gz|tsv|tab|psv|txt|dat|json|jsonl|ndjson|"
    r"xls|xlsx|ods|orc|avro|feather|arrow|sas7bdat|sav|dta|rds|db|sqlite|sql|dump|xml|html)$"
)
_FHIR_NAMES = (".ndjson", ".jsonl", ".json")
_TABLE_LOGS = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
_CONTENTS = {
    b"PAR1": "Parquet",
    b"PARE": "encrypted Parquet",
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7-Zip",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"ARROW1": "Arrow",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"version https://git-lfs": "a Git LFS pointer",
}


@dataclass(frozen=True)
class InputFile:
    """A file of a table. path: as Spark names it; size: bytes; modified: ms since 1970."""

    path: str
    size: int
    modified: int

    @property
    def name(self) -> str:
        """Return the path for messages, and for Python where it is local."""
        return re.sub(r"^file:/+", "/", self.path)


@dataclass(frozen=True)
class InputFiles:
    """The files of a table, sorted by path, without empty ones if there are others.

    path: as configured, with `~` replaced; folder: whether `path` is one, which all files lie in.
    """

    path: str
    kind: Kind
    files: tuple[InputFile, ...]
    folder: bool

    @property
    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size for file in self.files)


def find_files(spark: SparkSession, path: str, key: str) -> InputFiles:
    """Return the files of the table at `path`.

    `key` is the path's key, for messages. Raise a UserError if there is none, if it is none of the
    kinds that are read, or if there are several kinds.
    """
    path = absolute_path(spark, path)
    try:
        roots = _roots(spark, path)
        if not roots:
            raise UserError(f"{key}: {path} does not exist")
        files = sorted((f for r in roots for f in _below(spark, r, key)), key=lambda f: f.path)
    except (Py4JJavaError, PySparkException):  # such as no right to read it
        raise UserError(f"{key}: {path} cannot be listed; may this user read it?") from None
    if not files:
        raise UserError(
            f"{key}: {path} has no file to read (a name that begins with _ or . does not count); "
            f"{READ}"
        )
    kinds = {_kind(file, path, key): file for file in files}
    if len(kinds) > 1:
        names = " and ".join(file.name for file in kinds.values())
        raise UserError(f"{key}: {path} has files of several kinds, such as {names}; use one kind")
    for file in files:
        _allow_colons(spark, file)
    filled = [file for file in files if file.size] or files[:1]
    folder = len(roots) == 1 and bool(roots[0].isDirectory())
    return InputFiles(path.rstrip("/"), next(iter(kinds)), tuple(filled), folder)


def absolute_path(spark: SparkSession, path: str) -> str:
    """Return a local path in full, without `~`: Hadoop takes `a:b.csv` for a scheme."""
    if re.match(r"^\w[\w+.-]*:/", path):
        return path
    hadoop = _hadoop(spark)
    system = hadoop.FileSystem.get(spark._jsc.hadoopConfiguration())
    if str(system.getUri().getScheme()) != "file":
        return path
    return os.path.abspath(os.path.expanduser(path))


def stored_bytes(spark: SparkSession, path: str) -> int:
    """Return the bytes of all files at `path` or of what it matches; 0 if there is nothing."""
    roots = _roots(spark, absolute_path(spark, path))
    conf = spark._jsc.hadoopConfiguration()
    paths = [root.getPath() for root in roots]
    return sum(int(p.getFileSystem(conf).getContentSummary(p).getLength()) for p in paths)


def content(start: bytes) -> str | None:
    """Return what the first bytes of a file say that it is, for a message; None if unknown."""
    return next((name for magic, name in _CONTENTS.items() if start.startswith(magic)), None)


def open_file(spark: SparkSession, file: InputFile) -> Any:
    """Return a Java input stream of the stored bytes, which has `seek`."""
    path = _hadoop(spark).Path(file.path)
    return path.getFileSystem(spark._jsc.hadoopConfiguration()).open(path)


def _allow_colons(spark: SparkSession, file: InputFile) -> None:
    """Hadoop looks for a checksum beside a local file, whose name may then have no colon."""
    if file.path.startswith("file:") and ":" in file.name:
        path = _hadoop(spark).Path(file.path)
        path.getFileSystem(spark._jsc.hadoopConfiguration()).setVerifyChecksum(False)


def _hadoop(spark: SparkSession) -> Any:
    """Return Java's package of file systems, for which PySpark has no API."""
    jvm: Any = spark._jvm
    return jvm.org.apache.hadoop.fs


def _roots(spark: SparkSession, path: str) -> list[Any]:
    """Return the statuses of the file or folder at `path`, or else of what it matches."""
    hadoop = _hadoop(spark).Path(path)
    system = hadoop.getFileSystem(spark._jsc.hadoopConfiguration())
    if system.exists(hadoop):
        return [system.getFileStatus(hadoop)]
    if not re.search(r"[*?\[{]", path):
        return []
    return list(system.globStatus(hadoop) or [])


def _below(spark: SparkSession, root: Any, key: str) -> Iterator[InputFile]:
    if not root.isDirectory():
        if str(root.getPath().getName()).startswith(("_", ".")):
            name = _file(root).name
            raise UserError(
                f"{key}: {name} cannot be read: Spark takes no file whose name begins with _ or .; "
                "rename it"
            )
        yield _file(root)
        return
    system = root.getPath().getFileSystem(spark._jsc.hadoopConfiguration())
    for status in system.listStatus(root.getPath()):
        name = str(status.getPath().getName())
        if name in _TABLE_LOGS:
            raise UserError(
                f"{key}: {_file(root).name} is a {_TABLE_LOGS[name]} table, whose log decides "
                "which files count; export it as Parquet"
            )
        if name.startswith(("_", ".")):
            continue
        if status.isDirectory() and "=" not in name:
            raise UserError(
                f"{key}: {_file(root).name} cannot be read: it holds the folder {name}, not the "
                "files of one table"
            )
        yield from _below(spark, status, key)


def _file(status: Any) -> InputFile:
    path = str(status.getPath().toString())
    return InputFile(path, int(status.getLen()), int(status.getModificationTime()))


def _kind(file: InputFile, path: str, key: str) -> Kind:
    """Decide by the file's name, and without an ending by the table's."""
    name = file.path.rpartition("/")[2].lower()
    table = path.rstrip("/").lower()
    if name.endswith((".csv", ".csv.gz")):
        return "csv"
    if name.endswith(_PARQUET_NAMES):
        return "parquet"
    in_csv = table.endswith((".csv", ".csv.gz"))
    other = _OTHER_NAMES.search(name)
    if other and not (in_csv and other[1] == "gz"):
        hint = "; of a FHIR export, run jobs/ingest.py with data.format=fhir and data.folder"
        raise UserError(
            f"{key}: {file.name} cannot be read: it is a .{other[1]}; {READ}"
            f"{hint if name.removesuffix('.gz').endswith(_FHIR_NAMES) else ''}"
        )
    return "csv" if in_csv else "parquet"
