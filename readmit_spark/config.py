"""The configuration as typed, frozen classes.

Each key is written twice: in `conf/base.yaml` with its default, unit and reason, and in a class
below with its type and range. `config_file.py` reads the files and reports mistakes.

`dataclasses.replace` changes a configuration and checks the new values:

    replace(config, train=replace(config.train, epochs=2))
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    Strict,
    model_validator,
)
from pydantic.dataclasses import dataclass

from readmit_spark.config_types import (
    LARGEST_INT,
    Bool,
    Categories,
    CodeList,
    Day,
    Days,
    Dispositions,
    FormatName,
    KnownUntil,
    NotNegativeInt,
    NotNegativeNumber,
    Number,
    OwnFolder,
    PositiveInt,
    PositiveInts,
    PositiveNumber,
    PositiveNumbers,
    Probability,
    Seed,
    Seeds,
    Share,
    ShareOrZero,
    Text,
    Texts,
    VoteC,
    VoteCs,
    Window,
    Windows,
    Zone,
)
from readmit_spark.errors import UserError
from readmit_spark.text_rules import TextRules
from readmit_spark.urls import without_secrets

_STRICT_KEYS = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT_KEYS)
class Data:
    format: FormatName
    folder: Text | None
    admissions: Text | None
    notes: Text | None
    ids: Literal["integers", "text"]
    note_line: Text | None
    integer_times: Literal["seconds", "milliseconds", "microseconds", "nanoseconds"] | None
    time_zone: Zone | None
    patients: Text | None
    truth: Text | None
    max_unread_share: ShareOrZero


@dataclass(frozen=True, config=_STRICT_KEYS)
class Fhir:
    classes: Texts
    document_status: Texts


@dataclass(frozen=True, config=_STRICT_KEYS)
class Omop:
    visit_concepts: Texts


@dataclass(frozen=True, config=_STRICT_KEYS)
class Codes:
    planned: CodeList
    unplanned: CodeList
    newborn: CodeList
    discharge_summary: CodeList
    other_categories: CodeList

    @model_validator(mode="after")
    def _one_meaning_for_each_code(self) -> Self:
        for keys in (
            ("planned", "unplanned", "newborn"),
            ("discharge_summary", "other_categories"),
        ):
            codes = [code for key in keys for code in set(getattr(self, key))]
            for code in codes:
                if codes.count(code) > 1:
                    names = " and ".join(f"codes.{k}" for k in keys if code in getattr(self, k))
                    raise ValueError(f"{names} both list {code!r}: a code has one meaning")
        return self


@dataclass(frozen=True, config=_STRICT_KEYS)
class Output:
    root: OwnFolder | None
    overwrite: Bool
    group_readable: Bool


@dataclass(frozen=True, config=_STRICT_KEYS)
class Label:
    horizon_days: Days
    known_until: KnownUntil | None
    death: Literal["exclude", "negative", "event"] | None
    join_hours: Annotated[NotNegativeNumber, Field(le=24 * 365)]
    leave_out: Dispositions | None
    observation: Literal["exclude", "include"]


@dataclass(frozen=True, config=_STRICT_KEYS)
class WindowRule:
    available: Literal["stored", "charted"] | None
    days_before: NotNegativeInt | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Clean:
    keep_decimals: Bool | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Chunk:
    mode: Literal["segments", "words"] | None
    words: PositiveInt
    min_tail_words: NotNegativeInt


@dataclass(frozen=True, config=_STRICT_KEYS)
class Split:
    by: Literal["patient", "time", "site"]
    level: Literal["patient", "admission"] | None
    seed: Seed
    validation_from: Day | None
    test_from: Day | None
    site_column: Text | None
    validation_sites: CodeList | None
    test_sites: CodeList | None

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        days = self.validation_from, self.test_from
        if self.by == "time" and not (days[0] and days[1] and days[0] < days[1]):
            raise ValueError(
                "split.by=time needs split.validation_from and a later split.test_from, such as "
                "'2025-01-01' and '2025-07-01'"
            )
        return self

    @model_validator(mode="after")
    def _sites_apart(self) -> Self:
        validation, test = set(self.validation_sites or ()), set(self.test_sites or ())
        if self.by == "site" and not (self.site_column and validation and test):
            raise ValueError(
                "split.by=site needs split.site_column, split.validation_sites and split.test_sites"
            )
        if both := sorted(validation & test):
            raise ValueError(f"split.validation_sites and split.test_sites both list {both[0]!r}")
        return self


@dataclass(frozen=True, config=_STRICT_KEYS)
class Model:
    path: Text
    name: Text
    max_tokens: Annotated[int, Strict(), Field(ge=8, le=LARGEST_INT)]


@dataclass(frozen=True, config=_STRICT_KEYS)
class Train:
    window: Window
    snapshots: Bool | None
    seed: Seed
    seeds: Seeds | None
    epochs: PositiveNumber
    learning_rate: PositiveNumber
    batch_size: PositiveInt
    micro_batch_size: PositiveInt
    group_by_length: Bool
    processes: PositiveInt
    checkpoint_minutes: NotNegativeNumber
    warmup_ratio: ShareOrZero
    weight_decay: NotNegativeNumber
    max_grad_norm: PositiveNumber
    patience: PositiveInt
    log_every: PositiveInt


@dataclass(frozen=True, config=_STRICT_KEYS)
class Pretrain:
    categories: Categories
    copies: PositiveInt
    masked: Share
    whole_words: Bool
    tokens: PositiveInts
    steps: PositiveInts
    batch_tokens: PositiveInt
    micro_batch_tokens: PositiveInt
    learning_rate: PositiveNumber
    scratch: Bool

    @model_validator(mode="after")
    def _one_length_for_each_phase(self) -> Self:
        if len(self.tokens) != len(self.steps):
            raise ValueError(
                f"pretrain.tokens has {len(self.tokens)} phases and pretrain.steps "
                f"{len(self.steps)}: both need one entry for each phase"
            )
        return self


@dataclass(frozen=True, config=_STRICT_KEYS)
class Tune:
    learning_rates: PositiveNumbers | None
    vote_c: VoteCs | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Promote:
    version: PositiveInt | None
    min_gain: Number
    margin: NotNegativeNumber
    group_margin: NotNegativeNumber
    min_group: NotNegativeInt
    signed_off_by: Text | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Score:
    windows: Windows | None
    split: Literal["all", "train", "validation", "test"]
    backend: Literal["auto", "torch", "openvino"]
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16", "fp16"]
    max_probability_shift: Probability
    alert_threshold: ShareOrZero | None
    batch_tokens: PositiveInt | None
    bootstrap: PositiveInt
    meds: Bool
    capacity_share: Share


@dataclass(frozen=True, config=_STRICT_KEYS)
class Vote:
    c: VoteC | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Compare:
    cross_validate: Bool
    incumbents: Texts | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Audit:
    max_duplicates: Probability
    max_auroc: Probability
    sample: PositiveInt


@dataclass(frozen=True, config=_STRICT_KEYS)
class Nightly:
    window: Window
    alert: Literal["capacity", "threshold", "precision"]
    alert_value: Number
    alert_days: PositiveInt | None
    columns: Texts | None
    columns_table: Text | None
    actions: Text | None
    lookback: PositiveInt
    any_time: Bool
    fhir: Bool
    include_text: Bool


@dataclass(frozen=True, config=_STRICT_KEYS)
class Monitor:
    reference_nights: PositiveInt
    reference_from: Text | None
    # The limits are simulated: below 0.001 too few simulated nights lie beyond them.
    false_alarm_rate: Annotated[Number, Field(ge=0.001, lt=1)]


@dataclass(frozen=True, config=_STRICT_KEYS)
class Explain:
    source: Literal["nightly", "score"]
    window: Window | None
    top: PositiveInt
    steps: PositiveInt
    deletion: Share
    include_text: Bool


@dataclass(frozen=True, config=_STRICT_KEYS)
class OverTime:
    days: PositiveInt


@dataclass(frozen=True, config=_STRICT_KEYS)
class Tracking:
    uri: Text | None
    artifacts: Text | None
    experiment: Text


@dataclass(frozen=True, config=_STRICT_KEYS)
class Demo:
    patients: PositiveInt
    days: PositiveInt
    seed: Seed


@dataclass(frozen=True, config=_STRICT_KEYS)
class Emr:
    region: Text | None
    prefix: Text | None
    logs: Text | None
    release: Text
    name: Text
    subnets: Texts | None
    security_configuration: Text | None
    log_key: Text | None
    service_role: Text
    instance_profile: Text
    time_zone: Text
    cpu_nodes: PositiveInt
    gpu_nodes: PositiveInt
    idle_minutes: PositiveInt
    max_hours: PositiveInt
    environment: Text | None


@dataclass(frozen=True, config=_STRICT_KEYS)
class Config:
    profile: Literal["default", "paper"]
    windows: Windows
    data: Data
    fhir: Fhir
    omop: Omop
    codes: Codes
    output: Output
    label: Label
    window: WindowRule
    clean: Clean
    chunk: Chunk
    split: Split
    model: Model
    train: Train
    pretrain: Pretrain
    tune: Tune
    promote: Promote
    score: Score
    vote: Vote
    compare: Compare
    audit: Audit
    nightly: Nightly
    monitor: Monitor
    explain: Explain
    over_time: OverTime
    tracking: Tracking
    demo: Demo
    emr: Emr

    @property
    def split_level(self) -> str:
        """Return `split.level`, or the profile's level: the published split is by admission."""
        return _split_level(self.profile, self.split.level)

    @property
    def label_death(self) -> str:
        """Return `label.death`, or the profile's rule: the published labels know no deaths."""
        return self.label.death or ("negative" if self.profile == "paper" else "exclude")

    @property
    def window_available(self) -> str:
        """Return `window.available`, or the profile's rule: published windows go by CHARTDATE."""
        return window_available(self.profile, self.window.available)

    @property
    def text_rules(self) -> TextRules:
        """Return the rules by which texts become chunks; nulls have the profile's rule."""
        return TextRules.of(to_dict(self))

    @property
    def train_snapshots(self) -> bool:
        """Return `train.snapshots`, or the profile's: the published training knows none."""
        snapshots = self.train.snapshots
        return self.profile != "paper" if snapshots is None else snapshots

    @property
    def split_name(self) -> str:
        """Return the name of the split, see `split_name`."""
        return split_name(to_dict(self))

    @property
    def output_root(self) -> str:
        """Return `output.root` without a trailing slash; UserError if it is not set."""
        return required(self.output.root, "output.root").rstrip("/")

    @property
    def tracking_uri(self) -> str:
        """Return `tracking.uri`, or the URI of a sqlite file in `output.root`."""
        if self.tracking.uri:
            return self.tracking.uri
        if "://" in self.output_root:
            raise UserError(
                f"tracking.uri is not set and output.root is {self.output_root}: MLflow cannot "
                "keep its database on an object store; set tracking.uri"
            )
        return f"sqlite:///{Path(self.output_root).absolute()}/mlflow.db"


