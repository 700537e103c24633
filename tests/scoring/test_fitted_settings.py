from __future__ import annotations

import json

import pytest

from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.scoring.fitted_settings import FittedSettings

POINTS = operating_points([0.9, 0.7, 0.6, 0.2], [1, 0, 1, 0])
FITTED = FittedSettings("3days", 512, 4.0, {"2days": POINTS, "3days": []})


def test_settings_are_equal_after_json() -> None:
    assert FittedSettings.from_dict(json.loads(json.dumps(FITTED.to_dict()))) == FITTED


def test_each_window_has_its_own_threshold() -> None:
    point = FITTED.threshold("2days", 0.6)
    assert point is not None
    assert (point.threshold, point.recall) == (0.6, 1.0)
    assert FITTED.threshold("3days", 0.6) is None
    with pytest.raises(KeyError, match="discharge"):
        FITTED.threshold("discharge", 0.6)
