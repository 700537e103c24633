"""Conversion of pytorch_pretrained_bert checkpoints, compared with BERT's equations in numpy."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.scoring.classifier import check_one_logit, read_settings
from readmit_spark.scoring.convert_checkpoint import convert
from readmit_spark.scoring.import_job import import_checkpoint
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.model import Model, resolve_model, resolve_scorer
from readmit_spark.scoring.scorer import Scorer
from tests.tiny import VOCABULARY, save_tiny_model

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS = 32, 2, 4, 48, 64
SHAPE = {
    "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": WIDE,
    "max_position_embeddings": POSITIONS, "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS, "type_vocab_size": 2, "vocab_size": len(VOCABULARY),
}  # fmt: skip

Weights = dict[str, NDArray[np.float32]]


def unused() -> str:
    raise AssertionError("a checkpoint with a vocabulary asks for no other tokenizer")


def random_weights(head: bool = True, old_norms: bool = True) -> Weights:
    rng = np.random.default_rng(5)
    scale, shift = ("gamma", "beta") if old_norms else ("weight", "bias")
    weights: Weights = {}

    def dense(name: str, rows: int, columns: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, 0.2, (rows, columns)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.2, rows).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.{scale}"] = rng.normal(1, 0.2, HIDDEN).astype(np.float32)
        weights[f"{name}.{shift}"] = rng.normal(0, 0.2, HIDDEN).astype(np.float32)

    for name, n in (("word", len(VOCABULARY)), ("position", POSITIONS), ("token_type", 2)):
        table = rng.normal(0, 0.5, (n, HIDDEN)).astype(np.float32)
        weights[f"bert.embeddings.{name}_embeddings.weight"] = table
    norm("bert.embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            dense(f"{at}.attention.self.{part}", HIDDEN, HIDDEN)
        dense(f"{at}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{at}.attention.output.LayerNorm")
        dense(f"{at}.intermediate.dense", WIDE, HIDDEN)
        dense(f"{at}.output.dense", HIDDEN, WIDE)
        norm(f"{at}.output.LayerNorm")
    dense("bert.pooler.dense", HIDDEN, HIDDEN)
    if head:
        dense("classifier", 1, HIDDEN)
    return weights


def forward(weights: Weights, ids: list[int]) -> tuple[NDArray[np.float64], float | None]:
    """The pooled [CLS] and the logit of one chunk, in double precision.

    Vaswani et al. 2017 (attention), Devlin et al. 2018 (embeddings, pooler), Hendrycks and Gimpel
    2016 (GELU), Ba et al. 2016 (layer norm); W h_cls of Huang et al. 2019.
    """
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        gamma = w.get(f"{name}.gamma", w.get(f"{name}.weight"))
        beta = w.get(f"{name}.beta", w.get(f"{name}.bias"))
        centred = x - x.mean(-1, keepdims=True)
        return gamma * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) + beta

    def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    at = "bert.embeddings"
    x = (
        w[f"{at}.word_embeddings.weight"][ids]
        + w[f"{at}.position_embeddings.weight"][: len(ids)]
        + w[f"{at}.token_type_embeddings.weight"][0]
    )
    x = norm(x, f"{at}.LayerNorm")
    d = HIDDEN // HEADS
    for i in range(LAYERS):
        at = f"bert.encoder.layer.{i}"
        q, k, v = (linear(x, f"{at}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = np.empty_like(x)
        for head in range(HEADS):
            its = slice(head * d, (head + 1) * d)
            scores = np.exp(q[:, its] @ k[:, its].T / math.sqrt(d))
            mixed[:, its] = scores / scores.sum(-1, keepdims=True) @ v[:, its]
        x = norm(linear(mixed, f"{at}.attention.output.dense") + x,
                 f"{at}.attention.output.LayerNorm")  # fmt: skip
        wide = gelu(linear(x, f"{at}.intermediate.dense"))
        x = norm(linear(wide, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
    pooled = np.tanh(linear(x[0], "bert.pooler.dense"))
    logit = linear(pooled, "classifier").item() if "classifier.weight" in w else None
    return pooled, logit


def write_checkpoint(
    folder: Path,
    weights: Weights | Any,
    *,
    zipped: bool = True,
    vocabulary: bool = True,
    **shape: object,
) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "bert_config.json").write_text(json.dumps({**SHAPE, **shape}))
    if vocabulary:
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    if isinstance(weights, dict):
        weights = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    # Checkpoints from 2019 are not zip files.
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    return str(folder)


def chunks() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [[2, *rng.integers(5, len(VOCABULARY), n).tolist(), 3] for n in (1, 17, 62)]


@pytest.mark.parametrize("old_norms", [True, False], ids=["gamma-beta", "weight-bias"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-zip"])
def test_logits_are_those_of_the_equations(tmp_path: Path, old_norms: bool, zipped: bool) -> None:
    weights = random_weights(old_norms=old_norms)
    source = write_checkpoint(tmp_path / "in", weights, zipped=zipped)
    converted = convert(source, str(tmp_path / "out"), unused)
    assert (converted.has_head, converted.tensors, converted.left_out) == (True, len(weights), [])
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert not list((tmp_path / "out").glob("*.bin"))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    for ids in chunks():
        with torch.no_grad():
            logit = model(input_ids=torch.tensor([ids])).logits
        assert logit.shape == (1, 1)
        assert logit.item() == pytest.approx(forward(weights, ids)[1], abs=1e-5)


def test_the_scorer_accepts_a_converted_folder(tmp_path: Path) -> None:
    weights = random_weights()
    convert(write_checkpoint(tmp_path / "in", weights), str(tmp_path / "out"), unused)
    check_one_logit(read_settings(str(tmp_path / "out")), "out")
    scores = Scorer(str(tmp_path / "out"), device="cpu").score(
        [np.array(ids, np.int32) for ids in chunks()]
    )
    logits = np.array([forward(weights, ids)[1] for ids in chunks()])
    assert np.abs(scores - 1 / (1 + np.exp(-logits))).max() < 1e-5


@pytest.mark.parametrize("prefix", ["bert.", "", "module.bert."])
def test_an_encoder_without_a_head(tmp_path: Path, prefix: str) -> None:
    weights = random_weights(head=False)
    named = {prefix + name.removeprefix("bert."): value for name, value in weights.items()}
    named["cls.seq_relationship.weight"] = np.zeros((2, HIDDEN), np.float32)
    converted = convert(write_checkpoint(tmp_path / "in", named), str(tmp_path / "out"), unused)
    assert converted.has_head is False
    assert converted.left_out == ["cls.seq_relationship.weight"]
    assert not Model(str(tmp_path / "out"), "").has_head
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    for ids in chunks():
        with torch.no_grad():
            pooled = model(input_ids=torch.tensor([ids])).pooler_output[0].numpy()
        assert np.abs(pooled - forward(weights, ids)[0]).max() < 1e-5


def test_the_tokenizer_has_the_vocabulary_of_the_checkpoint(tmp_path: Path) -> None:
    convert(write_checkpoint(tmp_path / "in", random_weights()), str(tmp_path / "out"), unused)
    tokenizer = load_tokenizer(str(tmp_path / "out"), POSITIONS)
    words = ["[CLS]", "heart", "failure", "x", "##q", "[SEP]"]
    assert tokenizer.encode(["Heart failure xq"])[0].input_ids == list(map(VOCABULARY.index, words))


def test_without_a_vocabulary_the_tokenizer_of_model_path_is_used(tmp_path: Path) -> None:
    other = save_tiny_model(tmp_path / "other")
    source = write_checkpoint(tmp_path / "in", random_weights(), vocabulary=False)
    convert(source, str(tmp_path / "out"), lambda: other)
    vocabulary = AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    assert vocabulary == {word: i for i, word in enumerate(VOCABULARY)}


def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path) -> None:
    weights = random_weights()
    table = "bert.embeddings.word_embeddings.weight"
    weights[table] = np.resize(weights[table], (len(VOCABULARY) + 1, HIDDEN))
    more = {"vocab_size": len(VOCABULARY) + 1}
    source = write_checkpoint(tmp_path / "in", weights, vocabulary=False, **more)
    with pytest.raises(UserError, match=rf"model\.path has {len(VOCABULARY)} entries, but the"):
        convert(source, str(tmp_path / "out"), lambda: save_tiny_model(tmp_path / "other"))
    source = write_checkpoint(tmp_path / "in", weights, **more)
    with pytest.raises(UserError, match=rf"vocab\.txt has {len(VOCABULARY)} entries"):
        convert(source, str(tmp_path / "out"), unused)


class Runs:
    """Loading its pickle creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_a_checkpoint_runs(tmp_path: Path, zipped: bool) -> None:
    ran = tmp_path / "ran"
    source = write_checkpoint(tmp_path / "in", [Runs(ran)], zipped=zipped)
    with pytest.raises(UserError, match=r"contains more than weights.*no code in it was run"):
        convert(source, str(tmp_path / "out"), unused)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Runs(ran)))
    assert ran.exists()  # unpickling does run the code


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(tmp_path: Path, zipped: bool, share: float) -> None:
    source = write_checkpoint(tmp_path / "in", random_weights(), zipped=zipped)
    path = tmp_path / "in" / "pytorch_model.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(UserError, match=r"pytorch_model\.bin .*(truncated|damaged)") as error:
        convert(source, str(tmp_path / "out"), unused)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_truncated_at_any_byte_gives_one_line(tmp_path: Path, zipped: bool) -> None:
    """The first bytes contain lengths, opcode arguments and names."""
    source = write_checkpoint(tmp_path / "in", random_weights(), zipped=zipped)
    path = tmp_path / "in" / "pytorch_model.bin"
    raw = path.read_bytes()
    for size in range(1, 1500, 7):
        path.write_bytes(raw[:size])
        with pytest.raises(UserError, match=r"pytorch_model\.bin (is|was|contains) ") as error:
            convert(source, str(tmp_path / "out"), unused)
        assert "\n" not in str(error.value)


