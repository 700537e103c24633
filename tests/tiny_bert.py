"""A random BERT without a tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification


def save_bert(folder: Path, **changes: object) -> str:
    """A random BERT of 2 layers, hidden 32, vocabulary 100, one logit, with `changes`."""
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
