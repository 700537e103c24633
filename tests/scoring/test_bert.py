"""The packed model against transformers' own, one chunk at a time in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from readmit_spark.scoring import onednn
from readmit_spark.scoring.batching import pack
from readmit_spark.scoring.bert import PackedBert, attend_each
from tests.tiny_bert import save_bert


def logits_one_by_one(folder: str, chunks: list[np.ndarray]) -> np.ndarray:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        return np.array(
            [model(torch.from_numpy(chunk[None]).long()).logits.item() for chunk in chunks]
        )


@pytest.mark.parametrize("layers", [1, 2])
def test_packed_model_equals_transformers_in_float64(tmp_path, chunks, layers: int) -> None:
    folder = save_bert(tmp_path, num_hidden_layers=layers)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        logits = PackedBert(model, attend_each)(*map(torch.from_numpy, pack(chunks)))
    np.testing.assert_allclose(logits, logits_one_by_one(folder, chunks), atol=1e-12)


def test_onednn_model_equals_transformers(tiny_bert, chunks) -> None:
    if not onednn.is_usable(32):
        pytest.skip("this torch has no oneDNN linear operator")
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    with torch.inference_mode():
        bert = PackedBert(model, onednn.attend_onednn, onednn.OneDnnDense)
        logits = bert(*map(torch.from_numpy, pack(chunks)))
    np.testing.assert_allclose(logits, logits_one_by_one(tiny_bert, chunks), atol=5e-6)


def test_replaced_linears_compute_the_same(tiny_bert, chunks) -> None:
    if not onednn.is_usable(32):
        pytest.skip("this torch has no oneDNN linear operator")
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    onednn.replace_linears(model)
    assert not any(isinstance(module, torch.nn.Linear) for module in model.modules())
    with torch.inference_mode():
        logits = [model(torch.from_numpy(chunk[None]).long()).logits.item() for chunk in chunks]
    np.testing.assert_allclose(logits, logits_one_by_one(tiny_bert, chunks), atol=5e-6)


@pytest.mark.parametrize("changes", [{"hidden_act": "relu"}, {"is_decoder": True}])
def test_a_model_that_is_not_plain_bert_is_left_to_transformers(tmp_path, changes) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(save_bert(tmp_path / "plain"))
    other = AutoModelForSequenceClassification.from_pretrained(save_bert(tmp_path / "x", **changes))
    assert PackedBert.supports(plain)
    assert not PackedBert.supports(other)


def test_an_operator_that_rounds_to_bf16_is_not_used(monkeypatch) -> None:
    class Rounded(onednn.OneDnnDense):
        def forward(self, x):
            return super().forward(x).bfloat16().float()

    onednn.is_usable.cache_clear()
    monkeypatch.setattr(onednn, "OneDnnDense", Rounded)
    assert not onednn.is_usable(64)
    onednn.is_usable.cache_clear()
