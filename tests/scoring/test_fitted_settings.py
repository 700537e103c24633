from __future__ import annotations

import json

import pytest

from readmit_spark.errors import UserError
from readmit_spark.evaluation.doubts import Evidence
from readmit_spark.evaluation.intervals import wilson
from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.scoring.fitted_settings import FittedSettings

POINTS = operating_points([0.9] * 40 + [0.6] * 40, [1] * 38 + [0] * 42, range(80))
SLOPE = RiskCurve("slope", -2.0, 0.5, 900, 150)
ISOTONIC = RiskCurve("isotonic", 0.0, 1.0, 9000, 1500, ((0.2, 0.1), (0.6, 0.7)))
FITTED = FittedSettings(
    "3days", 512, 4.0, {"2days": POINTS, "3days": ()}, risks={"2days": SLOPE, "3days": ISOTONIC},
    evidence=Evidence(80, 38, 0.7, 0.6, 0.8, 120),
)  # fmt: skip


def test_settings_are_equal_after_json() -> None:
    assert FittedSettings.from_dict(json.loads(json.dumps(FITTED.to_dict()))) == FITTED


def test_each_window_has_its_own_threshold() -> None:
    point = FITTED.threshold("2days", 0.6)
    assert point is not None
    assert (point.threshold, point.recall) == (0.9, 1.0)
    assert FITTED.threshold("3days", 0.6) is None
    with pytest.raises(KeyError, match="discharge"):
        FITTED.threshold("discharge", 0.6)


def test_settings_of_earlier_versions_have_no_intervals_and_no_risks() -> None:
    point = {"threshold": 0.4, "precision": 0.6, "recall": 0.9, "share_alerted": 0.2, "n": 50}
    stored = {"window": "3days", "max_tokens": 64, "vote_c": 2.0, "alerts": {"3days": [point]}}
    fitted = FittedSettings.from_dict(stored)
    assert fitted.risks == {} and fitted.evidence is None
    (restored,) = fitted.alerts["3days"]
    assert (restored.low, restored.high) == wilson(6, 10)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"slope": 0.0}, "slope"),
        ({"method": "spline"}, "method"),
        ({"knots": [[0.2, 0.1], [0.1, 0.7]]}, "knots must rise"),
        ({"knots": [[0.2, 0.4], [0.3, 0.3]]}, "knots must rise"),
        ({"knots": []}, "isotonic, and it needs them"),
        ({"intercept": float("nan")}, "intercept"),
    ],
)
def test_a_curve_that_is_none_is_refused(changed: dict[str, object], message: str) -> None:
    stored = json.loads(json.dumps(FITTED.to_dict()))
    stored["risks"]["3days"] |= changed
    with pytest.raises(UserError, match=rf"readmission\.risks\.3days.*{message}"):
        FittedSettings.from_dict(stored)
