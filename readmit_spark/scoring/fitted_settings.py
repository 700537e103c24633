"""What fine-tuning fits besides the weights: c of the vote, risks, and when to alert.

It is fitted on validation admissions at natural prevalence, and stored in the model's own
`config.json`, so that it travels with the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from readmit_spark.errors import UserError
from readmit_spark.evaluation.doubts import Evidence
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.evaluation.risk_curve import Method, RiskCurve
from readmit_spark.evaluation.thresholds import Threshold, pick
from readmit_spark.notes.windows import parse_window
from readmit_spark.text_rules import Cleaning, TextRules

KEY = "readmission"  # of config.json


@dataclass(frozen=True)
class FittedSettings:
    """What fine-tuning fitted.

    window: the window that the model was trained on. max_tokens: most tokens of a chunk. rules: of
    the chunks that it was trained on; None in models of earlier versions. vote_c: c of the vote.
    alerts: window -> `evaluation.thresholds.operating_points` on validation. risks: window -> curve
    from scores to risks; a window with too few readmissions has none. evidence: how the model
    ranked the validation admissions in `window`; None in models of earlier versions.
    """

    window: str
    max_tokens: int
    vote_c: float
    alerts: Mapping[str, Sequence[Threshold]]
    rules: TextRules | None = None
    risks: Mapping[str, RiskCurve] = field(default_factory=dict)
    evidence: Evidence | None = None

    def threshold(self, window: str, precision: float) -> Threshold | None:
        """Return the window's alert threshold for this precision; None if none surely reached
        it.

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
        for window in (stored.window, *stored.alerts, *stored.risks):
            parse_window(window)
        alerts = {
            window: tuple(point.threshold_of() for point in points)
            for window, points in stored.alerts.items()
        }
        risks = {window: curve.curve() for window, curve in stored.risks.items()}
        rules = None
        if stored.rules:
            cleaning = Cleaning(**stored.rules.cleaning.model_dump())
            rules = TextRules(**{**stored.rules.model_dump(), "cleaning": cleaning})
        evidence = Evidence(**stored.evidence.model_dump()) if stored.evidence else None
        return cls(
            stored.window, stored.max_tokens, stored.vote_c, alerts, rules, risks, evidence
        )  # fmt: skip


class _Values(BaseModel):
    """Strict types: a text is no number; nor are NaN and infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Point(_Values):
    """A `Threshold`, as it is stored."""

    threshold: float = Field(ge=0, le=1)
    precision: float = Field(ge=0, le=1)
    low: float | None = Field(None, ge=0, le=1)
    high: float | None = Field(None, ge=0, le=1)
    recall: float = Field(ge=0, le=1)
    share_alerted: float = Field(ge=0, le=1)
    n: int = Field(gt=0)

    def threshold_of(self) -> Threshold:
        """Return the threshold. Models of earlier versions have no interval."""
        values = self.model_dump()
        if self.low is None or self.high is None:
            alerts = max(1, round(self.share_alerted * self.n))
            values["low"], values["high"] = wilson(self.precision * alerts, alerts)
        return Threshold(**values)


class _Curve(_Values):
    """A `RiskCurve`, as it is stored."""

    method: Method
    intercept: float
    slope: float = Field(gt=0)
    n: int = Field(gt=0)
    readmitted: int = Field(ge=0)
    knots: list[Annotated[list[float], Field(min_length=2, max_length=2)]]

    @model_validator(mode="after")
    def _rising_knots(self) -> Self:
        if (self.method == "isotonic") != bool(self.knots):
            raise ValueError("knots belong to isotonic, and it needs them")
        for (x, risk), (next_x, next_risk) in pairwise(self.knots):
            if not (x < next_x and 0 <= risk <= next_risk <= 1):
                raise ValueError("knots must rise, and risks lie between 0 and 1")
        return self

    def curve(self) -> RiskCurve:
        return RiskCurve(**self.model_dump() | {"knots": tuple((x, y) for x, y in self.knots)})


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


class _Evidence(_Values):
    """An `Evidence`, as it is stored."""

    n: int = Field(ge=0)
    readmitted: int = Field(ge=0)
    auroc: float | None = Field(ge=0, le=1)
    low: float | None = Field(ge=0, le=1)
    high: float | None = Field(ge=0, le=1)
    trained_on: int | None = Field(ge=0)


class _Stored(_Values):
    """`FittedSettings`, as they are stored."""

    window: str
    max_tokens: int = Field(gt=0)
    vote_c: float = Field(ge=1e-6, le=1e6)  # n / c has to stay finite
    alerts: dict[str, list[_Point]]
    rules: _Rules | None = None
    risks: dict[str, _Curve] = Field(default_factory=dict)
    evidence: _Evidence | None = None
