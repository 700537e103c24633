"""Why a chunk has its logit: integrated gradients, and what the logit does without some words."""

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

TOLERANCE = 0.01  # of the difference in logit, or of 0.1 where that is smaller
MOST_STEPS = 512
_ROWS = 8  # of the integral, a pass
_TOKENS = 4096  # a pass without gradients

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Attribution:
    """tokens: [tokens] what each adds to `logit` over `baseline`, the logit of a chunk as long of
    padding alone. error: their sum less that difference. steps: points of the integral."""

    tokens: Floats
    logit: float
    baseline: float
    error: float
    steps: int

    @property
    def complete(self) -> bool:
        """Whether the sum is the difference in logit, to 1 % (or 0.001 where that is larger)."""
        return abs(self.error) <= _allowed(self.logit - self.baseline)


class Explainer:
    """The classifier in a Hugging Face folder, with gradients; fp32. device: as torch names it;
    None is a GPU where there is one. Errors as `predict.Scorer`."""

    def __init__(self, folder: str, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        # Plain attention: the fused kinds give no maps.
        model = load_model(folder, attention="eager")
        # Of its base class, as transformers types its own `to` wrongly.
        self.model: Any = torch.nn.Module.to(model, self.device)
        self.model.requires_grad_(False)
        self._embed = self.model.get_input_embeddings()
        self._pad = self.model.config.pad_token_id or 0

    def logits(self, chunks: Sequence[Ids]) -> Floats:
        """[chunks] logits, in order; [] gives []."""
        found = np.empty(len(chunks))
        lengths = np.array([len(chunk) for chunk in chunks], dtype=np.int64)
        for batch in token_batches(lengths, _TOKENS):
            ids, mask = pad([chunks[i] for i in batch], self._pad)
            with torch.inference_mode():
                out = self.model(input_ids=self._tensor(ids), attention_mask=self._tensor(mask))
            found[batch] = out.logits[:, 0].double().cpu().numpy()
        return found

    def attribute(self, chunk: Ids, specials: NDArray[np.bool_], steps: int) -> Attribution:
        """Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv 1703.01365) of the logit
        along the straight line from the embeddings of padding to those of the chunk.

        specials: [tokens] true of [CLS] and [SEP], which the baseline has as well. steps: points
        of the Gauss-Legendre rule; doubled up to 512 until the attributions are complete.
        """
        ids = self._tensor(chunk[None])
        keep = torch.from_numpy(specials).to(self.device)
        nothing = torch.where(keep, ids, torch.full_like(ids, self._pad))
        there, empty = self._embed(ids), self._embed(nothing)
        with torch.inference_mode():
            logit, baseline = (float(self._forward(e)) for e in (there, empty))
        gradients = IntegratedGradients(self._forward)
        while True:
            parts = gradients.attribute(
                there, empty, n_steps=steps, method="gausslegendre", internal_batch_size=_ROWS
            )
            tokens = parts.sum(-1)[0].double().cpu().numpy()
            error = float(tokens.sum()) - (logit - baseline)
            if abs(error) <= _allowed(logit - baseline) or steps >= MOST_STEPS:
                return Attribution(tokens, logit, baseline, error, steps)
            steps = min(2 * steps, MOST_STEPS)

    def attention(self, chunk: Ids) -> NDArray[np.float32]:
        """[layers, heads, tokens, tokens]: how much of each token (last axis) each token's output
        (the one before) is made of, in each head: softmax(q kᵀ / √d). Rows sum to 1."""
        self.model.double()  # in fp32, errors of twelve layers add up to more than 1e-6
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
    return TOLERANCE * max(abs(difference), 0.1)
