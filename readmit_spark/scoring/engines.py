"""Engines compute logits of chunks: torch on any device, OpenVINO on CPUs.

Each worker builds one engine. `batches` groups chunks and `submit` computes one group. On a GPU
`submit` returns before the result is complete; `Scorer` reads the results of all groups at once.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from readmit_spark.errors import UserError
from readmit_spark.scoring.batching import Ids, Index, pack, pad, token_batches
from readmit_spark.scoring.bert import PackedBert
from readmit_spark.scoring.classifier import check_one_logit, read_settings
from readmit_spark.scoring.whole_model import load_whole, quiet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_TOKENS = 2048  # with more, the widest activations no longer fit in the third-level cache


class Engine(Protocol):
    """Computes logits. name: for log lines. budget: tokens per batch at which it is fastest."""

    name: str
    budget: int

    def batches(self, lengths: Index, budget: int) -> list[Index]:
        """Group chunk indices into batches of at most `budget` tokens, each index exactly once."""
        ...

    def submit(self, chunks: Sequence[Ids]) -> Tensor:
        """Return logits [rows] of one group; torch.cuda.OutOfMemoryError if it is too large."""
        ...


def load_model(
    folder: str, dtype: torch.dtype = torch.float32, attention: str | None = None
) -> PreTrainedModel:
    """Load the classifier in `folder`, in eval mode on the CPU.

    attention: transformers' `attn_implementation`; None lets transformers choose. UserError if the
    folder does not hold the whole model or the model does not have exactly one logit.
    """
    settings = read_settings(folder)
    check_one_logit(settings, folder)
    loaded: PreTrainedModel = load_whole(
        AutoModelForSequenceClassification, folder, settings, dtype=dtype, attention=attention
    )
    return loaded


class PackedTorch:
    """Engine: a `PackedBert` on the CPU."""

    budget = CPU_TOKENS

    def __init__(self, bert: PackedBert, name: str) -> None:
        self.bert = bert
        self.name = name

    def batches(self, lengths: Index, budget: int) -> list[Index]:
        return token_batches(lengths, budget)

    @torch.inference_mode()
    def submit(self, chunks: Sequence[Ids]) -> Tensor:
        logits: Tensor = self.bert(*map(torch.from_numpy, pack(chunks)))
        return logits


class PaddedTorch:
    """Engine: transformers' own code for any sequence classifier, on any device."""

    def __init__(self, model: PreTrainedModel, name: str, budget: int = CPU_TOKENS) -> None:
        self.model = model
        self.name = name
        self.budget = budget
        self.pad_id = model.config.pad_token_id or 0

    def batches(self, lengths: Index, budget: int) -> list[Index]:
        return token_batches(lengths, budget)

    @torch.inference_mode()
    def submit(self, chunks: Sequence[Ids]) -> Tensor:
        ids, mask = (torch.from_numpy(part) for part in pad(chunks, self.pad_id))
        if self.model.device.type == "cuda":
            # Copies from pinned memory are asynchronous; torch keeps a buffer until it is copied.
            ids, mask = ids.pin_memory(), mask.pin_memory()
        ids = ids.to(self.model.device, non_blocking=True)
        mask = mask.to(self.model.device, non_blocking=True)
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return logits


class OpenVino:
    """Engine: any sequence classifier, compiled by OpenVINO for this CPU.

    Needs the extra `[openvino]`. Uses as many threads as torch, so Spark's limit of one thread for
    each worker applies to both.
    """

    budget = CPU_TOKENS

    def __init__(self, model: PreTrainedModel, precision: str) -> None:
        if importlib.util.find_spec("openvino") is None:
            raise UserError(
                "score.backend=openvino: OpenVINO is not installed; "
                "pip install 'readmit-spark[openvino]' or use score.backend=auto"
            )
        # Without this package OpenVINO's converter cannot report its use to a server.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
        import openvino

        ids = torch.full((2, 16), model.config.pad_token_id or 0)
        with torch.inference_mode(), quiet():
            graph = openvino.convert_model(
                _LogitOnly(model), example_input=(ids, torch.ones_like(ids))
            )
        self.compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "NUM_STREAMS": 1,
                # With pinning, all workers of a machine would use the same first core.
                "ENABLE_CPU_PINNING": False,
            },
        )
        # The precision it really uses: it ignores a hint that the CPU does not support.
        precision_used = self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.name = f"openvino {precision_used}, padded"
        self.pad_id = model.config.pad_token_id or 0

    def batches(self, lengths: Index, budget: int) -> list[Index]:
        return token_batches(lengths, budget)

    def submit(self, chunks: Sequence[Ids]) -> Tensor:
        ids, mask = pad(chunks, self.pad_id)
        return torch.from_numpy(self.compiled([ids, mask])[0].reshape(-1).copy())


class _LogitOnly(torch.nn.Module):
    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return logits
