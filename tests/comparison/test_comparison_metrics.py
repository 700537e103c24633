"""Gains on shared admissions, the first gate, and figures of pooled folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from readmit_spark.comparison.comparison_metrics import comparison_result, first_gate, gain_text
from readmit_spark.comparison.comparison_page import comparison_page, comparison_table, gain_rows
from readmit_spark.config_file import load_config

CONFIG = load_config(overrides=["score.bootstrap=10"])


def table(fold: int = -1, n: int = 200, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.3).astype(int)
    signals = {"readmission": 1.5, "TF-IDF": 1.4, "structured": 0.2, "LACE": 0.5}
    return pd.concat(
        pd.DataFrame({
            "model": model, "fold": fold if model != "LACE" else -1, "window": "3days",
            "subject_id": np.arange(n) // 2 + 1000 * seed, "hadm_id": np.arange(n) + 1000 * seed,
            "score": 1 / (1 + np.exp(-random.normal(size=n) - signal * labels)), "label": labels,
        })
        for model, signal in signals.items()
    )  # fmt: skip


def result(rows: pd.DataFrame) -> dict[str, Any]:
    names = ["TF-IDF", "structured", "LACE"]
    return comparison_result(rows, None, CONFIG, names, first="readmission")


def test_gains_are_differences_on_the_admissions_that_both_have_scored() -> None:
    rows = table()
    rows = rows[(rows.model != "LACE") | (rows.hadm_id % 3 > 0)]
    values = result(rows)["windows"]["3days"]
    assert list(values["gains"]) == ["TF-IDF", "structured", "LACE"]
    by_model = {name: own.set_index("hadm_id") for name, own in rows.groupby("model")}
    ours, lace = by_model["readmission"].loc[by_model["LACE"].index], by_model["LACE"]
    gain = values["gains"]["LACE"]
    expected = roc_auc_score(ours.label, ours.score) - roc_auc_score(lace.label, lace.score)
    assert gain["value"] == pytest.approx(expected, abs=1e-12)
    assert gain["n"] == len(lace) and gain["low"] < expected < gain["high"]
    title = "readmission \N{MINUS SIGN} LACE"
    assert gain_rows(values)[2] == (title, f"{len(lace)}", gain_text(gain))


def test_folds_are_pooled_with_an_interval_beside_their_mean() -> None:
    rows = pd.concat([table(0, seed=1), table(1, seed=2)])
    compared = result(rows)
    model = compared["windows"]["3days"]["models"]["readmission"]
    assert compared["folds"] == 2 and "mean" in model["natural"]["auroc"]
    own = rows[rows.model == "readmission"]
    pooled = model["pooled"]["auroc"]
    assert pooled["value"] == pytest.approx(roc_auc_score(own.label, own.score), abs=1e-12)
    page = comparison_page(compared)
    assert (
        f"readmission {pooled['value']:.3f} ({pooled['low']:.3f} to {pooled['high']:.3f})" in page
    )
    assert "with standard deviations over the folds as dotted lines" in page


def test_the_page_and_the_lines_show_the_gains_and_the_first_gate() -> None:
    compared = result(table()) | {"first_gate": "passed: <1>"}
    gain = gain_text(compared["windows"]["3days"]["gains"]["structured"])
    assert gain in comparison_page(compared)
    assert f"readmission \N{MINUS SIGN} structured: {gain}" in comparison_table(compared)
    assert "passed: &lt;1&gt;" in comparison_page(compared)
    ratio = compared["windows"]["3days"]["models"]["LACE"]["natural"]["observed_over_expected"]
    cell = (
        f"<td>{ratio['value']:.3f}<small>({ratio['low']:.3f} to {ratio['high']:.3f})</small></td>"
    )
    assert cell in comparison_page(compared)
    assert "first gate: passed: <1>" in comparison_table(compared)


def gate(structured: tuple[Any, ...], tf_idf: tuple[Any, ...]) -> str:
    names = {"structured": structured, "TF-IDF": tf_idf}
    keys = ("value", "low", "high")
    gains = {name: dict(zip(keys, values, strict=True)) for name, values in names.items()}
    return first_gate({"gains": gains}, margin=0.02)


@pytest.mark.parametrize(
    ("structured", "tf_idf", "passed"),
    [
        ((0.1, 0.05, 0.15), (0.0, -0.01, 0.01), True),
        ((0.1, 0.0, 0.2), (0.0, -0.01, 0.01), False),
        ((0.1, 0.05, 0.15), (0.0, -0.03, 0.03), False),
        ((0.1, None, None), (0.1, 0.0, 0.2), False),
    ],
)
def test_the_first_gate(structured: Any, tf_idf: Any, passed: bool) -> None:
    assert gate(structured, tf_idf).startswith("passed: " if passed else "not passed: ")


def test_the_first_gate_says_what_it_saw() -> None:
    assert gate((0.1, 0.05, 0.15), (0.0, -0.03, 0.03)) == (
        "not passed: better than structured (AUROC +0.100 (+0.050 to +0.150)); not shown to be not "
        "worse than TF-IDF by 0.02 (AUROC +0.000 (-0.030 to +0.030))"
    )
    assert first_gate({"gains": {}}, 0.02) == "cannot tell: structured, TF-IDF was not compared"
