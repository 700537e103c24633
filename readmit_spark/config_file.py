"""Reading the configuration: base.yaml, a file of overrides, each `--set section.key=value`."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from readmit_spark.config import Config, flatten
from readmit_spark.errors import UserError


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """base.yaml, then the file at `path`, then each `section.key=value` of `overrides`.

    Raises UserError for a missing file, an unknown key (naming the nearest known one), a value of
    the wrong type, and values that contradict each other.

    >>> load_config(overrides=["vote.c=3", "windows=[2days]"]).vote.c
    3.0
    """
    values = yaml.safe_load(base_yaml())
    if path is not None:
        _merge(values, _read(Path(path)), str(path))
    for text in overrides:
        _merge(values, _parse_override(text), f"--set {text}")
    config: Config = _build(Config, values, "")
    _check(config)
    return config


def base_yaml() -> str:
    """The text of base.yaml: the clone's conf/ folder, else the copy in the installed package."""
    beside = Path(__file__).parent.parent / "conf" / "base.yaml"
    if beside.exists():
        return beside.read_text()
    return resources.files("readmit_spark").joinpath("conf/base.yaml").read_text()


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"config file {path} does not exist") from None
    except (OSError, UnicodeDecodeError):
        raise UserError(f"config file {path} cannot be read as a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"config file {path} is not valid YAML{where}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"config file {path} must hold sections and keys, like conf/base.yaml")
    return values or {}


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write it as section.key=value")
    try:
        parsed: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {text}: the value is not valid YAML; quote it") from None
    for part in reversed(key.strip().split(".")):
        parsed = {part: parsed}
    return typing.cast(dict[str, Any], parsed)


def _merge(base: dict[str, Any], new: Mapping[str, Any], source: str, prefix: str = "") -> None:
    for key, value in new.items():
        if key not in base:
            near = difflib.get_close_matches(
                f"{prefix}{key}", flatten(base, prefix), n=1, cutoff=0.5
            )
            hint = f"; did you mean {near[0]}?" if near else "; conf/base.yaml lists every key"
            raise UserError(f"unknown key {prefix}{key} in {source}{hint}")
        if isinstance(base[key], dict):
            if not isinstance(value, Mapping):
                raise UserError(f"{prefix}{key} in {source} is a section: set {prefix}{key}.<key>")
            _merge(base[key], value, source, f"{prefix}{key}.")
        else:
            base[key] = value


def _build(kind: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(**{
        field.name: _build(hints[field.name], values[field.name], f"{prefix}{field.name}.")
        if dataclasses.is_dataclass(hints[field.name])
        else _typed(hints[field.name], values[field.name], prefix + field.name)
        for field in dataclasses.fields(kind)
    })  # fmt: skip


def _typed(kind: Any, value: Any, key: str) -> Any:
    """`value` as `kind`, or a UserError that names the key."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        if value is None:
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if typing.get_origin(kind) is Literal:
        if value in typing.get_args(kind):
            return value
        raise UserError(f"{key} is {value!r}: one of {', '.join(typing.get_args(kind))}")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if isinstance(value, list) and value and item in (int, float):
            return tuple(_typed(item, v, key) for v in value)
        if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
            return tuple(value)
        like = "[1, 2]" if item in (int, float) else "[2days, 3days]"
        raise UserError(f"{key} is {value!r}: a list is needed, such as {like}")
    if kind is float and not isinstance(value, bool):
        # YAML reads 2e-5 as a text; people write it all the same.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    if kind is str and isinstance(value, datetime.date):  # YAML reads 2101-02-26 as a date
        return value.isoformat()
    if type(value) is kind:
        return value
    needed = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
    raise UserError(f"{key} is {value!r} ({type(value).__name__}): {needed} is needed")


def _check(config: Config) -> None:
    """Values that no run can use."""
    positive = {
        "label.horizon_days": config.label.horizon_days,
        "chunk.words": config.chunk.words,
        "train.epochs": config.train.epochs,
        "train.batch_size": config.train.batch_size,
        "train.micro_batch_size": config.train.micro_batch_size,
        "train.processes": config.train.processes,
        "train.patience": config.train.patience,
        "train.log_every": config.train.log_every,
        "pretrain.copies": config.pretrain.copies,
        "pretrain.masked": config.pretrain.masked,
        "pretrain.tokens": min(config.pretrain.tokens),
        "pretrain.steps": min(config.pretrain.steps),
        "pretrain.batch_tokens": config.pretrain.batch_tokens,
        "pretrain.micro_batch_tokens": config.pretrain.micro_batch_tokens,
        "pretrain.learning_rate": config.pretrain.learning_rate,
        "tune.learning_rates": min(config.tune.learning_rates or (1,)),
        "tune.vote_c": min(config.tune.vote_c or (1,)),
        "train.learning_rate": config.train.learning_rate,
        "score.bootstrap": config.score.bootstrap,
        "score.batch_tokens": 1 if config.score.batch_tokens is None else config.score.batch_tokens,
        "audit.sample": config.audit.sample,
        "monitor.reference_nights": config.monitor.reference_nights,
        "explain.top": config.explain.top,
        "explain.steps": config.explain.steps,
        "explain.deletion": config.explain.deletion,
        "over_time.days": config.over_time.days,
        "vote.c": 1 if config.vote.c is None else config.vote.c,
        "nightly.lookback": config.nightly.lookback,
        "demo.patients": config.demo.patients,
        "emr.cpu_nodes": config.emr.cpu_nodes,
        "emr.gpu_nodes": config.emr.gpu_nodes,
        "emr.idle_minutes": config.emr.idle_minutes,
    }
    for key, value in positive.items():
        if value <= 0:
            raise UserError(f"{key} is {value}: it must be above 0")
    for key, windows in (("windows", config.windows), ("score.windows", config.score.windows)):
        if windows and len(set(windows)) < len(windows):
            raise UserError(f"{key} names a window more than once: {', '.join(windows)}")
    shares = {
        "monitor.false_alarm_rate": config.monitor.false_alarm_rate,
        "explain.deletion": config.explain.deletion,
        "pretrain.masked": config.pretrain.masked,
        "train.warmup_ratio": config.train.warmup_ratio,
        "score.alert_threshold": config.score.alert_threshold or 0,
    }
    for key, value in shares.items():
        if value >= 1:
            raise UserError(f"{key} is {value}: it must be below 1")
    if config.monitor.false_alarm_rate < 0.001:  # its limits are simulated
        raise UserError(
            f"monitor.false_alarm_rate is {config.monitor.false_alarm_rate}: it must be 0.001 or "
            "more"
        )
    if len(config.pretrain.tokens) != len(config.pretrain.steps):
        raise UserError(
            f"pretrain.tokens has {len(config.pretrain.tokens)} phases and pretrain.steps "
            f"{len(config.pretrain.steps)}: one of each for every phase"
        )
    not_negative = {
        "chunk.min_tail_words": config.chunk.min_tail_words,
        "train.warmup_ratio": config.train.warmup_ratio,
        "train.checkpoint_minutes": config.train.checkpoint_minutes,
        "score.alert_threshold": config.score.alert_threshold or 0,
    }
    for key, value in not_negative.items():
        if value < 0:
            raise UserError(f"{key} is {value}: it must be 0 or more")
    if config.model.max_tokens < 8:
        raise UserError(f"model.max_tokens is {config.model.max_tokens}: it must be 8 or more")
