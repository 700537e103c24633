"""A model scores only chunks that were made as those that it was fine-tuned on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.scoring.check_model import check_fitted_chunks
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.model import Model
from tests.tiny import save_tiny_model

RULES = load_config().text_rules
WORDS = load_config(
    overrides=["chunk.mode=words", "chunk.words=40", "clean.keep_decimals=false"]
).text_rules
FITTED = FittedSettings("3days", 64, 2.0, {}, RULES)


def fine_tuned(folder: Path, fitted: FittedSettings) -> Model:
    path = Path(save_tiny_model(folder)) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: fitted.to_dict()}))
    return Model(str(path.parent), "mine/1")


def test_chunks_by_the_same_rules_are_scored(tmp_path: Path) -> None:
    model = fine_tuned(tmp_path, FITTED)
    check_fitted_chunks(model, 64, RULES)
    assert model.fitted == FITTED


def test_chunks_of_another_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^model\.max_tokens: .* set model\.max_tokens=64, for"):
        check_fitted_chunks(fine_tuned(tmp_path, FITTED), 128, RULES)


def test_chunks_by_other_rules_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        check_fitted_chunks(fine_tuned(tmp_path, replace(FITTED, rules=WORDS)), 64, RULES)
    assert str(error.value) == (
        "clean, chunk: mine/1 was fine-tuned on chunks of 40 words, at most 64 tokens, without "
        "decimals, and these are chunks of whole segments, at most 64 tokens, with decimals: set "
        "clean.keep_decimals=False, chunk.mode=words, chunk.words=40, for jobs/prepare.py too"
    )


def test_a_model_of_an_earlier_version_knows_published_cleaning_only(tmp_path: Path) -> None:
    model = fine_tuned(tmp_path, replace(FITTED, rules=None))
    check_fitted_chunks(model, 64, load_config(overrides=["profile=paper"]).text_rules)
    with pytest.raises(UserError, match=r"^clean: mine/1 .* as published, .* fine-tune it again$"):
        check_fitted_chunks(model, 64, RULES)
