"""Read pairs of terms with human ratings, and compare a measure of similarity with the ratings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from readmit_spark.errors import UserError

_COLUMNS = ["term", "other", "rating"]
_MIN_PAIRS = 3


def read_ratings(path: Path) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Read the pairs and ratings from a CSV with the columns term, other, rating.

    Raises UserError if the file is missing or not a CSV, if a column or a value is missing, or if
    there are fewer than 3 pairs.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError):
        raise UserError(f"{path} is not a CSV") from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas used the first field as the index
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
        raise UserError(f"{path}: row {bad[0] + 2} has no term or its rating is not a number")
    if len(table) < _MIN_PAIRS:
        raise UserError(f"{path} has {len(table)} pairs: at least {_MIN_PAIRS} are needed")
    return list(zip(table["term"], table["other"], strict=True)), ratings.to_numpy(float)


def agreement(values: Sequence[float] | NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; ties have their mean rank.

    The result is not-a-number if all values or all ratings are equal.
    """
    ranks = [pd.Series(side).rank().to_numpy() for side in (values, ratings)]
    if any(np.ptp(side) == 0 for side in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
