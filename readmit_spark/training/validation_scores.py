"""Probabilities of chunks, as arrays, to scores of admissions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.vote import vote_score


@dataclass(frozen=True)
class PatientScores:
    """Vote scores of admissions: four arrays [n], sorted by hadm_id."""

    hadm_ids: NDArray[np.int64]
    subject_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def of(self, hadm_ids: NDArray[np.int64]) -> PatientScores:
        """Those of these admissions."""
        kept = np.isin(self.hadm_ids, hadm_ids)
        return PatientScores(
            self.hadm_ids[kept], self.subject_ids[kept], self.scores[kept], self.labels[kept]
        )

    def auroc(self) -> float | None:
        """None where a class is missing."""
        found = evaluate(self.scores, self.labels, self.subject_ids, replicates=0)["auroc"]
        value: float | None = found["value"]
        return value


@dataclass(frozen=True)
class ChunkScores:
    """P(readmit) of chunks: four arrays [n], in any order."""

    subject_ids: NDArray[np.int64]
    hadm_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def votes(self, c: float) -> PatientScores:
        """The vote of each admission's chunks (docs/method.md, section 8)."""
        order = np.argsort(self.hadm_ids, kind="stable")
        ids, first = np.unique(self.hadm_ids[order], return_index=True)
        groups = np.split(self.probabilities[order], first[1:])
        first = order[first]
        scores = np.array([vote_score(group.tolist(), c) for group in groups[: len(ids)]])
        return PatientScores(ids, self.subject_ids[first], scores, self.labels[first])

    def loss(self) -> float:
        """Mean binary cross-entropy a chunk, as training minimises it."""
        p = np.clip(self.probabilities, 1e-15, 1 - 1e-15)
        return float(-np.log(np.where(self.labels == 1, p, 1 - p)).mean())
