"""Fine-tuning on a task that a two-layer BERT can learn: the first words decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from readmit_spark.config import Config, load_config
from readmit_spark.core.vote import vote_score
from readmit_spark.errors import UserError
from readmit_spark.models.classifier import load_for_training
from readmit_spark.models.data import (
    ChunkDataset,
    Chunks,
    Collator,
    balanced_training,
    read_chunks,
)
from readmit_spark.models.finetune import Finetuned, finetune, patient_scores
from readmit_spark.models.tracking import experiment_run, fetch, register
from tests.tiny import VOCABULARY

CLS, SEP, HEART = (VOCABULARY.index(t) for t in ("[CLS]", "[SEP]", "heart"))


def learnable(n: int, seed: int) -> Chunks:
    """n admissions of one or two chunks; every second one starts with "heart" and comes back."""
    random = np.random.default_rng(seed)
    rows = []
    for hadm in range(n):
        for _ in range(random.integers(1, 3)):
            words = random.integers(6, 18, size=random.integers(5, 12))
            words[words == HEART] = HEART + 1
            if hadm % 2:
                words[:3] = HEART
            rows.append((hadm // 2, hadm, hadm % 2, np.array([CLS, *words, SEP], np.int32)))
    subjects, hadms, labels, ids = zip(*rows, strict=True)
    return Chunks(np.array(subjects), np.array(hadms), np.array(labels), list(ids))


def config() -> Config:
    return load_config(
        overrides=["train.epochs=4", "train.learning_rate=1e-3", "train.batch_size=8"]
    )


def run(model: str, work: Path, train: Chunks, seed: int = 1) -> tuple[Finetuned, list[float]]:
    losses: list[float] = []

    def log(values: dict[str, float], step: int, steps: int) -> None:
        assert 0 < step <= steps
        losses.extend(v for k, v in values.items() if k == "train_loss")

    result = finetune(
        model, train, learnable(60, seed=9), config().train,
        vote_c=2.0, seed=seed, work=str(work), log=log,
    )  # fmt: skip
    return result, losses


def test_learns_and_keeps_the_best_epoch(tiny_model: str, tmp_path: Path) -> None:
    result, losses = run(tiny_model, tmp_path, learnable(160, seed=2))
    assert losses[-1] < losses[0]
    assert roc_auc_score(result.validation.labels, result.validation.scores) > 0.9


def test_the_same_seed_gives_the_same_weights(tiny_model: str, tmp_path: Path) -> None:
    train = learnable(40, seed=2)
    first, second = (run(tiny_model, tmp_path / str(i), train)[0].model for i in range(2))
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_no_positives_is_named(tiny_model: str, tmp_path: Path) -> None:
    train = learnable(20, seed=2)
    with pytest.raises(UserError, match="the train split has no readmitted admissions"):
        run(tiny_model, tmp_path, train.take(train.labels == 0))


def test_the_loss_is_binary_cross_entropy_on_one_logit(tiny_model: str) -> None:
    model = load_for_training(tiny_model).eval()
    data = ChunkDataset(learnable(6, seed=3))
    batch = Collator(0)([data[i] for i in range(len(data))])
    with torch.no_grad():
        out = model(**batch)
    p, y = torch.sigmoid(out.logits[:, 0]).double(), batch["labels"][:, 0].double()
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert out.loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_patient_scores_are_the_vote_of_each_admission() -> None:
    chunks = learnable(12, seed=4)
    logits = np.random.default_rng(0).normal(size=(len(chunks), 1)).astype(np.float32)
    found = patient_scores(logits, chunks, c=2.0)
    for hadm, score in zip(found.hadm_ids, found.scores, strict=True):
        mine = 1 / (1 + np.exp(-logits[chunks.hadm_ids == hadm, 0].astype(float)))
        assert score == pytest.approx(vote_score(mine.tolist(), 2.0), abs=1e-12)


def test_chunks_are_read_in_order_with_known_labels_of_the_split(tmp_path: Path) -> None:
    folder = tmp_path / "chunks" / "window=3days"
    folder.mkdir(parents=True)
    rows = [
        (1, 12, 1, [2, 9, 3], 1, "train"),
        (1, 12, 0, [2, 8, 3], 1, "train"),
        (1, 11, 0, [2, 3], 0, "train"),
        (2, 13, 0, [2, 3], None, "train"),  # outcome not known
        (3, 14, 0, [2, 3], 1, "test"),
    ]
    names = ["subject_id", "hadm_id", "chunk_index", "input_ids", "label", "split"]
    columns = dict(zip(names, (list(c) for c in zip(*rows, strict=True)), strict=True))
    columns["input_ids"] = pa.array(columns["input_ids"], pa.list_(pa.int32()))
    pq.write_table(pa.table(columns), folder / "part.parquet")
    chunks = read_chunks(str(tmp_path), "3days", "train")
    assert chunks.hadm_ids.tolist() == [11, 12, 12]
    assert [ids.tolist() for ids in chunks.input_ids] == [[2, 3], [2, 8, 3], [2, 9, 3]]
    assert chunks.fingerprint() != chunks.take(chunks.labels == 1).fingerprint()


def test_training_is_balanced_by_admissions_and_then_chunks() -> None:
    chunks = learnable(40, seed=5)
    few = chunks.take((chunks.labels == 0) | (chunks.hadm_ids < 11))
    _, labels, counts = balanced_training(few, seed=3).admissions()
    assert (labels == 0).sum() >= (labels == 1).sum() == 5
    assert counts[labels == 0].sum() >= counts[labels == 1].sum()


def test_a_registered_model_comes_back_as_it_was(tiny_model: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    model = load_for_training(tiny_model)
    with experiment_run(uri, "e", "r") as mlflow:
        name = register(mlflow, model, AutoTokenizer.from_pretrained(tiny_model), "m", {"a": 1})
    assert name == "m/1"
    folder, fetched = fetch("models:/m@champion", uri)
    assert fetched == "m/1"
    again = AutoModelForSequenceClassification.from_pretrained(folder)
    pairs = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(VOCABULARY)
    with pytest.raises(UserError, match="models:/m@nobody is not in the registry"):
        fetch("models:/m@nobody", uri)
