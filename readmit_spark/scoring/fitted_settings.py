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
    """What fine-tuning fitted.

    window: the window that the model was trained on. max_tokens: most tokens of a chunk. vote_c: c
    of the vote. alerts: window -> `evaluation.thresholds.operating_points` on validation.
    """

    window: str
    max_tokens: int
    vote_c: float
    alerts: Mapping[str, Sequence[Threshold]]

    def threshold(self, window: str, precision: float) -> Threshold | None:
        """Return the window's alert threshold for this precision; None if none reached it.

        Raise a KeyError for a window without fitted thresholds.
        """
        return pick(self.alerts[window], precision)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FittedSettings:
        """Restore settings from the result of `to_dict`; KeyError or TypeError for other values."""
        alerts = {
            window: [Threshold(**point) for point in points]
            for window, points in values["alerts"].items()
        }
        return cls(values["window"], values["max_tokens"], values["vote_c"], alerts)
