from __future__ import annotations

import json

import pytest

from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.scoring.fitted_settings import FittedSettings

POINTS = operating_points([0.9, 0.7, 0.6, 0.2], [1, 0, 1, 0])
LEARNT = FittedSettings("3days", 512, 4.0, {"2days": POINTS, "3days": []})


def test_comes_back_from_json_as_it_was() -> None:
    assert FittedSettings.from_dict(json.loads(json.dumps(LEARNT.to_dict()))) == LEARNT


def test_the_threshold_is_the_window_s_own() -> None:
    found = LEARNT.threshold("2days", 0.6)
    assert found is not None
    assert (found.threshold, found.recall) == (0.6, 1.0)
    assert LEARNT.threshold("3days", 0.6) is None
    with pytest.raises(KeyError, match="discharge"):
        LEARNT.threshold("discharge", 0.6)
