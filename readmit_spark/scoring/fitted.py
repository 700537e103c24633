"""What a fine-tuned model brings along besides its weights: how to vote, and when to alert.

It is learnt on validation admissions at natural prevalence and travels in the model's own
`config.json`, so that it cannot be parted from the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from readmit_spark.evaluation.thresholds import Threshold, pick

KEY = "readmission"  # of config.json


@dataclass(frozen=True)
class Learnt:
    """window: the one trained on. max_tokens: word pieces a chunk. vote_c: c of the vote. alerts:
    for each window its `core.threshold.operating_points` on validation."""

    window: str
    max_tokens: int
    vote_c: float
    alerts: Mapping[str, Sequence[Threshold]]

    def threshold(self, window: str, precision: float) -> Threshold | None:
        """Where to alert in `window` for this precision; None where validation never reached it.
        KeyError for a window that no threshold was learnt for."""
        return pick(self.alerts[window], precision)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Learnt:
        """The inverse of `to_dict`; KeyError or TypeError for anything else."""
        alerts = {
            window: [Threshold(**point) for point in points]
            for window, points in values["alerts"].items()
        }
        return cls(values["window"], values["max_tokens"], values["vote_c"], alerts)
