"""Show the figures of all folds together, and of subgroups, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from readmit_spark.evaluation.intervals import is_too_few
from readmit_spark.evaluation.report_page import CALIBRATION
from readmit_spark.evaluation.small_cells import shown_count
from readmit_spark.evaluation.subgroups import Group, by_factor
from readmit_spark.pages.html import page_environment, window_title

_SHOWN = {"auroc": "AUROC", "auprc": "AUPRC", **CALIBRATION}


def crossval_page(
    pooled: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Sequence[Group]]
) -> str:
    """Return the page. pooled: window -> result of `evaluation.metrics.evaluate` over all folds.

    Each admission was scored by a model that never saw its patient, so a small hospital has as many
    admissions here as in the whole cohort.
    """
    pages = page_environment()
    pages.tests["too_few"] = is_too_few
    pages.filters["count"] = shown_count
    windows = [
        {"words": window_title(name), "measures": measures, "factors": by_factor(groups[name])}
        for name, measures in pooled.items()
    ]
    template = pages.get_template("comparison/crossval.html.j2")
    return template.render(windows=windows, shown=_SHOWN, calibration=CALIBRATION)
