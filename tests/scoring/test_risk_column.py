"""Risks in tables equal those of the pure function."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession

from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.scoring.risk_column import with_risk

pytestmark = pytest.mark.spark4
CURVES = {
    "1days": RiskCurve("intercept", -1.5, 1.0, 100, 20),
    "2days": RiskCurve("slope", -2.0, 0.4, 500, 150),
    "3days": RiskCurve("isotonic", 0.0, 1.0, 9000, 1500, ((0.2, 0.1), (0.5, 0.1), (0.6, 0.7))),
}
SCORES = (0.0, 1e-9, 0.1, 0.2, 0.35, 0.5, 0.55, 0.6, 0.9, 1.0)


def test_each_window_has_its_own_curve_and_without_one_there_is_no_risk(
    spark: SparkSession,
) -> None:
    rows = [(window, s) for window in (*CURVES, "discharge") for s in SCORES]
    table = with_risk(spark.createDataFrame(rows, "window string, score double"), CURVES)
    found = {(row.window, row.score): row.risk for row in table.collect()}
    for window, curve in CURVES.items():
        risks = [found[window, s] for s in SCORES]
        assert risks == pytest.approx(curve.risks(SCORES).tolist(), abs=1e-12)
        assert (np.diff(risks) >= 0).all()
    assert {found["discharge", s] for s in SCORES} == {None}
