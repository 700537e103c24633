"""A BERT small enough for tests, with a real WordPiece vocabulary."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

VOCABULARY = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    "the", "patient", "was", "admitted", "with", "denies", "no", "pain", "heart", "failure",
    *string.ascii_lowercase,
    *string.digits,
    *string.punctuation,
    *(f"##{c}" for c in string.ascii_lowercase + string.digits),
]  # fmt: skip


def save_tiny_model(folder: Path, max_tokens: int = 128, labels: int = 1, seed: int = 7) -> str:
    """A random BERT: 2 layers, hidden 32; every ASCII word has word pieces other than [UNK]."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_tokens,
        num_labels=labels,
        # Ten times the usual spread: at 0.02 every chunk gets nearly the same probability.
        initializer_range=0.2,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return str(folder)
