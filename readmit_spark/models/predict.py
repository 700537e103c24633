"""P(readmit) of token chunks: a model built once a worker, applied to each batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification

from readmit_spark.models.batching import pad, token_batches


class Scorer:
    def __init__(
        self,
        folder: str,
        *,
        device: str | None = None,
        precision: str = "fp32",
        batch_tokens: int = 2048,
        backend: str = "auto",
    ) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.batch_tokens = batch_tokens
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
        self.model = model.to(self.device).eval()

    @torch.inference_mode()
    def score(self, chunks: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        out = np.empty(len(chunks), dtype=np.float64)
        for rows in token_batches([len(chunk) for chunk in chunks], self.batch_tokens):
            ids, mask = pad([chunks[i] for i in rows], self.model.config.pad_token_id or 0)
            logits = self.model(
                input_ids=torch.from_numpy(ids).to(self.device),
                attention_mask=torch.from_numpy(mask).to(self.device),
            ).logits[:, 0]
            out[rows] = torch.sigmoid(logits.double()).cpu().numpy()
        return out
