"""The summary lines of jobs."""

from __future__ import annotations

from typing import Any

from readmit_spark.evaluation.summary_table import (
    metrics_table,
    recovered_share,
    unmet_demands,
)

SHOWN = ("auroc", "auprc", "rp80", "brier", "observed_over_expected", "calibration_slope")


def measure(value: float | None, **more: Any) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, **more}


def test_an_undefined_measure_shows_its_reason() -> None:
    none = {"value": None, "reason": "no positive"}
    natural = {"n": 7, **dict.fromkeys(SHOWN, none)}
    table = metrics_table(
        {"3days": {"scored": 7, "unscored": 2, "excluded": 1}}, {"3days": {"natural": natural}}
    )
    assert "admissions in        10" in table
    assert "AUROC                none (no positive)" in table
    assert "attainable" not in table


def test_intervals_and_the_attainable_auroc_are_shown() -> None:
    auroc = measure(0.8126, low=0.7, high=0.9)
    natural = {"n": 7, **dict.fromkeys(SHOWN, measure(0.5)), "auroc": auroc}
    metrics = {"natural": natural, "attainable_auroc": measure(0.9)}
    counts = {"2days": {"scored": 7, "unscored": 0, "excluded": 0}}
    rows = metrics_table(counts, {"2days": metrics}).splitlines()
    assert "AUROC                0.813 (0.700 to 0.900)" in rows
    assert "attainable AUROC     0.900" in rows


def test_the_recovered_share_counts_from_chance() -> None:
    metrics = {"natural": {"auroc": measure(0.7)}, "attainable_auroc": measure(0.9)}
    assert recovered_share(metrics) == 0.5


def test_a_comparison_that_does_not_show_what_the_demo_promises_is_reported() -> None:
    def window(auroc: float, gain: float, attainable: float = 0.9) -> dict[str, Any]:
        around = {"value": auroc, "low": auroc - 0.1, "high": auroc + 0.1}
        gained = measure(gain, low=gain - 0.05, high=gain + 0.05)
        return {
            "models": {"readmission": {"natural": {"auroc": around}}},
            "gains": {"bag of words": gained, "TF-IDF": measure(0.3, low=0.2, high=0.4)},
            "attainable_auroc": measure(attainable),
        }

    def problems(**windows: dict[str, Any]) -> list[str]:
        return unmet_demands({"windows": windows}, "readmission")

    assert problems(early=window(0.83, 0.06), late=window(0.9, 0.2)) == []
    assert problems(early=window(0.9, 0.04), late=window(0.9, 0.2)) == [
        "early: readmission is not shown to rank better than bag of words: AUROC gain 0.040 "
        "(-0.010 to 0.090)"
    ]
    assert problems(early=window(0.81, 0.2)) == [
        "early: readmission recovers 78% of the attainable, less than 80%"
    ]
    assert problems(early=window(0.8, 0.2, 0.65)) == [
        "early: readmission, AUROC 0.800 (0.700 to 0.900), is above the attainable 0.650"
    ]
    assert problems(early=window(0.8, 0.2, 0.75)) == []  # within the interval
    assert len(problems(early=window(0.6, 0.0))) == 2
