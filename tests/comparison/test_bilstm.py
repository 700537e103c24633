"""The BiLSTM learns an order of words, which counts of words cannot."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from readmit_spark.comparison.bilstm import BiLstm, Labelled, score_texts, train_bilstm

WORDS = ["denies", "pain", "the", "patient", "stable", "night"]

pytestmark = pytest.mark.usefixtures("one_thread")


def in_order(n: int, seed: int) -> Labelled:
    """Make texts with the same two words; the label says which of them comes first."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    texts = []
    for label in labels:
        words = random.choice(WORDS[2:], int(random.integers(4, 9))).tolist()
        first, second = sorted(random.choice(len(words) + 1, 2, replace=False).tolist())
        pair = WORDS[:2] if label else WORDS[1::-1]
        words[second:second] = [pair[1]]
        words[first:first] = [pair[0]]
        texts.append(" ".join(words))
    return Labelled(texts, labels)


@pytest.fixture(scope="module")
def trained() -> tuple[BiLstm, Labelled, list[str]]:
    vectors = np.random.default_rng(0).normal(size=(len(WORDS), 16)).astype(np.float32)
    lines: list[str] = []
    validation = in_order(200, seed=2)
    model = train_bilstm(
        WORDS, vectors, in_order(2000, seed=1), validation.texts,
        lambda p: float(roc_auc_score(validation.labels, p)), 3, lines.append,
    )  # fmt: skip
    return model, validation, lines


def test_it_learns_an_order_of_words(trained: tuple[BiLstm, Labelled, list[str]]) -> None:
    held_out = in_order(300, seed=4)
    assert roc_auc_score(held_out.labels, score_texts(trained[0], held_out.texts)) > 0.95


def test_training_keeps_the_epoch_with_the_best_validation(
    trained: tuple[BiLstm, Labelled, list[str]],
) -> None:
    model, validation, lines = trained
    reached = [float(line.rpartition(" ")[2]) for line in lines]
    auroc = roc_auc_score(validation.labels, score_texts(model, validation.texts))
    assert auroc == pytest.approx(max(reached), abs=1e-3)


def test_a_score_does_not_depend_on_the_other_texts(
    trained: tuple[BiLstm, Labelled, list[str]],
) -> None:
    model, validation, _ = trained
    texts = [*validation.texts[:20], "unknown", "", "pain " * 60]
    together = score_texts(model, texts)
    alone = [float(score_texts(model, [text])[0]) for text in texts]
    assert together == pytest.approx(alone, abs=1e-6)
