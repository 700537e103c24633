"""A tiny model whose score rises with one word: "failure"."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import BertForSequenceClassification

from readmit_spark.scoring.load_tokenizer import load_tokenizer
from tests.tables_in import words
from tests.tiny import save_tiny_model

TELLING = "failure"
_OTHERS = ("no", "heart", "pain", "<b>no</b>", "zqxcanary", "seen", "by", "doctor", "clear,")


def save_planted_model(folder: Path) -> str:
    path = save_tiny_model(folder)
    tokenizer = load_tokenizer(path, 128)
    model = BertForSequenceClassification.from_pretrained(path).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng = random.Random(0)
    for _ in range(200):
        texts, labels = [], []
        for _ in range(16):
            text = words(rng.randint(8, 12), rng.randint(0, 900)).split()
            for other in rng.sample(_OTHERS, rng.randint(0, 3)):
                text.insert(rng.randrange(len(text)), other)
            labels.append(rng.random() < 0.5)
            if labels[-1]:
                text.insert(rng.randrange(len(text)), TELLING)
            texts.append(" ".join(text))
        encoded = [torch.tensor(e.input_ids) for e in tokenizer.encode(texts)]
        ids = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True)
        logits = model(input_ids=ids, attention_mask=(ids > 0).long()).logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.tensor(labels).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2, "the tiny model has not learnt its word"
    model.eval().save_pretrained(path)
    return path
