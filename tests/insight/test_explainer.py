"""Attention maps computed from the weights file, integrated gradients from their definition."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from pyspark.sql.pandas.types import to_arrow_schema
from safetensors.numpy import load_file
from scipy.special import erf, softmax
from transformers import BertConfig, BertForSequenceClassification

from readmit_spark.config_file import load_config
from readmit_spark.insight import explanations
from readmit_spark.insight.explainer import Explainer
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.score_chunks import ScorerSettings
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.storage.output_tables import EXPLAINED
from tests.tiny import VOCABULARY

# From the article.
SENTENCE = (
    "he has experienced acute on chronic diastolic heart failure in the setting of volume overload "
    "due to his sepsis ."
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model of BERT-base's shape, with the tests' small vocabulary."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("base")
    config = BertConfig(vocab_size=len(VOCABULARY), num_labels=1, initializer_range=0.05)
    model = BertForSequenceClassification(config)
    # Untrained layers blend all tokens into one, and the later maps would be flat.
    for layer in model.bert.encoder.layer:
        layer.attention.output.dense.weight.data *= 0.2
        layer.output.dense.weight.data *= 0.2
    model.save_pretrained(folder)
    return str(folder)


def maps_by_weights(folder: str, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """softmax(q kᵀ / √d) of every layer and head, in float64 numpy, from the weights file."""
    w = {k: v.astype(np.float64) for k, v in load_file(Path(folder) / "model.safetensors").items()}
    config = BertConfig.from_pretrained(folder)
    heads, d = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def linear(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config.layer_norm_eps)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    e = "bert.embeddings"
    x = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.position_embeddings.weight"][: len(ids)]
    x = norm(x + w[f"{e}.token_type_embeddings.weight"][0], f"{e}.LayerNorm")
    maps = []
    for i in range(config.num_hidden_layers):
        layer = f"bert.encoder.layer.{i}"
        q, k, v = (
            linear(x, f"{layer}.attention.self.{name}").reshape(len(ids), heads, d).swapaxes(0, 1)
            for name in ("query", "key", "value")
        )
        weights = softmax(q @ k.swapaxes(1, 2) / math.sqrt(d), axis=-1)
        maps.append(weights)
        mixed = (weights @ v).swapaxes(0, 1).reshape(len(ids), -1)
        x = norm(
            x + linear(mixed, f"{layer}.attention.output.dense"),
            f"{layer}.attention.output.LayerNorm",
        )
        wide = linear(x, f"{layer}.intermediate.dense")
        wide = 0.5 * wide * (1 + erf(wide / math.sqrt(2)))
        x = norm(x + linear(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return np.array(maps)


def test_attention_maps_of_the_published_sentence_follow_from_the_weights(
    base: str, tokenizer: ChunkTokenizer
) -> None:
    ids = np.array(tokenizer.encode([SENTENCE])[0].input_ids, dtype=np.int32)
    maps = Explainer(base, "cpu").attention(ids)
    assert maps.shape == (12, 12, len(ids), len(ids))  # 144
    assert np.abs(maps - maps_by_weights(base, ids)).max() < 1e-6
    assert maps.std(axis=(2, 3)).min() > 1e-4  # no map is flat; otherwise any maps would pass
    assert maps.sum(axis=-1) == pytest.approx(1, abs=1e-5)


@pytest.fixture(scope="module")
def explainer(tiny_model: str) -> Explainer:
    return Explainer(tiny_model, "cpu")


def specials(ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.isin(np.arange(len(ids)), (0, len(ids) - 1))


def test_logits_are_those_of_the_scorer(
    explainer: Explainer, tiny_model: str, tokenizer: ChunkTokenizer
) -> None:
    texts = [SENTENCE, "the patient denies pain", "no"]
    chunks = [np.array(e.input_ids, dtype=np.int32) for e in tokenizer.encode(texts)]
    probabilities = 1 / (1 + np.exp(-explainer.logits(chunks)))
    assert probabilities == pytest.approx(Scorer(tiny_model, device="cpu").score(chunks), abs=1e-6)
    assert explainer.logits([]).tolist() == []


@pytest.mark.parametrize("text", [SENTENCE, "the patient denies pain", "no"])
def test_attributions_add_up_to_the_difference_in_logit(
    explainer: Explainer, tokenizer: ChunkTokenizer, text: str
) -> None:
    ids = np.array(tokenizer.encode([text])[0].input_ids, dtype=np.int32)
    attribution = explainer.attribute(ids, specials(ids), 32)
    padding = np.where(specials(ids), ids, 0).astype(np.int32)
    assert attribution.logit == pytest.approx(explainer.logits([ids])[0], abs=1e-5)
    assert attribution.baseline == pytest.approx(explainer.logits([padding])[0], abs=1e-5)
    difference = attribution.logit - attribution.baseline
    assert attribution.complete
    assert attribution.tokens.sum() == pytest.approx(
        difference, abs=0.01 * max(abs(difference), 0.1)
    )
    assert attribution.tokens[0] == attribution.tokens[-1] == 0.0


def test_attributions_are_the_integral_of_the_gradient(
    explainer: Explainer, tokenizer: ChunkTokenizer
) -> None:
    ids = np.array(tokenizer.encode(["patient denies heart failure"])[0].input_ids, dtype=np.int32)
    model = explainer.model.double()
    try:
        embed = model.get_input_embeddings().weight
        embedded = embed[torch.from_numpy(ids).long()]
        embedded_padding = embed[torch.from_numpy(np.where(specials(ids), ids, 0)).long()]
        total = torch.zeros_like(embedded)
        n = 400
        for i in range(n):  # the midpoint rule
            at = (
                (embedded_padding + (i + 0.5) / n * (embedded - embedded_padding))
                .detach()
                .requires_grad_(True)
            )
            model(inputs_embeds=at[None]).logits[0, 0].backward()
            total += at.grad / n
        expected = ((embedded - embedded_padding) * total).sum(-1).detach().numpy()
    finally:
        explainer.model.float()
    attribution = explainer.attribute(ids, specials(ids), 64)
    assert np.abs(expected).max() > 0.05
    assert attribution.tokens == pytest.approx(expected, abs=0.01 * np.abs(expected).max())


def test_points_are_doubled_until_attributions_are_complete(
    explainer: Explainer, tokenizer: ChunkTokenizer
) -> None:
    ids = np.array(tokenizer.encode([SENTENCE])[0].input_ids, dtype=np.int32)
    few = explainer.attribute(ids, specials(ids), 2)
    assert few.points > 2 and few.complete


def test_a_word_past_the_models_limit_is_not_read(
    explainer: Explainer, tokenizer: ChunkTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve ids are ten tokens of words: five full words and the first token of the sixth."""
    short = replace(tokenizer, max_tokens=12)
    text = "the patient denies pain with abcdefgh heart failure"
    pieces = [len(ids) for ids in tokenizer.pieces(text.split())]
    assert pieces[:5] == [1] * 5 and pieces[5] > 5
    monkeypatch.setattr(explanations, "_explainer", lambda settings: explainer)
    eight = load_config(overrides=["chunk.mode=words", "chunk.words=8"])
    ask = explanations.ExplainSettings(Preparation.of(eight, short), 2.0, 32, 0.1, False, 0)
    notes = [{"row_id": 1, "category": "nursing", "text": text}]
    row = {"subject_id": 1, "hadm_id": 11, "notes": notes}
    explained = explanations._explain(row, ask, ScorerSettings(None, "", "fp32", None))  # type: ignore[arg-type]
    assert explained is not None
    schema = to_arrow_schema(EXPLAINED)
    (explained,) = pa.RecordBatch.from_pylist([explained], schema).to_pylist()  # as in an executor
    assert [word["read"] for word in explained["words"]] == [True] * 6 + [False] * 2
    assert [word["attribution"] for word in explained["words"]][6:] == [0.0, 0.0]
