from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from readmit_spark.errors import UserError
from readmit_spark.scoring import onednn
from readmit_spark.scoring.batching import token_batches
from readmit_spark.scoring.engines import load_model
from readmit_spark.scoring.scorer import Scorer, compare_precisions, submit_all
from tests.tiny_bert import save_bert

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is an extra, not installed"
)
BACKENDS = ["torch", pytest.param("openvino", marks=needs_openvino)]


def one_by_one(folder: str, chunks: list[np.ndarray]) -> np.ndarray:
    """sigmoid(logit) by transformers alone: no batch, no padding, float64."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.inference_mode():
        logits = [model(torch.from_numpy(chunk[None]).long()).logits.item() for chunk in chunks]
    return 1 / (1 + np.exp(-np.array(logits)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_probabilities_are_those_of_transformers_in_input_order(
    tiny_bert, chunks, backend: str
) -> None:
    expected = one_by_one(tiny_bert, chunks)
    assert np.ptp(expected) > 0.1  # otherwise any order would pass
    scores = Scorer(tiny_bert, device="cpu", backend=backend).score(chunks)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_probability_does_not_depend_on_the_other_chunks(tiny_bert, chunks, backend: str) -> None:
    scorer = Scorer(tiny_bert, device="cpu", backend=backend)
    together = scorer.score(chunks)
    alone = np.concatenate([scorer.score([chunk]) for chunk in chunks])
    reverse = scorer.score(chunks[::-1])[::-1]
    small = Scorer(tiny_bert, device="cpu", backend=backend, batch_tokens=64).score(chunks)
    for other in (alone, reverse, small):
        np.testing.assert_allclose(other, together, rtol=0, atol=1e-6)


def test_a_model_other_than_bert_uses_the_code_of_transformers(tmp_path, chunks) -> None:
    torch.manual_seed(1)
    DistilBertForSequenceClassification(
        DistilBertConfig(
            num_labels=1, vocab_size=100, dim=32, n_layers=2, n_heads=2, hidden_dim=64,
            max_position_embeddings=64, initializer_range=0.2,
        )
    ).save_pretrained(tmp_path)  # fmt: skip
    scorer = Scorer(str(tmp_path), device="cpu")
    assert "padded" in scorer.backend
    np.testing.assert_allclose(scorer.score(chunks), one_by_one(str(tmp_path), chunks), atol=1e-6)


@pytest.mark.parametrize(
    ("usable", "is_faster", "name"),
    [(True, True, "oneDNN"), (False, True, "plain"), (True, False, "plain")],
)
def test_probabilities_are_the_same_with_and_without_onednn(
    tiny_bert, chunks, monkeypatch, usable: bool, is_faster: bool, name: str
) -> None:
    if name == "oneDNN" and not onednn.is_usable(32):
        pytest.skip("this torch has no oneDNN linear operator")
    monkeypatch.setattr(onednn, "is_usable", lambda hidden, dtype: usable)
    monkeypatch.setattr(onednn, "is_faster", lambda: is_faster)
    scorer = Scorer(tiny_bert, device="cpu")
    assert name in scorer.backend
    np.testing.assert_allclose(scorer.score(chunks), one_by_one(tiny_bert, chunks), atol=1e-6)


def test_no_chunks_give_no_probabilities(tiny_bert) -> None:
    assert Scorer(tiny_bert, device="cpu").score([]).shape == (0,)


def test_a_stream_yields_the_probabilities_of_each_batch_in_turn(tiny_bert, chunks) -> None:
    scorer = Scorer(tiny_bert, device="cpu")
    batches = [chunks[:7], [], chunks[7:8], chunks[8:]]
    streamed = list(scorer.stream(iter(batches)))
    assert [len(scores) for scores in streamed] == [7, 0, 1, 32]
    np.testing.assert_allclose(np.concatenate(streamed), scorer.score(chunks), atol=1e-6)


def test_a_stream_submits_the_next_batch_before_it_yields(tiny_bert, chunks) -> None:
    taken = []

    def batches():
        for i in range(3):
            taken.append(i)
            yield [chunks[i]]

    stream = Scorer(tiny_bert, device="cpu").stream(batches())
    next(stream)
    assert taken == [0, 1]


class SmallCard:
    """A fake engine: logits are first token ids; batches over `fits` tokens run out of memory."""

    name, budget = "fake", 2048

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.scored: list[int] = []

    def batches(self, lengths, budget):
        # Short chunks first: memory runs out after some batches are done.
        return token_batches(lengths, budget)[::-1]

    def submit(self, chunks):
        if sum(map(len, chunks)) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.scored += [int(chunk[0]) for chunk in chunks]
        return torch.tensor([float(chunk[0]) for chunk in chunks])


def test_out_of_memory_halves_the_budget_and_loses_no_chunk() -> None:
    random = np.random.default_rng(5)
    lengths = [int(n) for n in random.integers(2, 65, size=200)]
    chunks = [np.full(n, i, dtype=np.int32) for i, n in enumerate(lengths)]
    card = SmallCard(fits=300)
    parts, budget = submit_all(card, chunks, lengths, 2048)
    assert budget == 256
    assert sorted(card.scored) == list(range(200))  # and nothing was computed twice
    for rows, logits in parts:
        assert logits.tolist() == rows.tolist()


def test_out_of_memory_with_a_single_chunk_is_an_error() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        submit_all(SmallCard(fits=10), [np.zeros(20, dtype=np.int32)], [20], 2048)


def test_the_smaller_budget_is_kept_for_the_next_batch(tiny_bert, chunks) -> None:
    scorer = Scorer(tiny_bert, device="cpu")
    scorer._engine = SmallCard(fits=300)
    scorer.score(chunks)
    assert scorer.batch_tokens == 256


def test_precisions_are_compared_chunk_by_chunk(tiny_bert, chunks) -> None:
    exact = Scorer(tiny_bert, device="cpu").score(chunks)
    half = Scorer(tiny_bert, device="cpu", precision="bf16").score(chunks)
    threshold = float((exact[0] + half[0]) / 2)  # chunk 0 changes sides
    check = compare_precisions(exact, half, threshold)
    assert check.n == 40
    assert check.max_shift == pytest.approx(np.abs(exact - half).max(), abs=1e-6)
    assert 0 < check.max_shift < 0.05
    assert check.flips == ((exact >= threshold) != (half >= threshold)).sum() >= 1


def test_fp32_equals_itself(tiny_bert, chunks) -> None:
    exact = Scorer(tiny_bert, device="cpu").score(chunks)
    check = compare_precisions(exact, exact, 0.5)
    assert (check.max_shift, check.flips, check.n) == (0.0, 0, 40)
    assert compare_precisions(np.empty(0), np.empty(0), 0.5).max_shift == 0.0


def test_a_logit_that_is_not_finite_is_an_error(tiny_bert, chunks, tmp_path) -> None:
    model = load_model(tiny_bert)
    model.classifier.weight.data.fill_(3e38)  # finite, and their sum is not
    model.classifier.weight.data[:, ::2] *= -1
    model.bert.pooler.dense.bias.data.fill_(9.0)
    model.classifier.bias.data.fill_(3e38)
    model.save_pretrained(tmp_path)
    scorer = Scorer(str(tmp_path), device="cpu")
    with pytest.raises(UserError, match="no finite number for 40 of 40 chunks"):
        scorer.score(chunks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "score.precision=fp16 is for GPUs"),
        ({"precision": "int8"}, "score.precision=int8 is unknown"),
        ({"backend": "tensorrt"}, "score.backend=tensorrt is unknown"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tiny_bert, settings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Scorer(tiny_bert, device="cpu", **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_an_error(tiny_bert) -> None:
    with pytest.raises(UserError, match="device cuda: torch finds no GPU"):
        Scorer(tiny_bert, device="cuda")


def test_openvino_that_is_not_installed_is_an_error(tiny_bert, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="OpenVINO is not installed"):
        Scorer(tiny_bert, device="cpu", backend="openvino")


def test_a_model_with_two_labels_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=f"{re.escape(str(tmp_path))} has 2 labels"):
        Scorer(save_bert(tmp_path, num_labels=2), device="cpu")


def test_a_folder_without_a_model_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        Scorer(str(tmp_path), device="cpu")


def test_a_folder_without_weights_is_refused(tmp_path) -> None:
    (Path(save_bert(tmp_path)) / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no weights"):
        Scorer(str(tmp_path), device="cpu")


@pytest.mark.parametrize(("name", "worth"), [("AVX2", False), ("AVX512", True), ("NEON", True)])
def test_onednn_is_not_used_if_mkl_is_faster(monkeypatch, name: str, worth: bool) -> None:
    monkeypatch.setattr(onednn, "cpu_capability", lambda: name)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    assert onednn.is_faster() is worth
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    assert onednn.is_faster()


def test_bf16_on_a_cpu_without_it_works_with_a_remark(tiny_bert, chunks, monkeypatch) -> None:
    monkeypatch.setattr(onednn, "is_usable", lambda hidden, dtype: dtype == torch.float32)
    scorer = Scorer(tiny_bert, device="cpu", precision="bf16")
    assert "this CPU only emulates: fp32 is faster" in scorer.backend
    np.testing.assert_allclose(scorer.score(chunks), one_by_one(tiny_bert, chunks), atol=0.05)


def test_a_chunk_longer_than_the_model_accepts_is_refused(tiny_bert) -> None:
    with pytest.raises(UserError, match="65 tokens, but the model accepts 64"):
        Scorer(tiny_bert, device="cpu").score([np.full(65, 5, dtype=np.int32)])


def test_a_token_id_outside_the_vocabulary_is_refused(tiny_bert) -> None:
    with pytest.raises(UserError, match="token id 100 is outside the model's vocabulary of 100"):
        Scorer(tiny_bert, device="cpu").score([np.array([5, 100, 6], dtype=np.int32)])


def test_an_empty_chunk_is_an_error(tiny_bert) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        Scorer(tiny_bert, device="cpu").score([np.array([], dtype=np.int32)])


def test_a_probability_has_the_same_bits_in_any_batch(tiny_model: str) -> None:
    rng = np.random.default_rng(2)
    chunks = [rng.integers(5, 60, size=int(n)).astype(np.int32) for n in rng.integers(3, 90, 33)]
    scorer = Scorer(tiny_model, device="cpu", precision="fp32", batch_tokens=1)
    alone = [float(scorer.score([chunk])[0]) for chunk in chunks]
    assert scorer.score(chunks).tolist() == alone
    assert scorer.score(chunks[::-1]).tolist() == alone[::-1]
    assert scorer.score(chunks[5:16]).tolist() == alone[5:16]
