"""Risks of patient scores as a column of a table."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from readmit_spark.evaluation.logistic import MIN_DISTANCE
from readmit_spark.evaluation.risk_curve import RiskCurve


def with_risk(patients: DataFrame, curves: Mapping[str, RiskCurve]) -> DataFrame:
    """Append `risk` to `patient_scores`: the risk by the curve of the window; null without one."""
    risk = F.lit(None).cast("double")
    for window, curve in curves.items():
        risk = F.when(F.col("window") == window, risk_column(F.col("score"), curve)).otherwise(risk)
    return patients.withColumn("risk", risk)


def risk_column(score: Column, curve: RiskCurve) -> Column:
    """Return the risk of each score, as `RiskCurve.risks` does."""
    if curve.method == "isotonic":
        return _on_lines(score, curve)
    p = F.least(F.greatest(score, F.lit(MIN_DISTANCE)), F.lit(1 - MIN_DISTANCE))
    return 1 / (1 + F.exp(-(F.lit(curve.intercept) + F.lit(curve.slope) * F.log(p / (1 - p)))))


def _on_lines(score: Column, curve: RiskCurve) -> Column:
    """Return the risk on the straight line between the knots below and above the score."""
    (first, lowest), (last, highest) = curve.knots[0], curve.knots[-1]
    knots = F.array(*(F.struct(F.lit(x).alias("x"), F.lit(y).alias("y")) for x, y in curve.knots))
    below = F.element_at(F.filter(knots, lambda knot: knot["x"] <= score), -1)
    above = F.element_at(F.filter(knots, lambda knot: knot["x"] > score), 1)
    share = (score - below["x"]) / (above["x"] - below["x"])
    return (
        F.when(score < first, lowest)
        .when(score >= last, highest)
        .otherwise(below["y"] + share * (above["y"] - below["y"]))
    )
