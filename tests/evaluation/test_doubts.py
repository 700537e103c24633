"""What is not shown about a model's ranking is a doubt, in one place for all pages."""

from __future__ import annotations

import numpy as np
import pytest

from readmit_spark.early_checks import FEWEST_READMITTED
from readmit_spark.evaluation.doubts import Evidence, doubts
from readmit_spark.evaluation.metrics import evaluate

GOOD = Evidence(400, 60, 0.8, 0.7, 0.87, FEWEST_READMITTED["train"])


def test_a_model_that_ranks_surely_better_than_chance_has_no_doubts() -> None:
    assert doubts(GOOD, None) == doubts(GOOD, GOOD) == doubts(None, GOOD) == []


@pytest.mark.parametrize(
    ("validation", "test", "says"),
    [
        (Evidence(11, 3, 0.375, 0.1, 0.7, 50), None, "AUROC 0.375, 95 % interval 0.100 to 0.700"),
        (Evidence(11, 3, 0.9, 0.5, 0.98, 50), None, "validation patients it is not shown"),
        (Evidence(9, 2, 0.9, None, None, 50), None, "too few patients for an interval (9 adm"),
        (GOOD, Evidence(8, 0, None, None, None), "On the test patients nobody can say"),
        (GOOD, Evidence(99, 9, 0.55, 0.4, 0.7), "On the test patients it is not shown"),
        (Evidence(400, 60, 0.8, 0.7, 0.87, 49), None, "49 readmitted admissions; fewer than 50"),
        (None, None, "carries no figures"),
    ],
)
def test_each_thing_that_is_not_shown_is_a_doubt(
    validation: Evidence | None, test: Evidence | None, says: str
) -> None:
    (doubt,) = doubts(validation, test)
    assert says in doubt.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_evidence_is_taken_from_the_measures() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 60)
    measures = evaluate(rng.random(60), labels, np.arange(60), replicates=0)
    evidence = Evidence.of(measures, trained_on=70)
    assert (evidence.n, evidence.readmitted) == (60, labels.sum())
    assert (evidence.low, evidence.high) == (measures["auroc"]["low"], measures["auroc"]["high"])
    assert evidence.low is not None and not evidence.better_than_chance  # scores at random
    nobody = Evidence.of(evaluate([0.1, 0.2], [0, 0], [1, 2], replicates=0))
    assert (nobody.auroc, nobody.low, nobody.better_than_chance) == (None, None, False)
