"""What alerts at frozen thresholds do, counted by hand and with scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from readmit_spark.evaluation.frozen_alerts import RATES, TARGETS, alert_rates, frozen_alerts
from readmit_spark.evaluation.thresholds import operating_points, pick


def hospital(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    return np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1), labels, np.arange(n) // 2


def test_the_rates_are_those_of_the_confusion_matrix() -> None:
    scores, labels, patients = hospital(400, 0)
    alerted = scores >= 0.6
    rates = alert_rates(alerted, labels, patients, replicates=200, seed=1)
    silent, false_alarms, missed, hits = confusion_matrix(labels, alerted).ravel()
    assert (rates["n"], rates["alerts"]) == (400, hits + false_alarms)
    expected = {
        "per_100": (hits + false_alarms) / 4,
        "precision": hits / (hits + false_alarms),
        "sensitivity": hits / (hits + missed),
        "specificity": silent / (silent + false_alarms),
        "npv": silent / (silent + missed),
    }
    for name in RATES:
        assert rates[name]["value"] == pytest.approx(expected[name], abs=1e-12)
        assert rates[name]["low"] < rates[name]["value"] < rates[name]["high"]
    json.dumps(rates, allow_nan=False)


def test_an_interval_draws_whole_patients() -> None:
    # Each of ten patients has four equal admissions, so only ten outcomes are independent.
    labels = np.repeat([1, 0] * 5, 4)
    together = alert_rates(
        np.ones(40, bool), labels, np.repeat(range(10), 4), replicates=500, seed=0
    )
    apart = alert_rates(np.ones(40, bool), labels, np.arange(40), replicates=500, seed=0)
    width = {
        name: rates["precision"]["high"] - rates["precision"]["low"]
        for name, rates in (("together", together), ("apart", apart))
    }
    assert width["together"] > 1.6 * width["apart"]


def test_figures_of_few_alerts_and_of_nobody_have_a_reason() -> None:
    labels, patients = np.array([0, 1] * 20), np.arange(40)
    few = alert_rates(np.arange(40) < 10, labels, patients, replicates=10, seed=0)
    assert few["per_100"]["value"] == 25.0
    assert few["precision"] == {"value": None, "reason": "fewer than 11 alerts"}
    nobody_back = alert_rates(np.ones(40, bool), 0 * labels, patients, replicates=10, seed=0)
    assert nobody_back["sensitivity"] == {"value": None, "reason": "nobody to count"}
    empty = alert_rates(np.ones(0, bool), labels[:0], patients[:0], replicates=10, seed=0)
    assert (empty["n"], empty["precision"]["value"]) == (0, None)


def test_thresholds_are_frozen_and_capacities_alert_the_highest_scores() -> None:
    validation, test = hospital(600, 1), hospital(200, 2)
    points = operating_points(*validation)
    figures = frozen_alerts(*test, points, replicates=20, seed=0)
    assert [row["target"] for row in figures["thresholds"]] == list(TARGETS)
    for row in figures["thresholds"]:
        point = pick(points, row["target"])
        if point is None:
            assert row == {"target": row["target"], "threshold": None}
            continue
        assert row["threshold"] == point.threshold
        assert row["told"]["precision"]["value"] == point.precision
        alerted = test[0] >= point.threshold
        assert row["reached"]["alerts"] == alerted.sum()
        assert row["reached"]["precision"]["value"] == pytest.approx(test[1][alerted].mean())
    assert any(row["threshold"] is not None for row in figures["thresholds"])
    for row in figures["capacity"]:
        highest = np.sort(np.argsort(-test[0], kind="stable")[: 2 * row["of_100"]])
        assert row["reached"]["alerts"] == 2 * row["of_100"]
        assert row["reached"]["precision"]["value"] == pytest.approx(test[1][highest].mean())


def test_a_model_without_thresholds_has_the_capacities_only() -> None:
    figures = frozen_alerts(*hospital(200, 3), (), replicates=5, seed=0)
    assert all(row["threshold"] is None for row in figures["thresholds"])
    assert len(figures["capacity"]) == 3
