"""From patient scores and prepare's tables to the model card, with figures computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from readmit_spark.config_file import load_config
from readmit_spark.evaluation.card import model_card
from readmit_spark.evaluation.card_page import Card
from readmit_spark.evaluation.report_page import FlowStep
from readmit_spark.storage.manifests import Prepared

CONFIG = load_config(overrides=["score.bootstrap=1", "split.seed=0"])
# hadm_id, label, split: five in the cohort, one without a known outcome.
COHORT = [(1, 1, "test"), (2, 0, "test"), (3, 0, "test"), (4, 0, "train"), (5, None, "train")]
EXCLUSIONS = [(8, "newborn"), (9, "died_in_hospital"), (None, "newborn")]
# subject_id, hadm_id, score, label: 1 scores higher than one of the two others: AUROC 1/2.
SCORED = [(10, 3, 0.2, 0), (10, 1, 0.5, 1), (20, 2, 0.9, 0)]


def write(folder: Path, table: str, **columns: Any) -> None:
    (folder / table).mkdir()
    pq.write_table(pa.table(columns), folder / table / "part-0.parquet")


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    hadm_ids, labels, splits = zip(*COHORT, strict=True)
    write(tmp_path, "cohort", hadm_id=hadm_ids, label=labels, split=splits)
    excluded, reasons = zip(*EXCLUSIONS, strict=True)
    write(tmp_path, "exclusions", hadm_id=excluded, reason=reasons)
    write(
        tmp_path, "subgroups", hadm_id=[1, 2], sex=["female", "male"], age_band=["18 to 44"] * 2,
        ethnicity=["white", None], insurance=["private"] * 2, admission_type=["urgent"] * 2,
        discharge_to=["home", None],
    )  # fmt: skip
    return Prepared.model_validate({
        "job": "prepare", "run": "prepare/1", "path": str(tmp_path), "tables": {}, "notes": {},
        "seconds": {}, "tokenizer": "", "finished": "2026-01-01T00:00:00",
        "admissions": {"rows": 9, "duplicate_rows": 1},
        "config": {
            "profile": "default", "windows": ["2days"], "split": {"level": None, "seed": 0},
            "chunk": {"mode": "words", "words": 318, "min_tail_words": 10},
            "model": {"max_tokens": 512},
        },
    })  # fmt: skip


def card(prepared: Prepared, split: str = "test") -> Card:
    rows = pd.DataFrame(SCORED, columns=["subject_id", "hadm_id", "score", "label"])
    return model_card(
        CONFIG, prepared, "readmit/1", {"2days": rows}, split, {"vote": "c = 2"}, unseen=True
    )


def test_the_flow_counts_admissions_down_to_the_sides_of_the_split(prepared: Prepared) -> None:
    assert card(prepared).flow == [
        FlowStep(
            "admissions in the table",
            9,
            [("identical_duplicate", 1), ("died_in_hospital", 1), ("newborn", 2)],
        ),
        FlowStep("in the cohort", 5, [("without a known outcome", 1)]),
        FlowStep("on the train side", 2),
        FlowStep("on the validation side", 0),
        FlowStep("on the test side", 3),
    ]


def test_a_window_has_figures_of_all_and_of_balanced_admissions(prepared: Prepared) -> None:
    (window,) = card(prepared).windows
    assert (window.name, window.natural["n"], window.natural["positives"]) == ("2days", 3, 1)
    assert window.natural["auroc"]["value"] == 0.5
    assert window.balanced["n"] == 3
    (bin_of_all,) = window.calibration  # fewer than ten admissions are one bin
    assert bin_of_all.n == 3
    assert window.picture.startswith(b"\x89PNG")


def test_missing_demographics_are_unknown_and_small_groups_are_hidden(prepared: Prepared) -> None:
    (window,) = card(prepared).windows
    groups = {(group.factor, group.name) for group in window.groups}
    assert {("sex", "female"), ("sex", "male"), ("sex", "unknown")} <= groups
    assert ("ethnicity", "unknown") in groups  # of 2, whose value is null, and of 3, without a row
    assert all(group.n is None for group in window.groups)


def test_a_card_of_validation_says_that_settings_were_chosen_there(prepared: Prepared) -> None:
    assert not card(prepared).chosen_on
    assert card(prepared, "validation").chosen_on


def test_facts_are_those_of_the_job_and_of_prepare(prepared: Prepared) -> None:
    assert card(prepared).facts == {
        "prepared": "2026-01-01T00:00:00",
        "profile": "default",
        "split": "by patient, seed 0",
        "vote": "c = 2",
    }