def changed(**changes: Any) -> Weights:
    weights = random_weights() | changes
    return {name: value for name, value in weights.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (changed(**{"bert.pooler.dense.bias": None}), r"lacks weights: bert\.pooler\.dense\.bias;"),
        (
            changed(**{"lstm.a": np.zeros(1, np.float32), "lstm.b": np.zeros(1, np.float32)}),
            r"has unknown weights: bert\.lstm\.a and 1 more",
        ),
        (
            changed(**{"classifier.weight": np.zeros((2, HIDDEN), np.float32)}),
            rf"classifier\.weight has shape \[2, {HIDDEN}\], but bert_config.json requires \[1,",
        ),
        (
            changed(**{"classifier.bias": np.array([np.nan], np.float32)}),
            r"classifier\.bias has a number that is not finite",
        ),
        ([1, 2], r"is not a dictionary of weights by name"),
    ],
    ids=["missing", "unknown", "two labels", "not a number", "a list"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, weights: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert(write_checkpoint(tmp_path / "in", weights), str(tmp_path / "out"), unused)


def test_configurations_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "in", random_weights(), num_hidden_layers=None)
    with pytest.raises(UserError, match=r"bert_config\.json lacks num_hidden_layers"):
        convert(source, str(tmp_path / "out"), unused)
    source = write_checkpoint(tmp_path / "in", random_weights(), num_attention_heads=0)
    with pytest.raises(UserError, match="lacks num_attention_heads: whole numbers above 0"):
        convert(source, str(tmp_path / "out"), unused)
    for activation in ("gelu_2", ["gelu"]):
        source = write_checkpoint(tmp_path / "in", random_weights(), hidden_act=activation)
        with pytest.raises(UserError, match="hidden_act is not an activation"):
            convert(source, str(tmp_path / "out"), unused)
    (tmp_path / "in" / "bert_config.json").write_text('{"hidden_size": 3')
    with pytest.raises(UserError, match=r"bert_config\.json is not JSON"):
        convert(source, str(tmp_path / "out"), unused)
    (tmp_path / "in" / "bert_config.json").unlink()
    with pytest.raises(UserError, match=r"has no bert_config\.json: not a pytorch_pretrained"):
        convert(source, str(tmp_path / "out"), unused)


