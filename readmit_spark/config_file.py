"""Read the configuration from base.yaml, a file of overrides and `--set section.key=value`."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from readmit_spark.config import Config, flatten
from readmit_spark.errors import UserError

_CONFIG = TypeAdapter(Config)


def load_config(
    files: str | Path | Sequence[str | Path] = (), overrides: Iterable[str] = ()
) -> Config:
    """Read base.yaml, then `files`, then each `section.key=value` of `overrides`.

    Later values win. Raises UserError, one line, for a missing file, an unknown key (with the most
    similar known key), and a value of the wrong type or out of range.

    >>> load_config(overrides=["vote.c=3", "windows=[2days]"]).vote.c
    3.0
    """
    values = yaml.safe_load(base_yaml())
    for path in [files] if isinstance(files, str | Path) else files:
        _merge(values, _read(Path(path)), str(path))
    for text in overrides:
        _merge(values, _parse_override(text), f"--set {text}")
    if values["windows"] is None:
        # Every midnight of the longest window has a document; the published code knew two windows.
        early = ["2days", "3days"]
        values["windows"] = early if values["profile"] == "paper" else ["1days", *early]
    try:
        return _CONFIG.validate_python(values)
    except ValidationError as error:
        raise UserError(_message(error.errors()[0])) from None


def base_yaml() -> str:
    """Return the text of base.yaml from the clone's conf/ folder or the installed package."""
    in_clone = Path(__file__).parent.parent / "conf" / "base.yaml"
    if in_clone.exists():
        return in_clone.read_text()
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
    except RecursionError:
        raise UserError(f"config file {path} nests lists or sections too deeply") from None
    except ValueError as error:  # a date such as 2101-13-01
        raise UserError(f"config file {path} is not valid YAML: {error}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"config file {path} must hold sections and keys, like conf/base.yaml")
    return values or {}


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write it as section.key=value")
    try:
        parsed: Any = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):  # ValueError: a date such as 2101-13-01
        raise UserError(f"--set {text}: the value is not valid YAML; quote it") from None
    except RecursionError:
        raise UserError(f"--set {key}: the value nests lists too deeply") from None
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


_TYPES = {
    "int_type": "a whole number is needed",
    "float_type": "a number is needed",
    "bool_type": "true or false is needed",
    "string_type": "a text is needed",
}
_RANGES = {
    "finite_number": "a finite number is needed",
    "greater_than": "it must be above {gt}",
    "greater_than_equal": "it must be {ge} or more",
    "less_than": "it must be below {lt}",
    "less_than_equal": "it must be {le} or less",
}


def _message(error: ErrorDetails) -> str:
    """Return pydantic's error as one line: the key, its value and what is allowed."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":  # of a section; its text names the keys
        return str(context["error"])
    key = ".".join(part for part in error["loc"] if isinstance(part, str))
    if kind == "repeated":
        return f"{key} {error['msg']}"
    says = "is" if key == ".".join(map(str, error["loc"])) else "holds"  # one entry of a list
    shown = "null" if value is None else repr(value)
    if kind in _TYPES:
        shown += "" if value is None else f" ({type(value).__name__})"
        return f"{key} {says} {shown}: {_TYPES[kind]}"
    if kind in _RANGES:
        return f"{key} {says} {shown}: {_RANGES[kind].format(**context)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        return f"{key} {says} {shown}: one of {', '.join(choices)}"
    return f"{key} {says} {shown}: {error['msg']}"
