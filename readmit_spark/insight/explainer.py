"""Explain the logit of a chunk: integrated gradients, logits of changed chunks, attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from readmit_spark.scoring.batching import Ids, pad, token_batches
from readmit_spark.scoring.engines import load_model

# Attributions are complete if they miss the difference in logit by no more than this share of it;
# a difference below _LEAST_DIFFERENCE counts as that much.
_TOLERANCE, _LEAST_DIFFERENCE = 0.01, 0.1
_MAX_POINTS = 512
_POINTS_PER_PASS = 8  # with gradients
_TOKENS_PER_PASS = 4096  # without gradients

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Attribution:
    """What each token of a chunk adds to its logit.

    tokens: [tokens] attributions. baseline: logit of padding of the same length. error: sum of the
    attributions minus (logit - baseline). points: number of points of the integral.
    """

    tokens: Floats
    logit: float
    baseline: float
    error: float
    points: int

    @property
    def complete(self) -> bool:
        """Whether the sum equals the difference in logit within 1 % of it, or within 0.001."""
        return abs(self.error) <= _allowed(self.logit - self.baseline)


class Explainer:
    """The classifier in a Hugging Face folder, in fp32, with gradients.

    device: a torch device name; None is a GPU if there is one, else the CPU. Raises the same errors
    as `scorer.Scorer`.
    """

    def __init__(self, folder: str, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # Only plain ("eager") attention returns attention maps.
        model = load_model(folder, attention="eager")
        # The method of the base class, because transformers types its own `to` wrongly.
        self.model: Any = torch.nn.Module.to(model, self.device)
        self.model.requires_grad_(False)
        self._embed = self.model.get_input_embeddings()
        self._pad = self.model.config.pad_token_id or 0

    def logits(self, chunks: Sequence[Ids]) -> Floats:
        """Return the logits of the chunks, in order: [chunks]."""
        logits = np.empty(len(chunks))
        lengths = np.array([len(chunk) for chunk in chunks], dtype=np.int64)
        for batch in token_batches(lengths, _TOKENS_PER_PASS):
            ids, mask = pad([chunks[i] for i in batch], self._pad)
            with torch.inference_mode():
                out = self.model(input_ids=self._tensor(ids), attention_mask=self._tensor(mask))
            logits[batch] = out.logits[:, 0].double().cpu().numpy()
        return logits

    def attribute(self, chunk: Ids, specials: NDArray[np.bool_], points: int) -> Attribution:
        """Return integrated gradients of the logit (Sundararajan et al. 2017, arXiv 1703.01365).

        The path is the straight line from the embeddings of padding to those of the chunk.
        specials: [tokens] true for [CLS] and [SEP], which the padding keeps. points: of the
        Gauss-Legendre rule; doubled, up to 512, until the attributions are complete.
        """
        ids = self._tensor(chunk[None])
        is_special = torch.from_numpy(specials).to(self.device)
        padding = torch.where(is_special, ids, torch.full_like(ids, self._pad))
        embedded, embedded_padding = self._embed(ids), self._embed(padding)
        with torch.inference_mode():
            logit, baseline = (float(self._forward(e)) for e in (embedded, embedded_padding))
        gradients = IntegratedGradients(self._forward)
        while True:
            parts = gradients.attribute(
                embedded,
                embedded_padding,
                n_steps=points,
                method="gausslegendre",
                internal_batch_size=_POINTS_PER_PASS,
            )
            tokens = parts.sum(-1)[0].double().cpu().numpy()
            error = float(tokens.sum()) - (logit - baseline)
            if abs(error) <= _allowed(logit - baseline) or points >= _MAX_POINTS:
                return Attribution(tokens, logit, baseline, error, points)
            points = min(2 * points, _MAX_POINTS)

    def attention(self, chunk: Ids) -> NDArray[np.float32]:
        """Return attention weights softmax(q kᵀ / √d): float32 [layers, heads, tokens, tokens].

        Element [l, h, i, j] is the weight of token j in the output of token i; rows sum to 1.
        """
        self.model.double()  # in fp32, rounding errors of twelve layers exceed 1e-6
        try:
            with torch.inference_mode():
                out = self.model(input_ids=self._tensor(chunk[None]), output_attentions=True)
        finally:
            self.model.float()
        maps: NDArray[np.float32] = torch.cat(out.attentions).float().cpu().numpy()
        return maps

    def _forward(self, embedded: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embedded).logits[:, 0]
        return logits

    def _tensor(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.asarray(values)).long().to(self.device)


def _allowed(difference: float) -> float:
    return _TOLERANCE * max(abs(difference), _LEAST_DIFFERENCE)
