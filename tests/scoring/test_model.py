"""A model folder: what is read from it, once, and what the configuration overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.scoring import model
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.model import SEEN_SPLIT, Model, resolve_model
from tests.tiny import save_tiny_model

# threshold, precision, low, high, recall, share alerted, n
LOW = Threshold(0.4, 0.6, 0.57, 0.63, 0.9, 0.2, 5000)
HIGH = Threshold(0.7, 0.85, 0.82, 0.88, 0.3, 0.1, 5000)


def with_settings(folder: Path, **values: Any) -> Model:
    """A tiny model with more keys in its config.json."""
    path = save_tiny_model(folder)
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(config))
    return Model(path, "tiny")


def fitted(folder: Path, alerts: dict[str, list[Threshold]], c: float = 4.0) -> Model:
    return with_settings(folder, **{KEY: FittedSettings("3days", 64, c, alerts).to_dict()})


def test_config_json_and_the_weights_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, config = fitted(tmp_path, {"3days": [HIGH]}), load_config()
    reads: list[str] = []
    for name in ("read_settings", "tokenizer_definition", "fingerprint"):
        read = getattr(model, name)
        monkeypatch.setattr(
            model, name, lambda *of, name=name, read=read: (reads.append(name), read(*of))[1]
        )
    for _ in range(2):
        assert tiny.has_head
        assert tiny.seen_split is None
        assert (tiny.vote_c(config), tiny.alert_threshold(config, ["3days"])) == (4.0, 0.7)
        assert (tiny.tokenizer(64).max_tokens, tiny.tokenizer(32).max_tokens) == (64, 32)
        assert len(tiny.fingerprint) == 12
    assert sorted(reads) == ["fingerprint", "read_settings", "tokenizer_definition"]


def test_c_is_the_configured_one_then_the_fitted_one_then_the_published_one(
    tmp_path: Path, tiny_model: str
) -> None:
    model_with_c = fitted(tmp_path, {})
    assert model_with_c.vote_c(load_config(overrides=["vote.c=3"])) == 3.0
    assert model_with_c.vote_c(load_config()) == 4.0
    assert Model(tiny_model, "tiny").vote_c(load_config()) == 2.0


@pytest.mark.parametrize(
    ("alerts", "windows", "configured", "threshold"),
    [
        ({"2days": [LOW], "3days": [LOW, HIGH]}, ["3days"], "0.2", 0.2),  # configured
        ({"2days": [LOW], "3days": [LOW, HIGH]}, ["3days"], "null", 0.7),  # precision 0.82 or more
        ({"2days": [LOW], "3days": [LOW, HIGH]}, ["2days", "3days"], "null", 0.7),
        (
            {"2days": [LOW], "3days": [LOW, HIGH]},
            ["2days"],
            "null",
            0.5,
        ),  # never surely reached 0.80
        ({"2days": [LOW]}, ["discharge"], "null", 0.5),  # not fitted in this window
    ],
)
def test_the_alert_threshold_is_the_configured_then_the_fitted_one_then_a_half(
    tmp_path: Path,
    alerts: dict[str, list[Threshold]],
    windows: list[str],
    configured: str,
    threshold: float,
) -> None:
    config = load_config(overrides=[f"score.alert_threshold={configured}"])
    assert fitted(tmp_path, alerts).alert_threshold(config, windows) == threshold


def test_without_fitted_settings_the_alert_threshold_is_a_half(tiny_model: str) -> None:
    assert Model(tiny_model, "tiny").fitted is None
    assert Model(tiny_model, "tiny").alert_threshold(load_config(), ["3days"]) == 0.5


def test_the_split_that_a_model_has_seen_is_in_its_config(tmp_path: Path) -> None:
    assert with_settings(tmp_path, **{SEEN_SPLIT: "patient 7"}).seen_split == "patient 7"


def test_the_fingerprint_depends_on_weights_and_configuration_only(tmp_path: Path) -> None:
    first = save_tiny_model(tmp_path / "first")
    (tmp_path / "first" / "README.md").write_text("not part of the model")
    same, other = save_tiny_model(tmp_path / "same"), save_tiny_model(tmp_path / "other", seed=8)
    fingerprints = [Model(folder, "tiny").fingerprint for folder in (first, same, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_folder_is_named_after_its_last_part(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "readmit")
    assert resolve_model(load_config(), folder) == Model(folder, "readmit")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_model_of_the_hub_carries_its_commit_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def download(name: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return save_tiny_model(tmp_path / "snapshots" / COMMIT)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    model = resolve_model(load_config(), "hub:someone/bert@v1.0")
    assert asked == [("someone/bert", "v1.0")]
    assert model == Model(str(tmp_path / "snapshots" / COMMIT), "someone/bert@0123456789ab")


def test_a_model_of_the_hub_that_cannot_be_fetched_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(name: str, **_: Any) -> str:
        raise OSError(f"no connection for {name}\nand a long explanation\nof many lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(UserError) as error:
        resolve_model(load_config(overrides=["model.path=hub:someone/bert@main"]))
    assert str(error.value) == (
        "model.path: hub:someone/bert@main cannot be fetched: no connection for someone/bert"
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("someone/bert", r"the folder someone/bert does not exist .*hub:NAME@REVISION"),
        ("bert-base-uncased", r"the folder bert-base-uncased does not exist"),
        ("~/nowhere/model", r"the folder ~/nowhere/model does not exist"),
        ("hub:someone/bert", r"write it hub:NAME@REVISION"),
        ("hub:someone/bert@", r"write it hub:NAME@REVISION"),
        ("hub:../../etc@main", r"write it hub:NAME@REVISION"),
        ("package:../../etc", r"needs the name of an installed package"),
        ("package:os.path", r"needs the name of an installed package"),
        ("package:", r"needs the name of an installed package"),
        ("package:json", r"contains no Hugging Face model folder"),
        ("package:abc", r"the package abc is not installed"),
    ],
)
def test_a_slip_in_the_path_is_one_line_and_never_a_download(
    path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: Any, **__: Any) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(UserError, match=message) as error:
        resolve_model(load_config(), path)
    assert "\n" not in str(error.value)


POINT = {"threshold": 0.4, "precision": 0.6, "recall": 0.9, "share_alerted": 0.2, "n": 50}
RIGHT = {"window": "3days", "max_tokens": 64, "vote_c": 4.0, "alerts": {"3days": [POINT]}}


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (RIGHT | {"vote_c": 0}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": -2}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": float("nan")}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": float("inf")}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": 1e-320}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": "2; drop"}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": "4"}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": True}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": [4.0]}, r"readmission\.vote_c"),
        (RIGHT | {"vote_c": None}, r"readmission\.vote_c"),
        (RIGHT | {"max_tokens": "64"}, r"readmission\.max_tokens"),
        (RIGHT | {"max_tokens": 64.5}, r"readmission\.max_tokens"),
        (RIGHT | {"max_tokens": 0}, r"readmission\.max_tokens"),
        (RIGHT | {"window": 3}, r"readmission\.window"),
        (RIGHT | {"window": "3 days"}, r"unknown window"),
        (RIGHT | {"alerts": {"days": []}}, r"unknown window"),
        (RIGHT | {"alerts": [POINT]}, r"readmission\.alerts"),
        (
            RIGHT | {"alerts": {"3days": [POINT | {"threshold": 1.5}]}},
            r"alerts\.3days\.0\.threshold",
        ),
        (RIGHT | {"alerts": {"3days": [POINT | {"precision": "0.8"}]}}, r"0\.precision"),
        (RIGHT | {"alerts": {"3days": [{"threshold": 0.4}]}}, r"0\.precision"),
        ({}, r"readmission\.window: field required"),
        ("fitted", r"readmission: "),
    ],
)
def test_what_fine_tuning_fitted_is_finite_and_in_range_or_refused(
    tmp_path: Path, stored: Any, message: str
) -> None:
    assert with_settings(tmp_path, **{KEY: RIGHT}).vote_c(load_config()) == 4.0
    with pytest.raises(UserError, match=message) as error:
        _ = with_settings(tmp_path, **{KEY: stored}).fitted
    assert str(error.value).startswith(f"model.path: {tmp_path}/config.json: ")
    assert "\n" not in str(error.value)


def test_the_split_that_a_model_has_seen_is_a_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"readmit_split is no name of a split"):
        _ = with_settings(tmp_path, **{SEEN_SPLIT: 7}).seen_split
