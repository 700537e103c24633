"""Compute P(readmit) of token chunks; each worker builds one Scorer for all its batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from readmit_spark.errors import UserError
from readmit_spark.scoring.backends import build_engine
from readmit_spark.scoring.batching import Ids, Index
from readmit_spark.scoring.engines import Engine
from readmit_spark.scoring.load_tokenizer import position_limit

log = logging.getLogger(__name__)

Probabilities = NDArray[np.float64]


class Scorer:
    """Computes P(readmit) = sigmoid(logit) of chunks with a classifier.

    folder: a Hugging Face sequence classifier with one logit. device: a torch device name; None is
    a GPU if there is one, else the CPU. precision: fp32 (the reference), bf16, or fp16 (GPU only).
    batch_tokens: tokens per forward pass; None uses the engine's default. backend: auto, torch, or
    openvino (CPU only); auto is torch, which was faster on every shape measured.

    The other chunks of a batch change a probability by at most 1e-6 in fp32. UserError if folder,
    device and settings do not fit together.

    >>> scorer = Scorer("checkpoint")  # doctest: +SKIP
    >>> scorer.score([np.array([101, 7592, 102], dtype=np.int32)])  # doctest: +SKIP
    array([0.31])
    """

    def __init__(
        self,
        folder: str,
        *,
        device: str | None = None,
        precision: str = "fp32",
        batch_tokens: int | None = None,
        backend: str = "auto",
    ) -> None:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(f"device {device}: torch finds no GPU; use cpu, or fix the driver")
        self._engine, config = build_engine(folder, device, precision, backend, batch_tokens)
        self._vocabulary = config.vocab_size
        self._longest = position_limit(config)
        self.batch_tokens = batch_tokens or self._engine.budget

    @property
    def backend(self) -> str:
        """Description of the engine: library, precision, layout."""
        return self._engine.name

    def score(self, chunks: Sequence[Ids]) -> Probabilities:
        """Return P(readmit), float64 [n], in the order of the chunks.

        chunks: [n] arrays of int32 token ids with [CLS] and [SEP], each at least one token and at
        most as many as the model accepts.
        """
        return self._collect(self._submit(chunks))

    def stream(self, batches: Iterable[Sequence[Ids]]) -> Iterator[Probabilities]:
        """Yield the probabilities of each batch in turn, after submitting the next one.

        A GPU then computes while the caller writes the results of a batch and reads another.
        """
        waiting = None
        for chunks in batches:
            submitted = self._submit(chunks)
            if waiting is not None:
                yield self._collect(waiting)
            waiting = submitted
        if waiting is not None:
            yield self._collect(waiting)

    def _submit(self, chunks: Sequence[Ids]) -> list[tuple[Index, Tensor]]:
        lengths = [len(chunk) for chunk in chunks]
        if chunks:
            self._check(lengths, max(int(chunk.max(initial=0)) for chunk in chunks))
        parts, self.batch_tokens = submit_all(self._engine, chunks, lengths, self.batch_tokens)
        return parts

    def _check(self, lengths: list[int], largest_id: int) -> None:
        # On a GPU any of these would end the process with an assertion that does not explain it.
        if min(lengths) == 0:
            raise ValueError("a chunk has no tokens: every chunk needs at least [CLS]")
        if self._longest and max(lengths) > self._longest:
            raise UserError(
                f"a chunk has {max(lengths)} tokens, but the model accepts {self._longest}: "
                "lower model.max_tokens and run prepare again"
            )
        if largest_id >= self._vocabulary:
            raise UserError(
                f"token id {largest_id} is outside the model's vocabulary of {self._vocabulary}: "
                "run prepare again with this model's tokenizer"
            )

    @staticmethod
    def _collect(parts: list[tuple[Index, Tensor]]) -> Probabilities:
        if not parts:
            return np.empty(0)
        logits = torch.cat([logits for _, logits in parts]).double().cpu()
        not_finite = int((~logits.isfinite()).sum())
        if not_finite:
            raise UserError(
                f"the model gives no finite number for {not_finite:,} of {len(logits):,} chunks: "
                "its weights are damaged, or too large for score.precision; try fp32"
            )
        probabilities = np.empty(len(logits))
        rows = np.concatenate([rows for rows, _ in parts])
        probabilities[rows] = [*map(_sigmoid, logits.tolist())]
        return probabilities


def _sigmoid(logit: float) -> float:
    """Return 1 / (1 + exp(-logit)), with the same bits for any batch.

    torch.sigmoid rounds the last numbers of a tensor differently from the others.
    """
    exponential = math.exp(-abs(logit))  # at most 1, so it cannot overflow
    return (1.0 if logit >= 0 else exponential) / (1.0 + exponential)


def submit_all(
    engine: Engine, chunks: Sequence[Ids], lengths: Sequence[int], budget: int
) -> tuple[list[tuple[Index, Tensor]], int]:
    """Submit every chunk once, with smaller batches after an out-of-memory error.

    Returns [(indices, their logits)] and the token budget that fits. An out-of-memory error halves
    the budget and continues with the chunks not yet submitted; for a single chunk it is raised.
    """
    parts: list[tuple[Index, Tensor]] = []
    sizes = np.asarray(lengths)
    remaining = np.arange(len(chunks))
    while len(remaining):
        done = 0
        groups = [remaining[group] for group in engine.batches(sizes[remaining], budget)]
        try:
            for group in groups:
                parts.append((group, engine.submit([chunks[i] for i in group])))
                done += 1
            return parts, budget
        except torch.cuda.OutOfMemoryError:
            if len(groups[done]) == 1:
                raise
            budget //= 2
            log.warning("out of GPU memory: continuing with batches of %d tokens", budget)
            remaining = np.concatenate(groups[done:])
        torch.cuda.empty_cache()
    return parts, budget


@dataclass(frozen=True)
class PrecisionCheck:
    """Comparison of a precision with fp32 on n chunks, or on the scores of n patients.

    max_shift: the largest |P - P_fp32|. flips: those that cross the alert threshold.
    """

    max_shift: float
    flips: int
    n: int


def compare_precisions(
    exact: Probabilities, other: Probabilities, threshold: float
) -> PrecisionCheck:
    """Compare the probabilities [n] of the same chunks, or the scores of the same patients, in fp32
    and in another precision.

    threshold: an alert is raised at P >= threshold. With n = 0, max_shift is 0.
    """
    return PrecisionCheck(
        max_shift=float(np.abs(exact - other).max(initial=0.0)),
        flips=int(((exact >= threshold) != (other >= threshold)).sum()),
        n=len(exact),
    )
