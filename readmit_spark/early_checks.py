"""Checks of the configuration that need neither Spark nor a model, so that a slip costs no time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from readmit_spark.config import Config, flatten, to_dict
from readmit_spark.errors import UserError

_TABLES = (
    "data.admissions", "data.notes", "data.patients", "data.truth", "nightly.columns_table",
    "nightly.actions",
)  # fmt: skip
_RESULTS = ("output.root",)
_INPUTS = (*_RESULTS, "data.admissions", "data.notes")
# The keys that must be set.
_NEEDS = {
    **dict.fromkeys(("prepare", "run", "nightly", "audit", "over_time"), _INPUTS),
    **dict.fromkeys(("finetune", "score", "compare", "crossval", "explain", "ingest"), _RESULTS),
    **dict.fromkeys(("monitor", "recalibrate"), (*_RESULTS, "data.admissions")),
    "pretrain": (*_RESULTS, "data.notes"),
    "demo_data": _RESULTS,
}
_ELSEWHERE = re.compile(r"\w[\w+.-]*:/|.*[*?\[{]")  # a URL, or a pattern that Spark resolves

# Fewer readmitted admissions of a split are too few to learn or to measure from.
FEWEST_READMITTED = {"train": 50, "validation": 20, "test": 20}


def check_early(job: str, config: Config, local: bool) -> None:
    """Raise one UserError that names every key that the job needs and that is not set.

    For a job that reads tables it also names the tables that do not exist. local: whether a path
    without a scheme is one of this machine.
    """
    needs, values = _NEEDS.get(job, ()), flatten(to_dict(config))
    problems = [*_unset(needs, values)]
    if local and set(needs) & set(_TABLES):
        problems += _missing(values)
    if problems:
        raise UserError("; ".join(problems))


def local_table(key: str, path: str) -> Path | None:
    """Return the full path of a table on this machine; None for a URL or a pattern.

    Raise a UserError if it does not exist. key: of the path, for the message.
    """
    if _ELSEWHERE.match(path):
        return None
    full = Path(path).expanduser().absolute()
    if not full.exists():
        raise UserError(f"{key}: {full} does not exist")
    return full


def has_results(job: str) -> bool:
    """Return whether the job reads or publishes results in `output.root`."""
    return job in _NEEDS


def _unset(needs: Sequence[str], values: Mapping[str, Any]) -> Iterator[str]:
    unset = [key for key in needs if not values[key]]
    if unset:
        verb, it = ("is", "it") if len(unset) == 1 else ("are", "them")
        yield (
            f"{', '.join(unset)} {verb} not set: give {it} in a config file or with "
            f"--set {unset[0]}=..."
        )


def _missing(values: Mapping[str, Any]) -> Iterator[str]:
    for key in _TABLES:
        try:
            if values[key]:
                local_table(key, values[key])
        except UserError as error:
            yield str(error)
