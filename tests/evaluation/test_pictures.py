"""The pictures: they show the right numbers and never fail."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.image import imread

from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.curves import curves
from readmit_spark.evaluation.metrics import evaluate

NAMES = ("roc", "precision_recall", "distribution", "calibration")


def draw(name: str, scores: Any, labels: Any, patients: Any) -> bytes:
    rest = (patients, evaluate(scores, labels, patients, replicates=30))
    needed = rest if name in ("roc", "precision_recall") else ()
    return getattr(pictures, name)(scores, labels, *needed, title="any")


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of the pictures that the test draws."""
    added: list[Any] = []
    add = matplotlib.figure.Figure.add_subplot

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        added.append(add(self, *args, **kwargs))
        return added[-1]

    monkeypatch.setattr(matplotlib.figure.Figure, "add_subplot", spy)
    return added


def legend(axes: Any) -> str:
    return " | ".join(text.get_text() for text in axes.get_legend().get_texts())


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_png_of_a_readable_size(name: str, cohort: Any) -> None:
    assert imread(BytesIO(draw(name, *cohort))).shape[0] > 500


def test_pyplot_and_its_global_state_are_never_loaded() -> None:
    code = (
        "import sys; from readmit_spark.evaluation import pictures as p;"
        "p.calibration([0.1, 0.2], [0, 1], title='any');"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_same_input_same_bytes(name: str, cohort: Any) -> None:
    assert draw(name, *cohort) == draw(name, *cohort)


def test_roc_draws_the_curve_and_names_its_area(cohort: Any, axes: list[Any]) -> None:
    draw("roc", *cohort)
    points, auroc = curves(*cohort[:2]), evaluate(*cohort, replicates=30)["auroc"]
    drawn = axes[0].lines[0]
    assert drawn.get_xdata().tolist() == points.false_positive_rate.tolist()
    assert drawn.get_ydata().tolist() == points.recall.tolist()
    assert f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f})" in legend(axes[0])


def test_precision_recall_marks_rp80_where_precision_is_reached(
    cohort: Any, axes: list[Any]
) -> None:
    draw("precision_recall", *cohort)
    rp80 = evaluate(*cohort, replicates=30)["rp80"]
    (mark,) = [line for line in axes[0].lines if line.get_marker() == "o"]
    assert mark.get_xdata()[0] == pytest.approx(rp80["value"])
    assert mark.get_ydata()[0] >= 0.8
    assert f"RP80 {rp80['value']:.1%}" in legend(axes[0])


def test_no_mark_where_no_threshold_reaches_the_precision(cohort: Any, axes: list[Any]) -> None:
    draw("precision_recall", np.full(len(cohort[0]), 0.5), *cohort[1:])
    assert not [line for line in axes[0].lines if line.get_marker() == "o"]


def test_distribution_is_a_share_of_each_group(cohort: Any, axes: list[Any]) -> None:
    scores, labels, patients = cohort
    draw("distribution", scores, labels, patients)
    assert f"readmitted ({labels.sum()})" in legend(axes[0])
    outline = axes[0].patches[1].get_xy()[:, 1]  # the step histogram of the readmitted
    assert outline.max() == pytest.approx(
        np.histogram(scores[labels == 1], np.linspace(0, 1, 21))[0].max() / labels.sum()
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
def test_tiny_or_one_sided_cohorts_still_give_a_picture(name: str, labels: list[int]) -> None:
    scores = np.linspace(0, 1, len(labels))
    assert draw(name, scores, np.array(labels), np.zeros(len(labels))).startswith(b"\x89PNG")


def test_an_undefined_curve_shows_the_reason(axes: list[Any]) -> None:
    draw("roc", [0.1, 0.2], [0, 0], [1, 2])
    assert "no readmitted admission" in axes[0].texts[0].get_text()


def test_loss_is_drawn_step_by_step(axes: list[Any]) -> None:
    assert pictures.loss([(10, 0.7), (20, 0.5)], title="any").startswith(b"\x89PNG")
    assert axes[0].lines[0].get_xydata().tolist() == [[10, 0.7], [20, 0.5]]
