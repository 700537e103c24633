"""A 16-bit precision is taken only where it leaves a model's probabilities nearly as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_precision
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import PrecisionProbe
from tests.tiny_bert import save_bert


def bf16(*more: str) -> Config:
    return load_config(overrides=["score.precision=bf16", *more])


def test_what_moves_and_flips_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = PrecisionProbe("torch bf16, oneDNN, packed", 1.0, max_shift=0.0199, flips=3, n=64)
    check_precision(bf16(), found, 0.31, Progress("score", 4))
    printed = capsys.readouterr().err
    assert "torch bf16, oneDNN, packed" in printed
    assert "on 64 chunks: probabilities move by at most 0.0199" in printed
    assert "3 decisions at 0.310 flip" in printed


def test_past_the_tolerance_it_is_refused() -> None:
    found = PrecisionProbe("torch bf16", 1.0, max_shift=0.0201, flips=0, n=64)
    with pytest.raises(UserError, match=r"moves a probability by 0\.0201, and .* allows 0\.02"):
        check_precision(bf16(), found, 0.5, Progress("score", 4))
    check_precision(bf16("score.max_probability_shift=0.03"), found, 0.5, Progress("score", 4))
    overflow = PrecisionProbe("torch fp16", 1.0, max_shift=float("nan"), flips=0, n=64)
    with pytest.raises(UserError, match="moves a probability by nan"):
        check_precision(bf16(), overflow, 0.5, Progress("score", 4))


def fitted_bert(folder: Path, alerts: dict[str, list[Threshold]]) -> str:
    save_bert(folder)
    values = json.loads((folder / "config.json").read_text())
    values[KEY] = FittedSettings("3days", 64, 2.0, alerts).to_dict()
    (folder / "config.json").write_text(json.dumps(values))
    return str(folder)


def test_decisions_are_those_at_the_model_s_own_threshold(tmp_path: Path) -> None:
    low, high = Threshold(0.4, 0.6, 0.9, 0.2, 50), Threshold(0.7, 0.85, 0.3, 0.1, 50)
    folder = fitted_bert(tmp_path, {"2days": [low], "3days": [low, high]})
    model = Model(folder, "")
    assert model.alert_threshold(bf16(), ["2days", "3days"]) == 0.7
    assert model.alert_threshold(bf16(), ["2days"]) == 0.5  # where 0.80 was never reached
    assert model.alert_threshold(bf16("score.alert_threshold=0.2"), ["3days"]) == 0.2


def test_a_model_that_learnt_none_is_judged_at_a_half(tmp_path: Path) -> None:
    assert Model(save_bert(tmp_path), "").alert_threshold(bf16(), ["3days"]) == 0.5
