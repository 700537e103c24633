"""The findings: only context tells the course, and the risks of partial readers are means."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.metrics import roc_auc_score

from readmit_spark.demo.findings import (
    FINDINGS,
    WARNING_SIGNS,
    describe,
    describe_course,
    risk_of_reader,
    true_risk,
)

SENTENCES = 100_000


def _counts(bad: bool, length: int) -> Counter[tuple[str, ...]]:
    """Count the runs of `length` words in generated sentences of one course."""
    rng = np.random.default_rng([17, bad])
    counts: Counter[tuple[str, ...]] = Counter()
    for _ in range(SENTENCES // 2):
        words = re.findall(r"[a-z]+", describe_course(bad, False, rng).lower())
        counts.update(zip(*(words[i:] for i in range(length)), strict=False))
    return counts


@pytest.mark.parametrize("length", [1, 2, 3])
def test_words_pairs_and_triples_are_distributed_alike_in_both_courses(length: int) -> None:
    bad, good = (_counts(course, length) for course in (True, False))
    common = [run for run in bad | good if bad[run] + good[run] >= 20]
    table = np.array([[counts[run] for run in common] for counts in (bad, good)])
    assert len(common) > 20 and chi2_contingency(table).pvalue > 0.001


def test_the_courses_of_one_draw_have_the_same_words_in_another_order() -> None:
    for seed in range(20):
        bad, good = (
            describe_course(course, False, np.random.default_rng(seed)) for course in (True, False)
        )
        assert bad != good
        assert sorted(re.findall(r"\w+", bad)) == sorted(re.findall(r"\w+", good))


def test_a_warning_sign_is_told_by_its_head() -> None:
    for bad, place in ((True, 0), (False, 1)):
        sentence = describe_course(bad, True, np.random.default_rng(5))
        halves = sentence.split("but denies")
        assert [any(sign in half for sign in WARNING_SIGNS) for half in halves].index(True) == place
    assert sentence.startswith("ROS: she reports")


def test_findings_of_single_words_are_equally_long_and_told_apart() -> None:
    for name in ("oxygen", "appetite"):
        for seed in range(10):
            yes, no = (describe(name, a, np.random.default_rng(seed)) for a in (True, False))
            assert yes != no and len(yes.split()) == len(no.split())


def test_the_risk_of_a_reader_is_the_mean_over_what_is_not_read() -> None:
    rng = np.random.default_rng(3)
    drawn = [
        {name: bool(rng.random() < f.share) for name, f in FINDINGS.items()} for _ in range(40_000)
    ]
    for course in (True, False):
        told = [true_risk(findings, 70) for findings in drawn if findings["course"] == course]
        expected = risk_of_reader({**drawn[0], "course": course}, 70, {"course"})
        assert np.mean(told) == pytest.approx(expected, abs=0.003)
    whole = risk_of_reader(drawn[0], 70, set())
    assert np.mean([true_risk(findings, 70) for findings in drawn]) == pytest.approx(
        whole, abs=0.01
    )


def test_single_words_carry_at_most_a_tenth_of_what_is_attainable() -> None:
    rng = np.random.default_rng(4)
    drawn = [
        {name: bool(rng.random() < f.share) for name, f in FINDINGS.items()} for _ in range(40_000)
    ]
    risks = np.array([true_risk(findings, 62) for findings in drawn])
    words = [risk_of_reader(findings, 62, {"oxygen", "appetite"}) for findings in drawn]
    labels = rng.random(len(drawn)) < risks
    assert roc_auc_score(labels, words) - 0.5 < 0.1 * (roc_auc_score(labels, risks) - 0.5)
