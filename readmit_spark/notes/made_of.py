"""What the result of prepare was made of, so that the same work is not done twice."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pyspark.sql import SparkSession

from readmit_spark.config import Config, to_dict
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.table_source import find_table

_VERSION = 3  # raise it when the code changes the tables
# Sections of the configuration that prepare does not read. A new one counts until it is listed.
_OF_OTHER_JOBS = {
    *("output", "model", "train", "pretrain", "tune", "promote", "score", "vote", "compare"),
    *("audit", "nightly", "monitor", "explain", "over_time", "tracking", "demo", "emr"),
}
_TABLES = ("admissions", "notes", "patients")


def made_of(spark: SparkSession, config: Config, tokenizer: ChunkTokenizer) -> str:
    """Return 16 hex digits: a hash of the settings, the tokenizer, and the input files by name,
    size and time."""
    settings = {k: v for k, v in to_dict(config).items() if k not in _OF_OTHER_JOBS}
    parts = {
        "version": _VERSION,
        "settings": settings,
        "max_tokens": config.model.max_tokens,
        "tokenizer": tokenizer.fingerprint,
        "files": {name: _files(spark, config, name) for name in _TABLES},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def is_prepared(spark: SparkSession, config: Config, tokenizer: ChunkTokenizer) -> bool:
    """Return whether the published tables were made of these settings and files."""
    prepared = Prepared.read_if_complete(spark, config.output_root)
    return prepared is not None and prepared.made_of == made_of(spark, config, tokenizer)


def _files(spark: SparkSession, config: Config, name: str) -> list[Any]:
    path = getattr(config.data, name)
    files = find_table(spark, path, f"data.{name}").files if path else ()
    return [(file.path, file.size, file.modified) for file in files]