def split_name(values: Mapping[str, Any]) -> str:
    """Name the split of a run by everything that decides which patients are tested.

    values: the run's configuration from `to_dict` or from its manifest. Raises UserError if the
    manifest is older than `split.seed`.

    >>> split_name({"profile": "paper", "split": {"level": None, "seed": 7}})
    'admission 7'
    """
    split = values["split"]
    if "seed" not in split:
        raise UserError(
            "output.root: its tables were prepared before split.seed existed; "
            "run jobs/prepare.py again with output.overwrite=true"
        )
    if split.get("by") == "time":
        return f"time {split['validation_from']} {split['test_from']}"
    if split.get("by") == "site":
        sides = (", ".join(sorted(split[f"{side}_sites"])) for side in ("validation", "test"))
        return f"site {split['site_column']}: {' / '.join(sides)}"
    return f"{_split_level(values['profile'], split['level'])} {split['seed']}"


def _split_level(profile: str, level: str | None) -> str:
    return level or ("admission" if profile == "paper" else "patient")


def window_available(profile: str, available: str | None) -> str:
    """Return `window.available`, or the rule of the profile."""
    return available or ("charted" if profile == "paper" else "stored")


def required(value: str | None, key: str) -> str:
    """Return the value of a key that the job needs; UserError if it is not set."""
    if not value:
        raise UserError(f"{key} is not set: give it in the config file or with --set {key}=...")
    return value


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as nested plain values, structured like base.yaml.

    Manifests, MLflow and EMR record them, so URLs are without passwords.
    """
    return typing.cast(dict[str, Any], _without_secrets(dataclasses.asdict(config)))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_secrets(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(_without_secrets(one) for one in value)
    return without_secrets(value) if isinstance(value, str) else value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested values to {"section.key": value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
