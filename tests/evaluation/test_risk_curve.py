"""Risks from scores, against scikit-learn, by hand and on simulated hospitals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from readmit_spark.evaluation.logistic import logits
from readmit_spark.evaluation.risk_curve import RiskCurve, fit_risk_curve


def hospital(
    n: int, intercept: float, slope: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels drawn from the risks of a known curve, and two admissions per patient."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, n)
    risks = 1 / (1 + np.exp(-(intercept + slope * x)))
    return 1 / (1 + np.exp(-x)), (rng.random(n) < risks).astype(int), np.arange(n) // 2


def test_equals_scikit_learns_logistic_regression() -> None:
    scores, labels, patients = hospital(4000, -2.0, 0.6)
    curve = fit_risk_curve(scores, labels, patients)
    oracle = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000).fit(
        logits(scores)[:, None], labels
    )
    assert curve is not None and curve.method == "slope"
    assert (curve.intercept, curve.slope) == pytest.approx(
        (oracle.intercept_[0], oracle.coef_[0, 0]), abs=1e-6
    )
    assert curve.risks(scores) == pytest.approx(
        oracle.predict_proba(logits(scores)[:, None])[:, 1], abs=1e-6
    )
    assert (curve.n, curve.readmitted) == (4000, labels.sum())


def test_the_mean_risk_is_the_observed_rate_on_the_admissions_of_the_fit() -> None:
    for n in (300, 4000):  # only the intercept, and both
        scores, labels, patients = hospital(n, -2.0, 0.6)
        curve = fit_risk_curve(scores, labels, patients)
        assert curve is not None
        assert curve.risks(scores).mean() == pytest.approx(labels.mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("readmitted", "method"), [(9, None), (10, "intercept"), (99, "intercept"), (100, "slope")]
)
def test_the_events_decide_what_is_fitted(readmitted: int, method: str | None) -> None:
    rng = np.random.default_rng(1)
    labels = np.r_[np.ones(readmitted, int), np.zeros(400, int)]
    scores = rng.random(len(labels)) * 0.8 + 0.1 * labels
    for y in (labels, 1 - labels):  # the rarer outcome counts
        curve = fit_risk_curve(scores if y is labels else 1 - scores, y, np.arange(len(y)))
        assert (curve.method if curve else None) == method
        if method == "intercept":
            assert curve is not None and curve.slope == 1.0


def test_isotonic_wins_only_where_the_curve_is_no_logistic_one() -> None:
    scores, labels, patients = hospital(8000, -1.0, 0.8)
    curve = fit_risk_curve(scores, labels, patients)
    assert curve is not None and curve.method == "slope"
    rng = np.random.default_rng(3)
    scores = rng.random(12000)
    labels = (rng.random(12000) < np.where(scores < 0.5, 0.05, 0.4)).astype(int)  # a step
    curve = fit_risk_curve(scores, labels, np.arange(12000))
    assert curve is not None and curve.method == "isotonic"
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    edge = 1 / 24000
    assert curve.risks(scores) == pytest.approx(
        np.clip(oracle.predict(scores), edge, 1 - edge), abs=1e-9
    )


def test_a_higher_score_never_has_a_lower_risk() -> None:
    assert RiskCurve("slope", -2.0, 0.4, 500, 150).risk(0.5) == pytest.approx(0.1192, abs=1e-4)
    scores = np.r_[0.0, np.sort(np.random.default_rng(2).random(200)), 1.0]
    for curve in (
        RiskCurve("intercept", -2.0, 1.0, 100, 20),
        RiskCurve("slope", -2.0, 0.4, 500, 150),
        RiskCurve("isotonic", 0.0, 1.0, 9000, 1500, ((0.2, 0.1), (0.5, 0.1), (0.6, 0.7))),
    ):
        risks = curve.risks(scores)
        assert np.isfinite(risks).all() and (np.diff(risks) >= 0).all()


def test_a_ranking_upside_down_and_separated_classes_get_no_slope() -> None:
    scores, labels, patients = hospital(1500, -1.0, 0.8)
    curve = fit_risk_curve(1 - scores, labels, patients)
    assert curve is not None and (curve.method, curve.slope) == ("intercept", 1.0)
    separated = (np.arange(400) >= 200).astype(int)
    curve = fit_risk_curve(np.linspace(0.01, 0.99, 400), separated, np.arange(400))
    assert curve is not None and curve.method == "intercept"


@pytest.mark.parametrize(("n", "slopes"), [(400, (1.0, 1.0)), (6000, (0.5, 0.7))])
def test_risks_are_right_for_new_patients_of_simulated_hospitals(
    n: int, slopes: tuple[float, float]
) -> None:
    """The true curve has a slope of 0.6. O/E of 2,000 new patients is 1 on average."""
    ratios, brier = [], []
    for seed in range(20):
        curve = fit_risk_curve(*hospital(n, -2.0, 0.6, seed))
        assert curve is not None and slopes[0] <= curve.slope <= slopes[1]
        scores, labels, _ = hospital(2000, -2.0, 0.6, 1000 + seed)
        risks = curve.risks(scores)
        ratios.append(labels.sum() / risks.sum())
        brier.append(((risks - labels) ** 2).mean() / ((scores - labels) ** 2).mean())
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    assert max(brier) < 0.8  # than that of the raw scores
