"""A model folder: what is read from it, once, and what the configuration overrides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.scoring import load_tokenizer, model
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.model import SEEN_SPLIT, Model, resolve_model
from tests.tiny import save_tiny_model

LOW = Threshold(0.4, 0.6, 0.9, 0.2, 50)  # threshold, precision, recall, share alerted, n
HIGH = Threshold(0.7, 0.85, 0.3, 0.1, 50)


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
    for module, name in ((model, "read_settings"), (load_tokenizer, "read_settings"),
                         (model, "fingerprint")):  # fmt: skip
        read = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda folder, name=name, read=read: (reads.append(name), read(folder))[1]
        )
    for _ in range(2):
        assert tiny.has_head
        assert tiny.seen_split is None
        assert (tiny.vote_c(config), tiny.alert_threshold(config, ["3days"])) == (4.0, 0.7)
        assert tiny.tokenizer(64).max_tokens == 64
        assert len(tiny.fingerprint) == 12
    assert sorted(reads) == ["fingerprint", "read_settings"]


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
        ({"2days": [LOW], "3days": [LOW, HIGH]}, ["3days"], "null", 0.7),  # precision 0.85
        ({"2days": [LOW], "3days": [LOW, HIGH]}, ["2days", "3days"], "null", 0.7),
        ({"2days": [LOW], "3days": [LOW, HIGH]}, ["2days"], "null", 0.5),  # never reached 0.80
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


def test_a_hub_id_that_cannot_be_fetched_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> str:
        raise OSError(f"no connection for {name}\nand a long explanation\nof many lines")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(UserError) as error:
        resolve_model(load_config(overrides=["model.path=someone/bert"]))
    assert str(error.value) == (
        "model.path: someone/bert cannot be loaded: no connection for someone/bert"
    )


def test_a_hub_id_is_the_name_of_its_model(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name: tiny_model)
    assert resolve_model(load_config(), "someone/bert") == Model(tiny_model, "someone/bert")
