"""Format and check results for the summary lines that jobs print at their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from readmit_spark.evaluation.intervals import is_too_few
from readmit_spark.pages.text_table import aligned

_MEASURES = (("auroc", "AUROC"), ("auprc", "AUPRC"), ("rp80", "RP80"), ("brier", "Brier score"),
             ("observed_over_expected", "observed / expected"),
             ("calibration_slope", "calibration slope"))  # fmt: skip


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


def implausible_results(compared: Mapping[str, Any], transformer: str) -> list[str]:
    """Return what cannot be right in a comparison on the demo cohort; empty if all is plausible.

    Part of the demo's signal is in the context of words, so the transformer must have a higher
    AUROC than the bag of words in every window. The interval of no model's AUROC may lie above the
    AUROC of the true risks. compared: the content of compare.json for one split. transformer: the
    model's name there.
    """
    problems = []
    for window, both in compared["windows"].items():
        aurocs = {name: m["natural"]["auroc"]["value"] for name, m in both["models"].items()}
        best = both["attainable_auroc"]["value"]
        if aurocs[transformer] <= aurocs["bag of words"]:
            problems.append(
                f"{window}: {transformer}, AUROC {aurocs[transformer]:.3f}, does not beat the bag "
                f"of words, {aurocs['bag of words']:.3f}"
            )
        problems += [
            f"{window}: {name}, AUROC {aurocs[name]:.3f}, is above the attainable AUROC, {best:.3f}"
            for name, m in both["models"].items()
            if (m["natural"]["auroc"]["low"] or 0.0) > best
        ]
    return problems


def _cell(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return f"none ({measure['reason']})"
    if measure["low"] is None:
        return f"{measure['value']:.3f}{' (too few to say)' if is_too_few(measure) else ''}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"
