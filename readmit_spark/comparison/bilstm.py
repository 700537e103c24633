"""The published baseline that reads words in order: a bidirectional LSTM over word vectors.

As in the code published with the paper: 100 units a direction, the maximum over all words, a layer
of 50 with ReLU, one logit; Adam, batches of 64 chunks, stopped on the validation loss.
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

PAD, UNKNOWN, _FIRST = 0, 1, 2  # ids; the words follow
_UNITS, _DENSE, _DROPOUT = 100, 50, 0.1
_BATCH, _EPOCHS, _PATIENCE, _RATE = 64, 10, 2, 1e-3
_SCORE_TOKENS = 32_768


@dataclass(frozen=True)
class Labelled:
    """Texts of chunks, and whether their admission was followed by a readmission (0 or 1)."""

    texts: Sequence[str]
    labels: NDArray[np.int64]


class BiLstm(nn.Module):
    """P(readmit)'s logit of chunks of words. vectors: [n, d] of the n `vocabulary` words."""

    def __init__(self, vocabulary: Sequence[str], vectors: NDArray[np.float32]) -> None:
        super().__init__()
        self._ids = {word: i for i, word in enumerate(vocabulary, start=_FIRST)}
        known = torch.from_numpy(vectors)
        table = torch.zeros(len(vocabulary) + _FIRST, vectors.shape[1])
        table[_FIRST:] = known
        if len(known):
            table[UNKNOWN] = known.mean(0)
        self.embedding = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=PAD)
        self.lstm = nn.LSTM(vectors.shape[1], _UNITS, batch_first=True, bidirectional=True)
        self.dense = nn.Linear(2 * _UNITS, _DENSE)
        self.head = nn.Linear(_DENSE, 1)
        self.dropout = nn.Dropout(_DROPOUT)

    def encode(self, texts: Sequence[str]) -> list[Ids]:
        """Word ids a text; one that has no word is a single unknown one."""
        return [
            np.array([self._ids.get(w, UNKNOWN) for w in words(text)] or [UNKNOWN], np.int32)
            for text in texts
        ]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask: [rows, longest], mask 1 on words. Logits [rows]."""
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
    validation: Labelled,
    seed: int,
    say: Callable[[str], None],
) -> BiLstm:
    """The epoch with the least validation loss; training stops after two without a better one.

    On a GPU where there is one. The same seed gives the same weights on the same machine.
    """
    torch.manual_seed(seed)
    model = BiLstm(vocabulary, vectors).to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    ids = model.encode(train.texts)
    labels = torch.from_numpy(train.labels).float()
    order = np.random.default_rng(seed)
    best_loss, best, stale = np.inf, copy.deepcopy(model.state_dict()), 0
    for epoch in range(_EPOCHS):
        model.train()
        shuffled = order.permutation(len(ids))
        for rows in np.array_split(shuffled, max(1, len(ids) // _BATCH)):
            logits = _logits(model, [ids[i] for i in rows])
            loss = F.binary_cross_entropy_with_logits(logits, labels[rows].to(logits))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        p = np.clip(score_texts(model, validation.texts), 1e-7, 1 - 1e-7)
        found = -np.log(np.where(validation.labels == 1, p, 1 - p)).mean()
        say(f"epoch {epoch + 1}: train_loss {loss.item():.3f}, validation_loss {found:.3f}")
        stale += 1
        if found < best_loss:
            best_loss, best, stale = found, copy.deepcopy(model.state_dict()), 0
        if stale == _PATIENCE:
            break
    model.load_state_dict(best)
    return model


@torch.inference_mode()
def score_texts(model: BiLstm, texts: Sequence[str]) -> NDArray[np.float64]:
    """P(readmit) of each text [n]."""
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
