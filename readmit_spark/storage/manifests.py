"""Manifests of complete runs as typed values.

A manifest is the JSON file that makes a run the current result of its job. Each class names the
facts that later jobs read; they are checked when the manifest is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, field_validator
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from readmit_spark.config import split_name, window_available
from readmit_spark.errors import UserError
from readmit_spark.storage.output_tables import OUTPUT_TABLES
from readmit_spark.storage.publish import read_manifest
from readmit_spark.text_rules import TextRules


class _Part(BaseModel):
    """A part of a manifest; facts without a field are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TableFacts(_Part):
    """Number of rows of a table, the size in bytes of each of its files by name, and the schema
    with which Spark wrote it, as JSON. The schema is None if an older version wrote the table."""

    rows: int
    files: Mapping[str, int]
    columns: dict[str, Any] | None = None


class Manifest(_Part):
    """Facts of every manifest.

    job: the job, or job/part. run: the run folder relative to the root; path: its full path.
    """

    JOB: ClassVar[str]

    job: str
    run: str
    path: str
    tables: Mapping[str, TableFacts]
    _spark: SparkSession = PrivateAttr()

    @classmethod
    def read(
        cls,
        spark: SparkSession,
        root: str,
        name: str | None = None,
        tables: Sequence[str] | None = None,
    ) -> Self:
        """Read the current manifest of the job, or of job/part `name`, under `root`.

        Raise a UserError if there is none, if another version wrote it with other facts, or if a
        file of `tables` (default: all tables) is missing or has another size.
        """
        name = name or cls.JOB
        values = read_manifest(spark, root, name, tables)
        try:
            manifest = cls.model_validate(values)
        except ValidationError as error:
            fact = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(
                f"output.root: {root} has a result of {name} from another version of this program "
                f"({fact} is missing or has another form); run jobs/{cls.JOB}.py again with "
                "output.overwrite=true"
            ) from None
        manifest._spark = spark
        return manifest

    @classmethod
    def read_if_complete(cls, spark: SparkSession, root: str) -> Self | None:
        """Read the current manifest like `read`; return None if there is none or it is damaged."""
        try:
            return cls.read(spark, root)
        except UserError:
            return None

    def table(self, name: str) -> DataFrame:
        """Read the table `name` of the run."""
        columns = self.tables[name].columns
        reader = self._spark.read
        if columns:  # Spark would start a job to find the columns in a file
            reader = reader.schema(StructType.fromJson(columns))
        return reader.parquet(f"{self.path}/{name}")


class _ChunkFacts(_Part):
    """The section `chunk` of the configuration: how documents were cut into chunks."""

    mode: str | None
    words: int
    min_tail_words: int


class WindowFacts(_Part):
    """The section `window` of the configuration. The defaults are the rule of older results."""

    available: str | None = "charted"
    days_before: int | None = None


class _CleanFacts(_Part):
    keep_decimals: bool | None


class _TokenLimit(_Part):
    max_tokens: int


class _SplitFacts(_Part):
    by: str = "patient"
    level: str | None
    seed: int
    validation_from: str | None = None
    test_from: str | None = None
    site_column: str | None = None
    validation_sites: tuple[str, ...] | None = None
    test_sites: tuple[str, ...] | None = None


class PreparedConfig(_Part):
    """The part of prepare's configuration that later jobs depend on.

    clean: None if an earlier version wrote the tables.
    """

    profile: str
    windows: tuple[str, ...]
    clean: _CleanFacts | None = None
    chunk: _ChunkFacts
    window: WindowFacts = WindowFacts()
    split: _SplitFacts
    model: _TokenLimit


