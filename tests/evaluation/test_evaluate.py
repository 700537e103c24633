"""From patient scores to metrics and the report, with figures computed by hand."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from readmit_spark.config_file import load_config
from readmit_spark.evaluation.evaluate import (
    Evaluation,
    agreement_of_risks,
    at_both_prevalences,
    attainable_auroc,
    build_report,
    evaluate_windows,
    is_all_cause,
    listed,
    report_files,
    ward_precision,
)
from readmit_spark.evaluation.report_page import FlowStep, TokenLoss
from readmit_spark.evaluation.vote_parts import vote_parts
from readmit_spark.storage.manifests import Prepared

CONFIG = load_config(
    overrides=[
        "score.bootstrap=1",
        "split.seed=0",
        "score.split=test",
        "vote.c=2",
        "chunk.mode=words",
        "chunk.words=318",
    ]
)
# Readmitted: 1. Two of the three others score lower, so the AUROC is 2/3.
ADMISSIONS = pd.DataFrame(
    [(10, 4, 0.1, 0), (10, 3, 0.3, 0), (20, 1, 0.8, 1), (30, 2, 0.9, 0)],
    columns=["subject_id", "hadm_id", "score", "label"],
)
RISKS = {1: 0.6, 2: 0.2, 3: 0.2, 4: 0.6}  # 1 is above two others and equal to one: AUROC 2.5/3
CHUNKS = pd.DataFrame([("2days", 0.75, 0.5)], columns=["window", "accuracy", "loss"])


def test_natural_prevalence_measures_all_and_balanced_gives_both_outcomes_the_same_weight() -> None:
    measured = at_both_prevalences(ADMISSIONS, CONFIG)
    natural, balanced = measured["natural"], measured["balanced"]
    assert (natural["n"], natural["positives"], natural["patients"]) == (4, 1, 3)
    assert natural["auroc"]["value"] == pytest.approx(2 / 3)
    squares = [0.1**2, 0.3**2, 0.2**2, 0.9**2]
    assert natural["brier"]["value"] == pytest.approx(sum(squares) / 4)
    # The three negatives weigh a third each.
    assert (balanced["n"], balanced["positives"]) == (4, 1)
    assert balanced["auroc"]["value"] == pytest.approx(2 / 3)
    assert balanced["brier"]["value"] == pytest.approx((0.2**2 + sum([0.01, 0.09, 0.81]) / 3) / 2)
    assert balanced["prevalence"]["value"] == pytest.approx(0.5)
    assert "calibration_slope" in natural and "calibration_slope" not in balanced


def test_the_paper_profile_draws_as_many_negatives_as_positives() -> None:
    config = load_config(overrides=["score.bootstrap=1", "split.seed=0", "profile=paper"])
    balanced = at_both_prevalences(ADMISSIONS, config)["balanced"]
    # With seed 0 the negative is admission 3 (see `balance`), which scores lower than 1.
    assert (balanced["n"], balanced["positives"]) == (2, 1)
    assert balanced["auroc"]["value"] == 1.0
    assert balanced["brier"]["value"] == pytest.approx((0.2**2 + 0.3**2) / 2)


def test_the_precision_on_a_ward_is_counted() -> None:
    assert ward_precision(ADMISSIONS, 0.3) == {"alerted": 3, "readmitted": 1}
    assert ward_precision(ADMISSIONS, None) is None
    # The balanced precision of the threshold 0.8 is 1 / (1 + 1/3) = 0.75: none reaches 0.8.
    assert at_both_prevalences(ADMISSIONS, CONFIG)["balanced"]["ward_precision"] is None


def test_the_order_of_the_rows_changes_nothing() -> None:
    shuffled = ADMISSIONS.iloc[[2, 0, 3, 1]]
    assert at_both_prevalences(shuffled, CONFIG) == at_both_prevalences(ADMISSIONS, CONFIG)


def test_without_admissions_nothing_is_measured() -> None:
    measured = at_both_prevalences(ADMISSIONS.iloc[:0], CONFIG)
    assert measured["natural"]["n"] == measured["balanced"]["n"] == 0
    assert measured["natural"]["auroc"]["value"] is None


def test_the_attainable_auroc_is_that_of_the_true_risks() -> None:
    assert attainable_auroc(ADMISSIONS, RISKS, CONFIG)["value"] == pytest.approx(2.5 / 3)


def evaluations(
    split: str = "test", risks: dict[str, dict[int, float]] | None = None
) -> list[Evaluation]:
    rows = ADMISSIONS.assign(window="2days")
    later = rows[rows.hadm_id < 3].assign(window="discharge")
    config = load_config(overrides=["score.bootstrap=1", "split.seed=0", f"score.split={split}"])
    windows = ["2days", "discharge"]
    return evaluate_windows(pd.concat([rows, later]), CHUNKS, risks, windows, config, {})


def test_risks_are_measured_where_every_admission_has_one() -> None:
    risks = ADMISSIONS.assign(risk=[0.1, 0.2, 0.6, 0.5])  # in the order of ADMISSIONS
    found = agreement_of_risks(risks, CONFIG)
    assert found is not None
    squares = [0.1**2, 0.2**2, 0.4**2, 0.5**2]
    assert found["brier"]["value"] == pytest.approx(sum(squares) / 4)
    assert found["observed_over_expected"]["value"] == pytest.approx(1 / 1.4)
    assert listed(risks).tolist() == [0.1, 0.2, 0.6, 0.5]
    for rows in (ADMISSIONS, ADMISSIONS.assign(risk=None), risks.iloc[:0]):
        assert agreement_of_risks(rows, CONFIG) is None
        assert listed(rows).tolist() == rows.score.tolist()


def test_each_window_is_measured_on_its_own_admissions() -> None:
    early, late = evaluations(risks=dict.fromkeys(["2days", "discharge"], RISKS))
    assert (early.window, list(early.measured.hadm_id)) == ("2days", [1, 2, 3, 4])
    assert (late.window, list(late.measured.hadm_id)) == ("discharge", [1, 2])
    assert early.metrics["chunks"] == {"accuracy": 0.75, "loss": 0.5}
    assert late.metrics["chunks"] is None
    assert early.metrics["natural"]["auroc"]["value"] == pytest.approx(2 / 3)
    assert late.metrics["natural"]["auroc"]["value"] == 0.0
    assert late.metrics["attainable_auroc"]["value"] == 1.0


def test_the_vote_is_compared_with_its_parts() -> None:
    rows = ADMISSIONS.assign(
        window="2days",
        n_chunks=[1, 2, 3, 1],
        max_probability=[0.1, 0.3, 0.9, 0.8],  # the readmitted one is the highest
        mean_probability=[0.1, 0.3, 0.05, 0.8],  # and here the lowest
    )
    (found,) = evaluate_windows(rows, CHUNKS, None, ["2days"], CONFIG, {})
    vote = found.metrics["vote"]
    assert vote["several"] == 0.5
    assert (vote["max_probability"]["auroc"], vote["mean_probability"]["auroc"]) == (1.0, 0.0)
    assert vote["max_probability"]["gain"] == pytest.approx(2 / 3 - 1)
    assert vote["mean_probability"]["gain"] == pytest.approx(2 / 3)
    assert vote["mean_probability"]["low"] is None  # one readmitted patient is too few
    assert vote_parts(rows.assign(label=0)) is None
    assert evaluations()[0].metrics["vote"] is None  # without the chunks' maximum and mean


@pytest.mark.parametrize(("split", "measured"), [("all", "test"), ("validation", "validation")])
def test_all_splits_scored_means_that_test_is_measured(split: str, measured: str) -> None:
    early, _ = evaluations(split)
    assert early.metrics["split"] == measured
    assert "attainable_auroc" not in early.metrics  # the true risks are unknown


def test_a_death_is_an_outcome_beside_readmission_where_deaths_are_known() -> None:
    rows = ADMISSIONS.assign(window="2days")
    # The one who died scores higher than two of the three others.
    died = pd.DataFrame({"window": ["2days"], "subject_id": [40], "hadm_id": [5], "score": [0.85]})
    (early,) = evaluate_windows(rows, CHUNKS, None, ["2days"], CONFIG, {}, died)
    both = early.metrics["readmitted_or_dead"]
    assert (both["n"], both["positives"]) == (5, 2)
    assert both["auroc"]["value"] == pytest.approx(4 / 6)
    assert early.metrics["natural"]["n"] == len(early.measured) == 4
    (without,) = evaluate_windows(rows, CHUNKS, None, ["2days"], CONFIG, {}, died[:0])
    assert "readmitted_or_dead" not in without.metrics


def test_the_report_accounts_for_every_admission_of_the_input() -> None:
    # 9 rows: 1 duplicate, 2 excluded; of the 6 in the cohort 1 has no notes, and 4 are measured.
    counts = pd.DataFrame(
        [("2days", "scored", None, 5), ("2days", "unscored", "no_notes", 1),
         ("2days", "excluded", "newborn", 2)],
        columns=["window", "status", "reason", "n"],
    )  # fmt: skip
    prepared = Prepared.model_validate({
        "job": "prepare", "run": "prepare/1", "path": "", "tables": {}, "tokenizer": "",
        "finished": "2026-01-01T00:00:00",
        "config": {
            "profile": "default", "windows": ["2days"], "split": {"level": None, "seed": 0},
            "chunk": {"mode": "words", "words": 318, "min_tail_words": 10},
            "model": {"max_tokens": 512},
        },
        "admissions": {"rows": 9, "duplicate_rows": 1, "admittime_unread": 2},
        "notes": {"notes": 1234, "marked_as_error": 5}, "seconds": {"cohort": 1.5},
    })  # fmt: skip
    unknown = prepared.model_copy(update={"outcomes": {"plan_unknown": 1}})
    assert is_all_cause(unknown) and not is_all_cause(prepared)
    early = evaluations()[:1]
    report = build_report(
        CONFIG, "readmit/1", prepared, early, counts, {"2days": TokenLoss(7, 1, 900, 30)},
        {"start": 0.5},
    )  # fmt: skip
    assert report.flow == [
        FlowStep("admissions in the table", 9, [("identical_duplicate", 1), ("newborn", 2)])
    ]
    assert list(report.windows[0].flow) == [
        FlowStep("in the cohort", 6, [("no_notes", 1)]),
        FlowStep("scored", 5, [("other_split_too_short_or_no_outcome", 1)]),
        FlowStep("measured (test split)", 4),
    ]
    assert report.bad_rows == {"admissions: admittime_unread": 2, "notes: marked_as_error": 5}
    assert report.facts["trained and scored with"] == (
        "chunks of 318 words, at most 512 tokens, cleaned as published"
    )
    assert (report.facts["vote"], report.facts["notes read"]) == ("c = 2.0", "1,234")
    assert report.seconds == {"prepare: cohort": 1.5, "score: start": 0.5}
    assert report.windows[0].tokens.chunks_cut == 1

    files = report_files(early, report)
    assert set(files) == {"metrics.json", "report.html", "roc_2days.png", "pr_2days.png"}
    metrics = json.loads(files["metrics.json"])
    assert metrics["2days"]["natural"]["auroc"]["value"] == pytest.approx(2 / 3)
    assert metrics["2days"]["alerts"]["thresholds"][0] == {"target": 0.2, "threshold": None}
    assert "Too few to say: 4 admissions were measured." in str(files["report.html"])
