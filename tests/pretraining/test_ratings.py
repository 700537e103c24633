"""Pairs with human ratings: reading, errors, and rank correlation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from readmit_spark.errors import UserError
from readmit_spark.pretraining.ratings import agreement, read_ratings


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text)
    return path


def test_pairs_and_ratings(tmp_path: Path) -> None:
    text = "term,other,rating,source\nrenal failure,kidney failure,4.0,x\na,b,1,y\nNA,c,2.5,z\n"
    pairs, ratings = read_ratings(write(tmp_path, text))
    assert pairs == [("renal failure", "kidney failure"), ("a", "b"), ("NA", "c")]
    assert ratings.tolist() == [4.0, 1.0, 2.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("term,rating\na,1\n", "no column other: term, other and rating are needed"),
        ("term,other,rating\na,b,1\na,,2\nc,d,3\n", "row 3 has no term or its rating is not a num"),
        ("term,other,rating\na,b,1\na,b,much\nc,d,3\n", "row 3 has no term or its rating is not a"),
        ("term,other,rating\na,b,1\n", "has 1 pairs: at least 3"),
        ("", "is not a CSV"),
        ("a,b\n1,2,3\n4,5,6,7,8\n", "is not a CSV"),
        ("term,other,rating\na,b,c,1\na,b,c,2\nc,d,c,3\n", "rows with more fields than its header"),
    ],
)
def test_each_error_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_ratings(write(tmp_path, text))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="does not exist"):
        read_ratings(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="is not a CSV"):
        read_ratings(tmp_path)


def test_agreement_is_spearman_s() -> None:
    random = np.random.default_rng(0)
    ratings = random.integers(1, 5, 40).astype(float)  # ties
    values = ratings + random.normal(0, 2, 40)
    assert agreement(values, ratings) == pytest.approx(spearmanr(values, ratings)[0], abs=1e-12)
    assert agreement(np.exp(ratings), ratings) == pytest.approx(1)
    assert np.isnan(agreement(np.ones(40), ratings))
