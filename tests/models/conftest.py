from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification


def save_bert(folder: Path, **changes: object) -> str:
    """A random BERT of 2 layers, hidden 32, vocabulary 100, one logit; in any way changed."""
    settings: dict[str, object] = {
        "num_labels": 1,
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        # Ten times the usual spread: at 0.02 every chunk gets nearly the same probability.
        "initializer_range": 0.2,
    }
    torch.manual_seed(7)
    BertForSequenceClassification(BertConfig(**{**settings, **changes})).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_bert(tmp_path_factory.mktemp("tiny_bert"))


@pytest.fixture(scope="session")
def chunks() -> list[np.ndarray]:
    """40 chunks of 2 to 64 token ids, in no order of length."""
    random = np.random.default_rng(3)
    lengths = [64, 2, 63, *random.integers(2, 65, size=37)]
    return [random.integers(5, 100, size=n).astype(np.int32) for n in lengths]
