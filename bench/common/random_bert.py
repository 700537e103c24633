"""Make a random BERT of base shape and chunks of realistic length, and count operations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

HIDDEN, VOCABULARY = 768, 30_522
BERT_BASE_LAYERS = 12


def random_bert(folder: Path, layers: int) -> str:
    """Save a random classifier of BERT-base width in `folder` and return its path."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(num_labels=1, num_hidden_layers=layers, vocab_size=VOCABULARY)
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def random_chunks(n: int, seed: int = 0) -> list[np.ndarray]:
    """Return n arrays of random token ids, as long as real chunks.

    82 % have 380 to 512 tokens (windows of 318 words), 18 % have 20 to 400 (the rest of a
    document). The mean is about 403.
    """
    random = np.random.default_rng(seed)
    window, tail = random.integers(380, 513, size=n), random.integers(20, 401, size=n)
    lengths = np.where(random.random(n) < 0.18, tail, window)
    return [random.integers(5, VOCABULARY, size=k).astype(np.int32) for k in lengths]


def count_operations(lengths: list[int], layers: int) -> tuple[float, float]:
    """Return floating-point operations of the whole model, and of the part that we compute.

    Both count tokens and no padding. We leave out the part of the last layer that the result does
    not depend on: keys and values are needed for all tokens, the rest for [CLS] alone.
    """
    n = np.array(lengths, dtype=np.float64)
    layer = 24 * HIDDEN**2 * n + 4 * HIDDEN * n**2
    last = 4 * HIDDEN**2 * n + 20 * HIDDEN**2 + 4 * HIDDEN * n
    return float(layers * layer.sum()), float(((layers - 1) * layer + last).sum())
