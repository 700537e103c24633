"""Pairs of terms that people have rated, and how well a measure agrees with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from readmit_spark.errors import UserError

_COLUMNS = ["term", "other", "rating"]
_LEAST = 3


def read_ratings(path: Path) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """The pairs and ratings of a CSV with the columns term, other, rating; UserError where it is
    missing, has other columns, a gap, or fewer than 3 pairs."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError):
        raise UserError(f"{path} is not a CSV") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas took the first field as a name
        raise UserError(f"{path} has rows with more fields than its header")
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}: term, other and rating are needed"
        )
    ratings = pd.to_numeric(table["rating"], errors="coerce")
    blank = table["term"].str.strip().eq("") | table["other"].str.strip().eq("")
    bad = (blank | ratings.isna()).to_numpy().nonzero()[0]
    if len(bad):
        raise UserError(f"{path}: row {bad[0] + 2} has no term or no number as its rating")
    if len(table) < _LEAST:
        raise UserError(f"{path} has {len(table)} pairs: at least {_LEAST} are needed")
    return list(zip(table["term"], table["other"], strict=True)), ratings.to_numpy(float)


def agreement(values: Sequence[float] | NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, ties by their mean rank; nan where one side is all equal."""
    ranks = [pd.Series(side).rank().to_numpy() for side in (values, ratings)]
    if any(np.ptp(side) == 0 for side in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
