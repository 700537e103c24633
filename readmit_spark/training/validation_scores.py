"""Chunk probabilities and patient scores of a training, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from readmit_spark.evaluation.metrics import evaluate
from readmit_spark.evaluation.vote import vote_score


@dataclass(frozen=True)
class PatientScores:
    """Patient scores of admissions: four arrays [n], sorted by hadm_id."""

    hadm_ids: NDArray[np.int64]
    subject_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def select(self, hadm_ids: NDArray[np.int64]) -> PatientScores:
        """Keep only these admissions."""
        selected = np.isin(self.hadm_ids, hadm_ids)
        return PatientScores(
            self.hadm_ids[selected],
            self.subject_ids[selected],
            self.scores[selected],
            self.labels[selected],
        )

    def table(self) -> pd.DataFrame:
        """Return the columns subject_id, hadm_id, score and label."""
        return pd.DataFrame(
            {
                "subject_id": self.subject_ids,
                "hadm_id": self.hadm_ids,
                "score": self.scores,
                "label": self.labels,
            }
        )

    def measures(self) -> dict[str, Any]:
        """Return the result of `metrics.evaluate`; only intervals that need no replicates."""
        return evaluate(self.scores, self.labels, self.subject_ids, replicates=0)

    def auroc(self) -> float | None:
        """Return the AUROC; None if a class is missing."""
        value: float | None = self.measures()["auroc"]["value"]
        return value


@dataclass(frozen=True)
class ChunkScores:
    """Chunk probabilities P(readmit): four arrays [n], in any order."""

    subject_ids: NDArray[np.int64]
    hadm_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> ChunkScores:
        """Return the chunks where `rows` is true."""
        return ChunkScores(
            self.subject_ids[rows], self.hadm_ids[rows], self.labels[rows], self.probabilities[rows]
        )

    def vote(self, c: float) -> PatientScores:
        """Return the patient score of each admission (docs/method.md, section 8)."""
        order = np.argsort(self.hadm_ids, kind="stable")
        ids, starts = np.unique(self.hadm_ids[order], return_index=True)
        groups = np.split(self.probabilities[order], starts[1:])
        scores = np.array([vote_score(group.tolist(), c) for group in groups[: len(ids)]])
        first = order[starts]
        return PatientScores(ids, self.subject_ids[first], scores, self.labels[first])

    def loss(self) -> float:
        """Return the mean binary cross-entropy per chunk, which training minimises."""
        p = np.clip(self.probabilities, 1e-15, 1 - 1e-15)
        return float(-np.log(np.where(self.labels == 1, p, 1 - p)).mean())