class Prepared(Manifest):
    """The manifest of prepare.

    made_of: hash of everything that the tables depend on; empty in results of earlier versions.
    tokenizer: fingerprint of the tokenizer. admissions, notes: name -> number of rows that were
    read or left out. notes_format: `data.format` of the notes, where jobs/ingest.py wrote them.
    outcomes: see `outcome.outcome_counts`; empty for older tables. seconds: by stage.
    """

    JOB = "prepare"

    finished: str
    made_of: str = ""
    config: PreparedConfig
    tokenizer: str
    admissions: Mapping[str, int]
    notes: Mapping[str, int]
    notes_format: str | None = None
    outcomes: Mapping[str, int] = {}
    seconds: Mapping[str, float]

    @field_validator("tables")
    @classmethod
    def _of_this_version(cls, tables: Mapping[str, TableFacts]) -> Mapping[str, TableFacts]:
        for name, table in tables.items():
            published = OUTPUT_TABLES[cls.JOB].get(name)
            if published and table.columns:
                present = StructType.fromJson(table.columns).names
                if not set(published.schema.names) <= set(present):
                    raise ValueError(f"{name} lacks columns of this version")
        return tables

    @property
    def windows(self) -> tuple[str, ...]:
        """The windows with documents."""
        return self.config.windows

    @property
    def window_rule(self) -> tuple[str, int | None]:
        """What `window.available` and `window.days_before` were."""
        window = self.config.window
        return window_available(self.config.profile, window.available), window.days_before

    @property
    def max_tokens(self) -> int:
        """The largest number of tokens of a chunk, with special tokens."""
        return self.config.model.max_tokens

    @property
    def text_rules(self) -> TextRules:
        """The rules by which documents became chunks."""
        return TextRules.of(self.config.model_dump())

    @property
    def split_name(self) -> str:
        """The name of the split; see `config.split_name`."""
        return split_name(self.config.model_dump())

    def check_codes(self) -> None:
        """Raise a UserError if a code was in no list when the tables were prepared: a model must
        not learn from labels and windows that depend on it."""
        unknown = {
            "ADMISSION_TYPE": self.admissions.get("admission_type_unread", 0),
            "CATEGORY": self.notes.get("category_unread", 0),
        }
        found = " and ".join(f"{n:,} values of {name}" for name, n in unknown.items() if n)
        if found:
            raise UserError(
                f"codes: {found} are in no list, so planned admissions, newborns or discharge "
                "summaries may be missed; jobs/prepare.py names them: list them under codes.*, and "
                "run it again with output.overwrite=true before training"
            )

    def check_notes(self, window: str) -> None:
        """Raise a UserError if documents of `window` hold radiology reports alone: a model would
        learn from them as if they were all notes."""
        if self.notes_format == "mimic4" and window != "discharge":
            raise UserError(
                f"train.window: documents of {window} hold radiology alone, because MIMIC-IV has "
                "no other notes but discharge summaries; set windows=[discharge] and "
                "train.window=discharge, and run jobs/prepare.py again with output.overwrite=true"
            )

    def check_window(self, window: str, key: str) -> None:
        """Raise a UserError if there are no documents of `window`, the value of `key`."""
        if window not in self.windows:
            raise UserError(
                f"{key} is {window}: prepare made {', '.join(self.windows)}; set one of these, or "
                "add it to `windows` and run jobs/prepare.py again"
            )


class _ScoreSection(_Part):
    windows: tuple[str, ...] | None
    precision: str


class _VoteSection(_Part):
    c: float


class ScoredConfig(_Part):
    """The part of score's configuration that later jobs depend on."""

    score: _ScoreSection
    vote: _VoteSection


class Scored(Manifest):
    """The manifest of score.

    model: name of the model. fingerprint: of its weights and configuration. prepared: the run of
    prepare whose chunks were scored. made_of: everything that the chunk scores depend on; empty in
    results of earlier versions. counts: window -> status -> number of admissions.
    """

    JOB = "score"

    finished: str
    config: ScoredConfig
    model: str
    fingerprint: str
    prepared: str
    made_of: Mapping[str, Any] = {}
    counts: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float]

    @property
    def c(self) -> float:
        """The c of the vote."""
        return self.config.vote.c


class _NightlySection(_Part):
    window: str
    alert: str
    alert_value: float


class NightConfig(_Part):
    """The part of nightly's configuration that later jobs depend on."""

    nightly: _NightlySection


class Night(Manifest):
    """The manifest of one night, which nightly published for one as-of time.

    model: name, fingerprint, precision and max_tokens. basis: hash of everything that makes two
    patient scores comparable. backend: name of the engine that computed the new probabilities; None
    if there were no new chunks. tokens_scored: tokens of the new chunks.
    """

    JOB = "nightly"

    as_of: datetime
    config: NightConfig
    model: str
    basis: str
    backend: str | None
    tokens_scored: int
    counts: Mapping[str, int]
    seconds: Mapping[str, float]


class Compared(Manifest):
    """The manifest of compare. models: name -> key of everything that its scores depend on."""

    JOB = "compare"

    models: Mapping[str, Any]


class PretrainExamples(Manifest):
    """The manifest of pretraining examples. made_of: everything that they depend on."""

    JOB = "pretrain"

    made_of: Mapping[str, Any]
