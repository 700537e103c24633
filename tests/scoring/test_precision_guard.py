"""A 16-bit precision is used only where it hardly changes a model's probabilities."""

from __future__ import annotations

import pytest

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_precision
from readmit_spark.scoring.precision_probe import PrecisionProbe


def bf16(*more: str) -> Config:
    return load_config(overrides=["score.precision=bf16", *more])


def test_shifts_and_changed_decisions_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    result = PrecisionProbe(
        "torch bf16, oneDNN, packed", 1.0, max_shift=0.0199, flips=1, n=64, patients=60
    )
    check_precision(bf16(), result, 0.31, Progress("score", 4))
    printed = capsys.readouterr().err
    assert "torch bf16, oneDNN, packed" in printed
    assert "on 64 chunks: probabilities move by at most 0.0199" in printed
    assert "1 of 60 patients cross the alert threshold of 0.310" in printed


def test_a_shift_above_the_tolerance_is_refused() -> None:
    result = PrecisionProbe("torch bf16", 1.0, max_shift=0.0201, flips=0, n=64)
    with pytest.raises(UserError, match=r"moves a probability by 0\.0201, and .* allows 0\.02"):
        check_precision(bf16(), result, 0.5, Progress("score", 4))
    check_precision(bf16("score.max_probability_shift=0.03"), result, 0.5, Progress("score", 4))
    overflow = PrecisionProbe("torch fp16", 1.0, max_shift=float("nan"), flips=0, n=64)
    with pytest.raises(UserError, match="moves a probability by nan"):
        check_precision(bf16(), overflow, 0.5, Progress("score", 4))


def test_alerts_that_change_are_refused() -> None:
    result = PrecisionProbe("torch bf16", 1.0, max_shift=0.01, flips=1, n=256, patients=49)
    with pytest.raises(UserError, match="changes the alerts of 1 of 49 patients at the threshold"):
        check_precision(bf16(), result, 0.5, Progress("score", 4))
