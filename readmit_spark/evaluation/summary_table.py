"""Format and check results for the summary lines that jobs print at their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from readmit_spark.evaluation.intervals import is_too_few
from readmit_spark.pages.text_table import aligned

_MEASURES = (("auroc", "AUROC"), ("auprc", "AUPRC"), ("rp80", "RP80"), ("brier", "Brier score"),
             ("observed_over_expected", "observed / expected"),
             ("calibration_slope", "calibration slope"))  # fmt: skip

ENOUGH = 0.8  # share of the attainable AUROC above 0.5 that the demo's model must recover
COUNTING = ("bag of words", "TF-IDF")  # the models of the comparison that count words


def metrics_table(counts: Mapping[str, Mapping[str, int]], metrics: Mapping[str, Any]) -> str:
    """Format the admissions by status and the metrics with their intervals, one column a window.

    counts: window -> status -> number of admissions. metrics: the content of metrics.json.
    """
    windows = list(metrics)
    rows: list[list[str]] = [["", *windows]]
    rows.append(["admissions in", *(f"{sum(counts[w].values()):,}" for w in windows)])
    for status in ("excluded", "unscored", "scored"):
        rows.append([status, *(f"{counts[w][status]:,}" for w in windows)])
    rows.append(["measured", *(f"{metrics[w]['natural']['n']:,}" for w in windows)])
    for key, name in _MEASURES:
        rows.append([name, *(_cell(metrics[w]["natural"][key]) for w in windows)])
    if any("attainable_auroc" in metrics[w] for w in windows):
        rows.append(["attainable AUROC", *(_cell(metrics[w]["attainable_auroc"]) for w in windows)])
    return aligned(rows)


def auroc_line(metrics: Mapping[str, Any]) -> str:
    """Return the AUROC of each window with its interval and number of stays, in a line.

    metrics: the content of metrics.json.
    """
    natural = {window: values["natural"] for window, values in metrics.items()}
    return "; ".join(
        f"{window}: AUROC {_cell(values['auroc'])} on {values['n']:,} stays"
        for window, values in natural.items()
    )


def recovered_share(metrics: Mapping[str, Any]) -> float:
    """Return the share of the attainable ranking that the model achieves in one window.

    This is (AUROC - 0.5) / (attainable AUROC - 0.5); it can exceed 1. metrics: one window of
    metrics.json.

    >>> recovered_share({"natural": {"auroc": {"value": 0.8}}, "attainable_auroc": {"value": 0.9}})
    0.75
    """
    attainable: float = metrics["attainable_auroc"]["value"]
    auroc: float = metrics["natural"]["auroc"]["value"]
    return round((auroc - 0.5) / (attainable - 0.5), 9)


def unmet_demands(compared: Mapping[str, Any], transformer: str) -> list[str]:
    """Return what the comparison on the demo cohort does not show; empty if it shows all.

    The demo's risk is in the context of words. So in every window the transformer must recover
    ENOUGH, and rank better than the models that count words: the paired 95 % interval of its AUROC
    gain lies above 0. The interval of no model's AUROC may lie above that of the true risks.
    compared: the content of compare.json for one split. transformer: the model's name there.
    """
    problems = []
    for window, found in compared["windows"].items():
        natural = {name: model["natural"] for name, model in found["models"].items()}
        best = found["attainable_auroc"]["value"]
        share = recovered_share({"natural": natural[transformer], **found})
        if share < ENOUGH:
            problems.append(
                f"{window}: {transformer} recovers {share:.0%} of the attainable, less than "
                f"{ENOUGH:.0%}"
            )
        problems += [
            f"{window}: {transformer} is not shown to rank better than {name}: AUROC gain "
            f"{_cell(found['gains'][name])}"
            for name in COUNTING
            if (found["gains"][name]["low"] or 0.0) <= 0
        ]
        problems += [
            f"{window}: {name}, AUROC {_cell(m['auroc'])}, is above the attainable {best:.3f}"
            for name, m in natural.items()
            if (m["auroc"]["low"] or 0.0) > best
        ]
    return problems


def _cell(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return f"none ({measure['reason']})"
    if measure["low"] is None:
        return f"{measure['value']:.3f}{' (too few to say)' if is_too_few(measure) else ''}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"
