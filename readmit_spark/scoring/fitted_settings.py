"""What fine-tuning fits besides the weights: c of the vote, and when to alert.

It is fitted on validation admissions at natural prevalence, and stored in the model's own
`config.json`, so that it travels with the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from readmit_spark.evaluation.thresholds import Threshold, pick

KEY = "readmission"  # of config.json


@dataclass(frozen=True)
class FittedSettings:
    """window: the window that the model was trained on. max_tokens: tokens a chunk. vote_c: c of
    the vote. alerts: window -> `evaluation.thresholds.operating_points` on validation."""

    window: str
    max_tokens: int
    vote_c: float
    alerts: Mapping[str, Sequence[Threshold]]

    def threshold(self, window: str, precision: float) -> Threshold | None:
        """The alert threshold of `window` for this precision; None where validation never reached
        it. KeyError for a window without fitted thresholds."""
        return pick(self.alerts[window], precision)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FittedSettings:
        """The inverse of `to_dict`; KeyError or TypeError for anything else."""
        alerts = {
            window: [Threshold(**point) for point in points]
            for window, points in values["alerts"].items()
        }
        return cls(values["window"], values["max_tokens"], values["vote_c"], alerts)
