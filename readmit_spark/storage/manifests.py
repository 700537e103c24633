"""What a complete run published, as typed values that were checked when they were read.

A manifest is the JSON file that makes a run the current result of its job. Each class names the
facts that later jobs need of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pyspark.sql import DataFrame, SparkSession

from readmit_spark.config import split_name
from readmit_spark.errors import UserError
from readmit_spark.storage.publish import has_result, read_manifest


class _Part(BaseModel):
    """A part of a manifest. Facts that no class names are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TableFacts(_Part):
    """rows: in the table. files: name -> bytes."""

    rows: int
    files: Mapping[str, int]


class Manifest(_Part):
    """job: the job, or job/part. run: the run folder below the root; path: the whole path of it."""

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
        """The current result of the job (or of job/part `name`) under `root`.

        UserError where there is none, where this version cannot read it, or where a file of
        `tables` (default: all of them) is missing or has another size.
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
        """As `read`, but None where there is no result or a damaged one."""
        if not has_result(spark, root, cls.JOB):
            return None
        try:
            return cls.read(spark, root)
        except UserError:
            return None

    def table(self, name: str) -> DataFrame:
        """The table `name` of the run."""
        return self._spark.read.parquet(f"{self.path}/{name}")


class ChunkFacts(_Part):
    """How documents were cut: the section `chunk` of the configuration."""

    mode: str
    words: int
    min_tail_words: int


class _TokenLimit(_Part):
    max_tokens: int


class _SplitFacts(_Part):
    level: str | None
    seed: int


class PreparedConfig(_Part):
    """The configuration of prepare, as far as later jobs depend on it."""

    profile: str
    windows: tuple[str, ...]
    chunk: ChunkFacts
    split: _SplitFacts
    model: _TokenLimit


class Prepared(Manifest):
    """What prepare published. tokenizer: its fingerprint. admissions, notes: counts of what was
    read and left out. seconds: by stage."""

    JOB = "prepare"

    finished: str
    config: PreparedConfig
    tokenizer: str
    admissions: Mapping[str, int]
    notes: Mapping[str, int]
    seconds: Mapping[str, float]

    @property
    def windows(self) -> tuple[str, ...]:
        """The windows that documents were made for."""
        return self.config.windows

    @property
    def max_tokens(self) -> int:
        """The most tokens of a chunk."""
        return self.config.model.max_tokens

    @property
    def split_name(self) -> str:
        """What decided who is in the test split; see `config.split_name`."""
        return split_name(self.config.model_dump())

    def check_window(self, window: str, key: str) -> None:
        """UserError where documents of `window`, the value of configuration key `key`, are
        missing."""
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
    """The configuration of score, as far as later jobs depend on it."""

    score: _ScoreSection
    vote: _VoteSection


class Scored(Manifest):
    """What score published. model: name/version. fingerprint: of the model. prepared: the run of
    prepare whose chunks were scored."""

    JOB = "score"

    finished: str
    config: ScoredConfig
    model: str
    fingerprint: str
    prepared: str

    @property
    def c(self) -> float:
        """c of the vote."""
        return self.config.vote.c


class _NightlySection(_Part):
    window: str
    alert: str
    alert_value: float


class NightConfig(_Part):
    """The configuration of a night, as far as later jobs depend on it."""

    nightly: _NightlySection


class Night(Manifest):
    """What nightly published for one as-of time. model: name, weights, precision and max_tokens.
    basis: hash of everything that makes two patient scores comparable. backend: what computed the
    new probabilities; None where there were none. tokens_scored: in the new chunks."""

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
    """What compare published. models: model -> key of everything its scores depend on."""

    JOB = "compare"

    models: Mapping[str, Any]


class PretrainExamples(Manifest):
    """What pretrain made of the notes. made_of: everything that the examples depend on."""

    JOB = "pretrain"

    made_of: Mapping[str, Any]
