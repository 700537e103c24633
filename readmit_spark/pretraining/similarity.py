"""Similarity of clinical terms according to a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from readmit_spark.errors import UserError
from readmit_spark.scoring.classifier import read_settings
from readmit_spark.scoring.load_tokenizer import read_tokenizer

_LAYERS = 4  # the last four are summed, as in Devlin et al. 2019, section 5.3
_BATCH = 256


@torch.no_grad()
def embed(folder: str, terms: Sequence[str]) -> NDArray[np.float64]:
    """Return a vector for each term: [terms, hidden].

    The sum of the model's last four hidden layers, averaged over the tokens of the term without
    special tokens. UserError if a term has no tokens or the encoder is not whole.
    """
    from transformers import AutoModel

    from readmit_spark.scoring.whole_model import load_whole

    tokenizer = read_tokenizer(folder)
    settings = read_settings(folder, output_hidden_states=True)
    model = load_whole(AutoModel, folder, settings, other_head=True)
    vectors = []
    for start in range(0, len(terms), _BATCH):
        encoded = tokenizer(
            [term.lower() for term in terms[start : start + _BATCH]],
            return_tensors="pt",
            padding=True,
            return_special_tokens_mask=True,
        )
        is_token = 1 - encoded.pop("special_tokens_mask")
        if (is_token.sum(1) == 0).any():
            raise UserError("a term has no tokens: remove empty terms")
        layers = model(**encoded).hidden_states[-_LAYERS:]
        weight = (is_token / is_token.sum(1, keepdim=True)).unsqueeze(-1)
        vectors.append((torch.stack(layers).sum(0) * weight).sum(1).double().numpy())
    return np.concatenate(vectors)


def similarities(folder: str, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Return the cosine similarity of the two terms of each pair: [pairs]."""
    left, right = np.split(embed(folder, [pair[i] for i in (0, 1) for pair in pairs]), 2)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: NDArray[np.float64] = (left * right).sum(1) / norms
    return cosines