def test_a_damaged_vocabulary_and_a_model_path_without_a_model_are_refused(tmp_path: Path) -> None:
    from readmit_spark.config_file import load_config

    source = write_checkpoint(tmp_path / "in", random_weights())
    (tmp_path / "in" / "vocab.txt").write_bytes(b"[PAD]\n\xff\xfe\n")
    with pytest.raises(UserError, match=r"vocab\.txt is not UTF-8"):
        convert(source, str(tmp_path / "out"), unused)
    (tmp_path / "in" / "vocab.txt").unlink()
    (tmp_path / "empty").mkdir()
    config = load_config(overrides=[f"output.root={tmp_path}", f"model.path={tmp_path / 'empty'}"])
    with pytest.raises(UserError, match=r"empty has no config\.json"):
        import_checkpoint(config, source, Progress("import_checkpoint", 2))


@pytest.mark.parametrize("head", [True, False])
def test_a_checkpoint_is_registered_and_loads_again(tmp_path: Path, head: bool) -> None:
    from readmit_spark.config_file import load_config

    tiny = save_tiny_model(tmp_path / "tiny")
    config = load_config(overrides=[f"output.root={tmp_path}", f"model.path={tiny}"])
    weights = random_weights(head)
    source = write_checkpoint(tmp_path / "in", weights)
    name, alias = import_checkpoint(config, source, Progress("import_checkpoint", 2))
    assert alias == "champion"
    assert name == ("readmission/1" if head else "readmission-encoder/1")
    uri = f"models:/{name}"
    if head:
        config = load_config(overrides=[f"output.root={tmp_path}", f"model.path={uri}"])
        logit = forward(weights, chunks()[1])[1]
        folder = resolve_scorer(config).folder
        scores = Scorer(folder, device="cpu").score([np.array(chunks()[1], np.int32)])
        assert scores[0] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-5)
    else:
        model = resolve_model(config, uri)
        folder = model.folder
        assert not model.has_head
    assert load_tokenizer(folder, POSITIONS).encode(["no pain"])[0].n_cut == 0
