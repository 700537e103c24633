"""Choose the engine for a model, a device and a precision."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from readmit_spark.errors import UserError
from readmit_spark.scoring import gpu, onednn
from readmit_spark.scoring.bert import Dense, PackedBert, attend_each
from readmit_spark.scoring.engines import (
    DTYPES,
    Engine,
    OpenVino,
    PackedTorch,
    PaddedTorch,
    load_model,
)


def build_engine(
    folder: str, device: str, precision: str, backend: str, batch_tokens: int | None
) -> tuple[Engine, Any]:
    """Return the engine for these settings, and the model's transformers configuration.

    batch_tokens: tokens per batch; None uses the engine's default. UserError for settings that are
    unknown or do not fit the device.
    """
    if backend not in ("auto", "torch", "openvino"):
        raise UserError(f"score.backend={backend} is unknown: use auto, torch or openvino")
    if precision not in DTYPES:
        raise UserError(f"score.precision={precision} is unknown: use fp32, bf16 or fp16")
    on_cpu = device == "cpu"
    if on_cpu and precision == "fp16":
        raise UserError("score.precision=fp16 is for GPUs: use bf16 or fp32 on a CPU")
    if backend == "openvino":
        if not on_cpu:
            raise UserError(f"score.backend=openvino runs on CPUs, not on {device}: use auto")
        model = load_model(folder)
        return OpenVino(model, precision), model.config
    model = load_model(folder, DTYPES[precision])
    if not on_cpu:
        return gpu.build_engine(model, device, batch_tokens), model.config
    return _torch_cpu(model, precision), model.config


def _torch_cpu(model: PreTrainedModel, precision: str) -> Engine:
    half = precision == "bf16"
    fast = (half or onednn.is_faster()) and onednn.is_usable(model.config.hidden_size, model.dtype)
    name = f"torch {precision}, {'oneDNN' if fast else f'plain ({onednn.cpu_capability()})'}"
    if half and not fast:
        name += ", which this CPU only emulates: fp32 is faster"
    if PackedBert.supports(model):
        parts = (onednn.attend_onednn, onednn.OneDnnDense) if fast else (attend_each, Dense)
        return PackedTorch(PackedBert(model, *parts), f"{name}, packed")
    if fast:
        onednn.replace_linears(model)
    return PaddedTorch(model, f"{name}, padded")
