"""Measure whether risks and told precisions hold on patients of the demo hospital.

    make demo                                   trains the model
    python jobs/demo_data.py --config conf/demo_risk.yaml
    python jobs/prepare.py --config conf/demo_risk.yaml
    python bench/risk.py --root output/demo_risk --model FOLDER     5 minutes on 2 cores

FOLDER is the model of `make demo`, in output/demo/mlartifacts. The second hospital has 4,000
patients that the model has not seen. The fits are made on its validation patients and measured on
its test patients, so that both have more than 100 readmissions on every day.

Claims: at each of the first midnights, observed over expected, calibration slope and Brier score of
the risks on the test patients, beside those of the scores; and whether the precision told on
validation lies within the 95 % interval of what the test patients reach. Both also where the fit of
3-day documents is used at every midnight.

Writes bench/results/risk.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import describe, use_cores
from bench.common.results import write_result
from readmit_spark.evaluation.calibration import calibration_measures
from readmit_spark.evaluation.frozen_alerts import frozen_alerts
from readmit_spark.evaluation.risk_curve import fit_risk_curve
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.training.shards import Part, admissions_of, read_index, read_tokens
from readmit_spark.training.validation_scores import ChunkScores

WINDOWS = ("1days", "2days", "3days")
C = 2.0  # of the vote
REPLICATES = 1000
SEED = 7


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="output.root of the prepared hospital")
    parser.add_argument("--model", required=True, help="folder of a model of other patients")
    given = parser.parse_args(argv)
    use_cores(2)
    manifest = json.loads((Path(given.root) / "_manifests" / "prepare.json").read_text())
    folder = str(Path(given.root) / manifest["run"])
    scorer = Scorer(given.model)
    validation = {window: _patients(scorer, folder, "validation", window) for window in WINDOWS}
    test = {window: _patients(scorer, folder, "test", window) for window in WINDOWS}
    last = WINDOWS[-1]
    figures = {
        "each day's fit": {w: _figures(validation[w], test[w]) for w in WINDOWS},
        "the fit of 3 days": {w: _figures(validation[last], test[w]) for w in WINDOWS},
    }
    for name, found in figures.items():
        for window in WINDOWS:
            print(name, window, _line(found[window]))
    print(write_result("risk", describe(), figures, full=len(test[last]) > 500))
    return 0


def _patients(scorer: Scorer, folder: str, part: Part, window: str) -> pd.DataFrame:
    """Score everybody of `part` in the house at the midnight that ends the window."""
    index = read_index(folder, window, admissions_of(folder, part, None, window))
    # In the order of length a batch pads least.
    index = index.take(np.argsort(-index.lengths, kind="stable"))
    probabilities = scorer.score(read_tokens(folder, [window], index))
    chunks = ChunkScores(index.subject_ids, index.hadm_ids, index.labels, probabilities)
    return chunks.vote(C).table()


def _figures(validation: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    known = (validation.score, validation.label, validation.subject_id)
    curve = fit_risk_curve(*known)
    assert curve is not None
    scores, labels = test.score.to_numpy(), test.label.to_numpy()
    risks = curve.risks(scores)
    return {
        "validation": [len(validation), int(validation.label.sum())],
        "test": [len(test), int(labels.sum())],
        "curve": [curve.method, curve.intercept, curve.slope],
        "score": _agreement(scores, test),
        "risk": _agreement(risks, test),
        "alerts": frozen_alerts(
            scores, labels, test.subject_id.to_numpy(), operating_points(*known),
            replicates=REPLICATES, seed=SEED,
        )["thresholds"],
    }  # fmt: skip


def _agreement(risks: np.ndarray, test: pd.DataFrame) -> dict[str, Any]:
    codes = np.unique(test.subject_id, return_inverse=True)[1]
    labels = test.label.to_numpy(float)
    return calibration_measures(risks, labels, codes) | {
        "brier": float(((risks - labels) ** 2).mean())
    }


def _line(found: dict[str, Any]) -> str:
    score, risk = found["score"], found["risk"]
    parts = [f"test {found['test'][1]} of {found['test'][0]} readmitted"]
    for name in ("observed_over_expected", "calibration_slope"):
        parts.append(f"{name} {score[name]['value']:.2f} -> {risk[name]['value']:.2f}")
    fall = risk["brier"] / score["brier"] - 1
    parts.append(f"brier {score['brier']:.3f} -> {risk['brier']:.3f} ({fall:+.0%})")
    for row in found["alerts"]:
        if row["threshold"] is not None and row["reached"]["precision"]["value"] is not None:
            told, reached = row["told"]["precision"]["value"], row["reached"]["precision"]
            inside = reached["low"] <= told <= reached["high"]
            parts.append(
                f"wanted {row['target']}: told {told:.2f}, reached {reached['value']:.2f} "
                f"({reached['low']:.2f} to {reached['high']:.2f}){'' if inside else ' OUTSIDE'}"
            )
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
