"""The published baseline that reads words in their order: a bidirectional LSTM on word vectors.

As in the code published with the paper: 100 units a direction, the maximum over all words, a layer
of 50 with ReLU, one logit; Adam, batches of 64 chunks. It is stopped by the same measure as the
transformer, not by the published loss: after training on a balanced sample, the loss at natural
prevalence says more about the prevalence than about the order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from readmit_spark.notes.words import words
from readmit_spark.scoring.batching import Ids, Index, pad, token_batches

PAD, UNKNOWN, _FIRST = 0, 1, 2  # ids; words start at _FIRST
_UNITS, _DENSE, _DROPOUT = 100, 50, 0.1
_BATCH, _EPOCHS, _PATIENCE, _RATE = 64, 10, 2, 1e-3
_SCORE_TOKENS = 32_768


@dataclass(frozen=True)
class Labelled:
    """Texts of chunks, and the labels of their admissions: 1 for a readmission, else 0."""

    texts: Sequence[str]
    labels: NDArray[np.int64]


class BiLstm(nn.Module):
    """Returns a chunk's logit of readmission. vectors: [n, d], of the n words in `vocabulary`."""

    def __init__(self, vocabulary: Sequence[str], vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self._ids = {word: i for i, word in enumerate(vocabulary, start=_FIRST)}
        word_table = torch.from_numpy(vectors)
        table = torch.zeros(len(vocabulary) + _FIRST, vectors.shape[1])
        table[_FIRST:] = word_table
        if len(word_table):
            table[UNKNOWN] = word_table.mean(0)
        self.embedding = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=PAD)
        self.lstm = nn.LSTM(vectors.shape[1], _UNITS, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(2 * _UNITS, _DENSE)
        self.head = nn.Linear(_DENSE, 1)
        self.dropout = nn.Dropout(_DROPOUT)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Return the word ids of each text. A text without words becomes one unknown word."""
        return [
            np.array([self._ids.get(w, UNKNOWN) for w in words(text)] or [UNKNOWN], np.int32)
            for text in texts
        ]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [rows]. ids, mask: [rows, longest]; mask is 1 on words."""
        x = self.dropout(self.embedding(ids))
        packed = nn.utils.rnn.pack_padded_sequence(
            x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        x, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        x = x.masked_fill(mask[:, : x.shape[1], None] == 0, -torch.inf).amax(1)
        logits: Tensor = self.head(self.dropout(F.relu(self.dense(x))))[:, 0]
        return logits


def train_bilstm(
    vocabulary: Sequence[str],
    vectors: NDArray[np.float32],
    train: Labelled,
    validation: Sequence[str],
    quality: Callable[[NDArray[np.float64]], float],
    seed: int,
    say: Callable[[str], None],
) -> BiLstm:
    """Train, and return the weights of the epoch with the best validation.

    validation: texts. quality: turns their probabilities into a figure, such as the AUROC of the
    patients; higher is better. Stops after two epochs without a better one. Uses a GPU if there is
    one. The same seed gives the same weights on the same machine.
    """
    torch.manual_seed(seed)
    model = BiLstm(vocabulary, vectors).to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    ids = model.encode(train.texts)
    labels = torch.from_numpy(train.labels).float()
    order = np.random.default_rng(seed)
    best_quality, best, epochs_without_gain = -np.inf, copy.deepcopy(model.state_dict()), 0
    for epoch in range(_EPOCHS):
        model.train()
        shuffled = order.permutation(len(ids))
        for rows in np.array_split(shuffled, max(1, len(ids) // _BATCH)):
            logits = _logits(model, [ids[i] for i in rows])
            loss = F.binary_cross_entropy_with_logits(logits, labels[rows].to(logits))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        reached = quality(score_texts(model, validation))
        say(f"epoch {epoch + 1}: train_loss {loss.item():.3f}, validation_auroc {reached:.3f}")
        epochs_without_gain += 1
        if reached > best_quality:
            best_quality, best = reached, copy.deepcopy(model.state_dict())
            epochs_without_gain = 0
        if epochs_without_gain == _PATIENCE:
            break
    model.load_state_dict(best)
    return model


@torch.inference_mode()
def score_texts(model: BiLstm, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the probability of readmission of each text [n]."""
    model.eval()
    ids = model.encode(texts)
    scores = np.empty(len(ids))
    for rows in _batches(ids):
        logits = _logits(model, [ids[i] for i in rows])
        scores[rows] = torch.sigmoid(logits.double()).cpu().numpy()
    return scores


def _batches(ids: list[Ids]) -> list[Index]:
    return token_batches([len(chunk) for chunk in ids], _SCORE_TOKENS)


def _logits(model: BiLstm, ids: Sequence[Ids]) -> Tensor:
    device = model.head.weight.device
    logits: Tensor = model(*(torch.from_numpy(part).to(device) for part in pad(ids, PAD)))
    return logits
