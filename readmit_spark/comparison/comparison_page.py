"""Show all models by window, beside the published figures, as a page and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from readmit_spark.comparison.comparison_metrics import gain_text
from readmit_spark.comparison.literature import ARTICLE, PAPER, Figure, Figures
from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.decision_page import decision_picture
from readmit_spark.evaluation.intervals import is_too_few
from readmit_spark.evaluation.report_page import CALIBRATION
from readmit_spark.pages.html import page_environment, window_title

MEASURES = {"auroc": "AUROC", "auprc": "AUPRC", "rp80": "RP80"}
BASELINES = {
    "bag of words": "counts of the 5,000 most frequent words, logistic regression",
    "TF-IDF": "weighted words and pairs of words, logistic regression",
    "BiLSTM": "a bidirectional LSTM over word vectors of the training text",
    "structured": "stays and days of the last 12 months, days since the last, this stay so far, "
    "admission type and age; no notes",
    "length only": "the number of notes, chunks and words, without any text",
}
TRANSFORMERS = ("ClinicalBERT", "BERT")  # their published figures have rows of their own


@dataclass(frozen=True)
class Row:
    """The cells of a model, in the order of MEASURES."""

    name: str
    natural: Sequence[str]
    balanced: Sequence[str]
    published: Sequence[str]


def table_rows(models: Mapping[str, Any], window: str) -> list[Row]:
    """Return a row for each model, then rows for models that only the literature has."""
    empty = ("", "", "")
    paper = PAPER.get(window, {})
    rows = []
    for name, measures in models.items():
        natural, balanced = ([_cell(measures[p][m]) for m in MEASURES] for p in _PREVALENCES)
        rows.append(Row(name, natural, balanced, _published(paper.get(name))))
    literature = {
        **{f"{name}, published": paper.get(name) for name in TRANSFORMERS},
        "ClinicalBERT, article": ARTICLE.get(window),
    }
    rows += [
        Row(name, empty, empty, _published(figures))
        for name, figures in literature.items()
        if figures
    ]
    return rows


def comparison_table(result: Mapping[str, Any]) -> str:
    """Return compare.json as lines for a terminal."""
    lines: list[str] = []
    for window, values in result["windows"].items():
        head = ["", *(f"{m} {p}" for p in _PREVALENCES for m in MEASURES.values()), "published"]
        table = [head] + [
            [row.name, *row.natural, *row.balanced, " / ".join(filter(None, row.published))]
            for row in table_rows(values["models"], window)
        ]
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        lines += [
            window,
            *(
                "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                for row in table
            ),
        ]
        if "attainable_auroc" in values:
            lines.append(f"attainable AUROC {_cell(values['attainable_auroc'])}")
        lines += [f"{title}: {text}" for title, _, text in gain_rows(values)]
        lines.append("")
    if "first_gate" in result:
        lines.append(f"first gate: {result['first_gate']}")
    return "\n".join([*lines, _describe_test(result)])


def gain_rows(values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (pair of models, admissions that both have scored, gain of the first) as text."""
    first = next(iter(values["models"]))
    return [
        (f"{first} \N{MINUS SIGN} {name}", f"{gain['n']:,}", gain_text(gain))
        for name, gain in values["gains"].items()
    ]


def calibration_rows(models: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return (model, cells in the order of CALIBRATION), of all folds together if there are any."""
    return [
        (name, [_cell(model.get("pooled", model["natural"])[m]) for m in CALIBRATION])
        for name, model in models.items()
    ]


def comparison_page(result: Mapping[str, Any]) -> str:
    """Return compare.json as a page. Neither has patients or text."""
    windows = [
        {
            "title": window_title(window),
            "rows": table_rows(values["models"], window),
            "calibration": calibration_rows(values["models"]),
            "gains": gain_rows(values),
            "pooled": {
                name: _cell(model["pooled"]["auroc"])
                for name, model in values["models"].items()
                if "pooled" in model
            },
            "decision": decision_picture(
                values["decision_curves"], title=f"Net benefit, {window_title(window)}"
            ),
            "attainable": _cell(values["attainable_auroc"])
            if "attainable_auroc" in values
            else None,
        }
        for window, values in result["windows"].items()
    ]
    return (
        page_environment()
        .get_template("comparison/comparison.html.j2")
        .render(
            windows=windows,
            measures=MEASURES,
            calibration=CALIBRATION,
            baselines=BASELINES,
            drawing=pictures.comparison(_points(result)),
            folds=result["folds"],
            how=_describe_test(result),
            first_gate=result.get("first_gate"),
        )
    )


_PREVALENCES = ("natural", "balanced")


def _points(result: Mapping[str, Any]) -> dict[str, pictures.Panel]:
    """Return the AUROCs at balanced prevalence, as published ones are."""
    panels = {}
    for window, values in result["windows"].items():
        paper = PAPER.get(window, {})
        dots = []
        for name, model in values["models"].items():
            ours = model["balanced"]["auroc"]
            published = paper.get(name)
            if "mean" in ours:
                value, sd = ours["mean"], ours["sd"] or 0.0
                low, high = (value - sd, value + sd) if value is not None else (None, None)
            else:
                value, low, high = ours["value"], ours.get("low"), ours.get("high")
            theirs = published["auroc"].mean if published else None
            dots.append(pictures.Dot(name, value, low, high, theirs, is_sd="mean" in ours))
        dots += [
            pictures.Dot(f"{name}, published", None, None, None, paper[name]["auroc"].mean)
            for name in TRANSFORMERS
            if name in paper
        ]
        best = values.get("attainable_auroc", {}).get("value")
        panels[window_title(window)] = pictures.Panel(dots, best)
    return panels


def _describe_test(result: Mapping[str, Any]) -> str:
    if result["folds"] > 1:
        return f"mean ± standard deviation over {result['folds']} folds of patients"
    return "one test split; in brackets 95 % intervals over patients"


def _cell(measure: Mapping[str, Any]) -> str:
    if "mean" in measure:
        return "-" if measure["mean"] is None else _plus_minus(measure["mean"], measure["sd"])
    if measure["value"] is None:
        return "-"
    if measure["low"] is None:
        return f"{measure['value']:.3f}{' (too few to say)' if is_too_few(measure) else ''}"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"


def _published(figures: Figures | None) -> list[str]:
    return [_figure((figures or {}).get(measure)) for measure in MEASURES]


def _figure(figure: Figure | None) -> str:
    return _plus_minus(figure.mean, figure.sd) if figure else ""


def _plus_minus(mean: float, sd: float | None) -> str:
    return f"{mean:.3f}" + ("" if sd is None else f" ± {sd:.3f}")
