"""The configuration: typed, frozen, every key known.

Values live in `conf/base.yaml`, with their units and reasons; the classes below give the types, and
`config_file.py` reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from readmit_spark.errors import UserError


@dataclass(frozen=True)
class Data:
    admissions: str | None
    notes: str | None
    patients: str | None
    truth: str | None


@dataclass(frozen=True)
class Output:
    root: str | None
    overwrite: bool


@dataclass(frozen=True)
class Label:
    horizon_days: float


@dataclass(frozen=True)
class Chunk:
    mode: Literal["words", "tokens"]
    words: int
    min_tail_words: int


@dataclass(frozen=True)
class Split:
    level: Literal["patient", "admission"] | None


@dataclass(frozen=True)
class Model:
    path: str
    name: str
    max_tokens: int


@dataclass(frozen=True)
class Train:
    window: str
    epochs: float
    learning_rate: float
    batch_size: int
    micro_batch_size: int
    group_by_length: bool
    processes: int
    checkpoint_minutes: float
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    patience: int
    log_every: int


@dataclass(frozen=True)
class Pretrain:
    categories: tuple[str, ...]
    copies: int
    masked: float
    whole_words: bool
    tokens: tuple[int, ...]
    steps: tuple[int, ...]
    batch_tokens: int
    micro_batch_tokens: int
    learning_rate: float
    scratch: bool


@dataclass(frozen=True)
class Tune:
    learning_rates: tuple[float, ...] | None
    vote_c: tuple[float, ...] | None


@dataclass(frozen=True)
class Promote:
    version: int | None
    min_gain: float
    max_loss: float
    min_group: int


@dataclass(frozen=True)
class Score:
    windows: tuple[str, ...] | None
    split: Literal["all", "train", "validation", "test"]
    backend: Literal["auto", "torch", "openvino"]
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16", "fp16"]
    max_probability_shift: float
    alert_threshold: float | None
    batch_tokens: int | None
    bootstrap: int


@dataclass(frozen=True)
class Vote:
    c: float | None


@dataclass(frozen=True)
class Compare:
    cross_validate: bool


@dataclass(frozen=True)
class Audit:
    max_duplicates: float
    max_auroc: float
    sample: int


@dataclass(frozen=True)
class Nightly:
    window: str
    alert: Literal["capacity", "threshold", "precision"]
    alert_value: float
    lookback: int
    include_text: bool


@dataclass(frozen=True)
class Monitor:
    reference_nights: int
    reference_from: str | None
    false_alarm_rate: float


@dataclass(frozen=True)
class Explain:
    source: Literal["nightly", "score"]
    window: str | None
    top: int
    steps: int
    deletion: float
    include_text: bool


@dataclass(frozen=True)
class OverTime:
    days: int


@dataclass(frozen=True)
class Tracking:
    uri: str | None
    artifacts: str | None
    experiment: str


@dataclass(frozen=True)
class Demo:
    patients: int
    days: int
    seed: int


@dataclass(frozen=True)
class Emr:
    region: str | None
    prefix: str | None
    logs: str | None
    release: str
    name: str
    subnets: tuple[str, ...] | None
    security_configuration: str | None
    log_key: str | None
    service_role: str
    instance_profile: str
    time_zone: str
    cpu_nodes: int
    gpu_nodes: int
    idle_minutes: int


@dataclass(frozen=True)
class Config:
    profile: Literal["default", "paper"]
    windows: tuple[str, ...]
    seed: int
    data: Data
    output: Output
    label: Label
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
        """`split.level`, or the profile's own: the published split is over admissions."""
        return _split_level(self.profile, self.split.level)

    @property
    def split_name(self) -> str:
        """What decides who is in the test split."""
        return split_name(to_dict(self))

    @property
    def output_root(self) -> str:
        """`output.root` without a trailing slash; a UserError where it is not set."""
        return required(self.output.root, "output.root").rstrip("/")

    @property
    def tracking_uri(self) -> str:
        """`tracking.uri`, or a sqlite file beside the tables."""
        if self.tracking.uri:
            return self.tracking.uri
        if "://" in self.output_root:
            raise UserError(
                f"tracking.uri is not set and output.root is {self.output_root}: MLflow cannot "
                "keep its database on an object store; set tracking.uri"
            )
        return f"sqlite:///{Path(self.output_root).absolute()}/mlflow.db"


def split_name(values: Mapping[str, Any]) -> str:
    """What decided who is in the test split of a run with this configuration, as `to_dict` has it.

    >>> split_name({"profile": "paper", "split": {"level": None}, "seed": 7})
    'admission 7'
    """
    return f"{_split_level(values['profile'], values['split']['level'])} {values['seed']}"


def _split_level(profile: str, level: str | None) -> str:
    return level or ("admission" if profile == "paper" else "patient")


def required(value: str | None, key: str) -> str:
    """The value of a key that this job cannot do without."""
    if not value:
        raise UserError(f"{key} is not set: give it in the config file or with --set {key}=...")
    return value


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested plain values, as base.yaml has it (for records of a run)."""
    return dataclasses.asdict(config)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as {"section.key": value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
