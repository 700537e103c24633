"""P(readmit) of token chunks: a model built once a worker, applied to each batch."""

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
from readmit_spark.scoring import backends
from readmit_spark.scoring.batching import Ids, Index
from readmit_spark.scoring.engines import Engine
from readmit_spark.scoring.load_tokenizer import position_limit

log = logging.getLogger(__name__)

Probabilities = NDArray[np.float64]


class Scorer:
    """P(readmit) = sigmoid(logit) of chunks, by the classifier in a Hugging Face folder.

    folder: a sequence classifier with one logit. device: as torch names it; None is a GPU where
    there is one, else the CPU. precision: fp32 (the reference), bf16, or fp16 (GPU). batch_tokens:
    tokens a forward pass; None is the device's best. backend: auto, torch, or openvino (CPU); auto
    is torch, which was the faster of the two on every shape measured. What runs is in `.backend`.

    A chunk's probability does not depend on the chunks beside it: in fp32 it moves by no more than
    1e-6 with the batch it is in. A UserError where folder, device or settings do not fit together.

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
            raise UserError(f"device {device}: torch sees no GPU here; use cpu, or fix the driver")
        self._engine, config = backends.build(folder, device, precision, backend, batch_tokens)
        self._vocabulary = config.vocab_size
        self._longest = position_limit(config)
        self.batch_tokens = batch_tokens or self._engine.budget

    @property
    def backend(self) -> str:
        """What computes, in words: library, precision, layout."""
        return self._engine.name

    def score(self, chunks: Sequence[Ids]) -> Probabilities:
        """P(readmit), float64 [n], in the order of the chunks.

        chunks: int32 token ids with [CLS] and [SEP], 1 to the model's positions each; [] gives [].
        """
        return self._read(self._submit(chunks))

    def stream(self, batches: Iterable[Sequence[Ids]]) -> Iterator[Probabilities]:
        """`score` of each batch in turn, with the next one already submitted.

        A GPU then works on while the caller writes one batch's results and fetches another.
        """
        waiting = None
        for chunks in batches:
            submitted = self._submit(chunks)
            if waiting is not None:
                yield self._read(waiting)
            waiting = submitted
        if waiting is not None:
            yield self._read(waiting)

    def _submit(self, chunks: Sequence[Ids]) -> list[tuple[Index, Tensor]]:
        lengths = [len(chunk) for chunk in chunks]
        if chunks:
            self._check(lengths, max(int(chunk.max(initial=0)) for chunk in chunks))
        parts, self.batch_tokens = submit_all(self._engine, chunks, lengths, self.batch_tokens)
        return parts

    def _check(self, lengths: list[int], largest_id: int) -> None:
        # On a GPU each of these would kill the process with an assertion that names neither.
        if min(lengths) == 0:
            raise ValueError("a chunk of no tokens: every chunk holds at least [CLS]")
        if self._longest and max(lengths) > self._longest:
            raise UserError(
                f"a chunk has {max(lengths)} tokens and the model takes {self._longest}: "
                "lower model.max_tokens and run prepare again"
            )
        if largest_id >= self._vocabulary:
            raise UserError(
                f"token id {largest_id} is outside the model's vocabulary of {self._vocabulary}: "
                "run prepare again with this model's tokenizer"
            )

    @staticmethod
    def _read(parts: list[tuple[Index, Tensor]]) -> Probabilities:
        if not parts:
            return np.empty(0)
        logits = torch.cat([logits for _, logits in parts]).double().cpu()
        lost = int((~logits.isfinite()).sum())
        if lost:
            raise UserError(
                f"the model gives no finite number for {lost:,} of {len(logits):,} chunks: its "
                "weights are damaged, or too large for score.precision; try fp32"
            )
        scores = np.empty(len(logits))
        scores[np.concatenate([rows for rows, _ in parts])] = [*map(_sigmoid, logits.tolist())]
        return scores


def _sigmoid(logit: float) -> float:
    """torch.sigmoid rounds the last numbers of a tensor in another way than the others; a
    probability's bits must not depend on what it was computed beside."""
    grown = math.exp(-abs(logit))  # at most 1, so nothing overflows
    return (1.0 if logit >= 0 else grown) / (1.0 + grown)


def submit_all(
    engine: Engine, chunks: Sequence[Ids], lengths: Sequence[int], budget: int
) -> tuple[list[tuple[Index, Tensor]], int]:
    """Submit every chunk once; out of memory halves the budget and goes on with those left.

    Returns [(indices, their logits)] and the budget that fitted. What was submitted before memory
    ran out is kept. The error is passed on once single chunks do not fit.
    """
    parts: list[tuple[Index, Tensor]] = []
    sizes = np.asarray(lengths)
    left = np.arange(len(chunks))
    while len(left):
        done = 0
        groups = [left[group] for group in engine.batches(sizes[left], budget)]
        try:
            for group in groups:
                parts.append((group, engine.submit([chunks[i] for i in group])))
                done += 1
            return parts, budget
        except torch.cuda.OutOfMemoryError:
            if len(groups[done]) == 1:
                raise
            budget //= 2
            log.warning("out of GPU memory: going on with batches of %d tokens", budget)
            left = np.concatenate(groups[done:])
        torch.cuda.empty_cache()
    return parts, budget


@dataclass(frozen=True)
class PrecisionCheck:
    """A precision held against fp32 on n chunks.

    max_shift: the largest |P - P_fp32|. flips: chunks on another side of the threshold.
    """

    max_shift: float
    flips: int
    n: int


def compare_precisions(
    exact: Probabilities, other: Probabilities, threshold: float
) -> PrecisionCheck:
    """Probabilities [n] of the same chunks, in fp32 and in another precision.

    threshold: the alert threshold; a chunk is an alert at P >= threshold. n = 0 gives max_shift 0.
    """
    return PrecisionCheck(
        max_shift=float(np.abs(exact - other).max(initial=0.0)),
        flips=int(((exact >= threshold) != (other >= threshold)).sum()),
        n=len(exact),
    )
