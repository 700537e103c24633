"""Compute the contents of the model card from patient scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow.dataset as ds

from readmit_spark.config import Config
from readmit_spark.evaluation import pictures
from readmit_spark.evaluation.calibration import calibration
from readmit_spark.evaluation.card_page import Card, CardWindow
from readmit_spark.evaluation.decision_page import decision_picture, decision_rows
from readmit_spark.evaluation.evaluate import (
    at_both_prevalences,
    decision_curve_of,
    has_risks,
    is_all_cause,
)
from readmit_spark.evaluation.report_page import FlowStep
from readmit_spark.evaluation.subgroups import Group, by_subgroup, with_factors
from readmit_spark.notes.outcome import UNLABELLED
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.s3 import filesystem_of


def model_card(
    config: Config,
    prepared: Prepared,
    model: str,
    scored: Mapping[str, pd.DataFrame],
    split: str,
    facts: Mapping[str, str],
    unseen: bool,
    remarks: Sequence[str] = (),
    alerts: Mapping[str, Any] | None = None,
    doubts: Sequence[str] = (),
) -> Card:
    """Return the contents of the card of `model`.

    scored: window -> subject_id, hadm_id, score and label of the measured admissions of `split`,
    and risk, which the figures are of where all have one.
    facts: more lines of the card. unseen: True if the model was not trained on validation and test
    patients, False if that is unknown. remarks: see `Card`. alerts: window -> result of
    `frozen_alerts`; None where the thresholds were chosen on the measured admissions. doubts: about
    the model, see `evaluation.doubts`.
    """
    risks = all(map(has_risks, scored.values()))
    if risks:
        scored = {name: rows.assign(score=rows.risk) for name, rows in scored.items()}
    windows = with_factors(scored, read_prepared(prepared, "subgroups"))
    groups = by_subgroup(windows)
    return Card(
        model=model,
        listed="risk" if risks else "score",
        split=split,
        chosen_on=split == "validation",
        unseen=unseen,
        horizon_days=config.label.horizon_days,
        flow=_flow(prepared),
        windows=[
            replace(_window(name, rows, groups[name], config), alerts=(alerts or {}).get(name))
            for name, rows in windows.items()
        ],
        facts={
            "prepared": prepared.finished,
            "profile": config.profile,
            "split": f"by {config.split_level}, seed {config.split.seed}"
            if config.split.by == "patient"
            else f"by {config.split_name}",
            **facts,
        },
        remarks=remarks,
        doubts=doubts,
        all_cause=is_all_cause(prepared),
    )


def _window(name: str, rows: pd.DataFrame, groups: Sequence[Group], config: Config) -> CardWindow:
    scores, labels = rows.score.to_numpy(float), rows.label.to_numpy(int)
    curve = decision_curve_of(rows, config)
    return CardWindow(
        name=name,
        **at_both_prevalences(rows, config),
        groups=groups,
        calibration=calibration(scores, labels),
        picture=pictures.calibration(scores, labels, title=f"Calibration, {name}"),
        decision=decision_rows(curve),
        decision_picture=decision_picture({"the score": curve}, title=f"Net benefit, {name}"),
    )


def _flow(prepared: Prepared) -> list[FlowStep]:
    """Count the admissions in the input, in the cohort, and on each side of the split."""
    cohort = read_prepared(prepared, "cohort")
    reasons = Counter(read_prepared(prepared, "exclusions").reason)
    left_out = sorted(reasons.items())
    if duplicates := prepared.admissions["duplicate_rows"]:
        left_out.insert(0, ("identical_duplicate", duplicates))
    sides = cohort.split.value_counts()
    unlabelled = {k: prepared.outcomes.get(k, 0) for k in UNLABELLED if k != "no_discharge"}
    unknown = int(cohort.label.isna().sum()) - sum(unlabelled.values())
    return [
        FlowStep("admissions in the table", prepared.admissions["rows"], left_out),
        FlowStep(
            "in the cohort",
            len(cohort),
            [("without a known outcome", unknown), *((k, n) for k, n in unlabelled.items() if n)],
        ),
        *(FlowStep(f"on the {side} side", int(sides.get(side, 0)))
          for side in ("train", "validation", "test")),
    ]  # fmt: skip


def folds_of(prepared: Prepared) -> int:
    """Return the number of folds: five, or the sites of `split.by=site`."""
    return int(read_prepared(prepared, "cohort").fold.max()) + 1


def read_prepared(prepared: Prepared, table: str) -> pd.DataFrame:
    """Read a table without Spark, because fine-tuning has stopped it."""
    filesystem, path = filesystem_of(prepared.path)
    return ds.dataset(f"{path}/{table}", filesystem=filesystem, format="parquet").to_table(
        ).to_pandas()  # fmt: skip
