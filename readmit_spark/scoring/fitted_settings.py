"""What fine-tuning fits besides the weights: c of the vote, and when to alert.

It is fitted on validation admissions at natural prevalence, and stored in the model's own
`config.json`, so that it travels with the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from readmit_spark.errors import UserError
from readmit_spark.evaluation.thresholds import Threshold, pick
from readmit_spark.notes.windows import parse_window
from readmit_spark.text_rules import Cleaning, TextRules

KEY = "readmission"  # of config.json


@dataclass(frozen=True)
class FittedSettings:
    """What fine-tuning fitted.

    window: the window that the model was trained on. max_tokens: most tokens of a chunk. rules: of
    the chunks that it was trained on; None in models of earlier versions. vote_c: c of the vote.
    alerts: window -> `evaluation.thresholds.operating_points` on validation.
    """

    window: str
    max_tokens: int
    vote_c: float
    alerts: Mapping[str, Sequence[Threshold]]
    rules: TextRules | None = None

    def threshold(self, window: str, precision: float) -> Threshold | None:
        """Return the window's alert threshold for this precision; None if none reached it.

        Raise a KeyError for a window without fitted thresholds.
        """
        return pick(self.alerts[window], precision)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> FittedSettings:
        """Restore settings from the result of `to_dict`; UserError for other values."""
        try:
            stored = _Stored.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, (KEY, *first["loc"])))
            raise UserError(f"{key}: {first['msg'].lower()}") from None
        for window in (stored.window, *stored.alerts):
            parse_window(window)
        alerts = {
            window: [Threshold(**point.model_dump()) for point in points]
            for window, points in stored.alerts.items()
        }
        rules = None
        if stored.rules:
            cleaning = Cleaning(**stored.rules.cleaning.model_dump())
            rules = TextRules(**{**stored.rules.model_dump(), "cleaning": cleaning})
        return cls(stored.window, stored.max_tokens, stored.vote_c, alerts, rules)


class _Values(BaseModel):
    """Strict types: a text is no number; nor are NaN and infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Point(_Values):
    """A `Threshold`, as it is stored."""

    threshold: float = Field(ge=0, le=1)
    precision: float = Field(ge=0, le=1)
    recall: float = Field(ge=0, le=1)
    share_alerted: float = Field(ge=0, le=1)
    n: int = Field(gt=0)


class _Cleaning(_Values):
    """`Cleaning`, as it is stored."""

    published: bool
    keep_decimals: bool


class _Rules(_Values):
    """`TextRules`, as they are stored."""

    cleaning: _Cleaning
    mode: Literal["segments", "words"]
    words: int | None = Field(gt=0)
    min_tail_words: int = Field(ge=0)


class _Stored(_Values):
    """`FittedSettings`, as they are stored."""

    window: str
    max_tokens: int = Field(gt=0)
    vote_c: float = Field(ge=1e-6, le=1e6)  # n / c has to stay finite
    alerts: dict[str, list[_Point]]
    rules: _Rules | None = None
