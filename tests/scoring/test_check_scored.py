"""Scores can be explained only by the model and the configuration that made them."""

from __future__ import annotations

import pytest

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.scoring.check_scored import check_scored
from readmit_spark.scoring.model import Model
from readmit_spark.storage.manifests import Prepared, Scored

RUN = {"path": "/out/x", "tables": {}, "finished": "2026-01-01T00:00:00"}


def config(*overrides: str) -> Config:
    return load_config(overrides=["output.root=/out", "model.max_tokens=128", *overrides])


def prepared(model: Model, /, **changes: str) -> Prepared:
    """As jobs/prepare.py publishes it with `config()`."""
    made_with = {
        "profile": "default", "windows": ["2days"], "model": {"max_tokens": 128},
        "clean": {"keep_decimals": None}, "window": {"available": None, "days_before": None},
        "chunk": {"mode": config().chunk.mode, "words": config().chunk.words,
                  "min_tail_words": config().chunk.min_tail_words},
        "split": {"level": None, "seed": 1},
    }  # fmt: skip
    values = {
        "job": "prepare", "run": "prepare/1", "config": made_with, "admissions": {}, "notes": {},
        "seconds": {}, "tokenizer": model.tokenizer(128).fingerprint,
    }  # fmt: skip
    return Prepared.model_validate(RUN | values | changes)


def scored(model: Model, /, **changes: str) -> Scored:
    """As jobs/score.py publishes it with `config()`."""
    values = {
        "job": "score", "run": "score/1", "model": model.name, "fingerprint": model.fingerprint,
        "prepared": "prepare/1", "counts": {}, "seconds": {},
        "config": {"score": {"windows": None, "precision": "fp32"}, "vote": {"c": 2.0}},
    }  # fmt: skip
    return Scored.model_validate(RUN | values | changes)


@pytest.fixture
def model(tiny_model: str) -> Model:
    return Model(tiny_model, "tiny")


def test_with_the_same_model_and_configuration_the_tokenizer_is_returned(model: Model) -> None:
    tokenizer = check_scored(config(), model, prepared(model), scored(model))
    assert tokenizer.fingerprint == model.tokenizer(128).fingerprint
    assert tokenizer.max_tokens == 128


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "readmit/1"}, r"^model\.path: the scores were made by readmit/1, not by tiny$"),
        ({"fingerprint": "0"}, r"tiny has other weights .*; run jobs/score\.py again$"),
        ({"prepared": "prepare/0"}, r"the scores under /out are of another run of prepare; run"),
    ],
)
def test_scores_of_another_model_or_other_chunks_are_refused(
    model: Model, changed: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_scored(config(), model, prepared(model), scored(model, **changed))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "chunk.mode=words",
            r"^clean, chunk: jobs/prepare\.py was run with profile=default, "
            r"clean\.keep_decimals=True, chunk\.mode=segments, chunk\.min_tail_words=10$",
        ),
        ("clean.keep_decimals=false", r"^clean, chunk: .* clean\.keep_decimals=True"),
        ("profile=paper", r"^profile: jobs/prepare\.py was run with default$"),
        ("model.max_tokens=64", r"^model\.max_tokens: jobs/prepare\.py was run with 128$"),
        ("score.precision=bf16", r"^score\.precision: jobs/score\.py scored in fp32$"),
    ],
)
def test_another_configuration_is_refused(model: Model, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_scored(config(override), model, prepared(model), scored(model))


def test_chunks_of_another_tokenizer_are_refused(model: Model) -> None:
    with pytest.raises(UserError, match="run with the tokenizer of another model"):
        check_scored(config(), model, prepared(model, tokenizer="0"), scored(model))
