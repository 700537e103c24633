"""How alike a model holds clinical terms to be, beside people's ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from readmit_spark.errors import UserError

_LAYERS = 4  # the last ones are summed, as for BERT's feature-based use (Devlin et al. 2019, 5.3)
_BATCH = 256


@torch.no_grad()
def embed(folder: str, terms: Sequence[str]) -> NDArray[np.float64]:
    """[terms, hidden]: for each term the mean over its word pieces, specials left out, of the sum
    of the model's last four hidden layers."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModel.from_pretrained(folder, output_hidden_states=True).eval()
    found = []
    for start in range(0, len(terms), _BATCH):
        given = tokenizer(
            [term.lower() for term in terms[start : start + _BATCH]],
            return_tensors="pt",
            padding=True,
            return_special_tokens_mask=True,
        )
        pieces = 1 - given.pop("special_tokens_mask")
        if (pieces.sum(1) == 0).any():
            raise UserError("a term has no word pieces; leave out empty ones")
        layers = model(**given).hidden_states[-_LAYERS:]
        weight = (pieces / pieces.sum(1, keepdim=True)).unsqueeze(-1)
        found.append((torch.stack(layers).sum(0) * weight).sum(1).double().numpy())
    return np.concatenate(found)


def similarities(folder: str, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """The cosine between the terms of each pair."""
    left, right = np.split(embed(folder, [pair[i] for i in (0, 1) for pair in pairs]), 2)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: NDArray[np.float64] = (left * right).sum(1) / norms
    return cosines
