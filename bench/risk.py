"""Measure whether risks and told precisions hold on patients of the demo hospital.

    python jobs/demo_data.py --config conf/demo.yaml --set demo.patients=8000
    python jobs/prepare.py --config conf/demo.yaml
    python bench/risk.py --root output/demo     2 minutes

Claims: on each of the first midnights, observed over expected, calibration slope and Brier score of
the risks on the test patients, beside those of the scores; and whether the precision told on
validation lies within the 95 % interval of what the test patients reach. Both also for a training
without snapshots whose 3-day fit is used for every midnight.

The model is a logistic regression on TF-IDF of words and word pairs, balanced like the program's
training, so that 8,000 patients take minutes without a GPU. Vote, risks, thresholds and figures are
the program's own.

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
import pyarrow.dataset as ds
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import describe, use_cores
from bench.common.results import write_result
from readmit_spark.evaluation.calibration import calibration_measures
from readmit_spark.evaluation.frozen_alerts import frozen_alerts
from readmit_spark.evaluation.risk_curve import fit_risk_curve
from readmit_spark.evaluation.thresholds import operating_points
from readmit_spark.evaluation.vote import vote_score
from readmit_spark.training.shards import ChunkIndex, Part, admissions_of, read_part

WINDOWS = ("1days", "2days", "3days")
C = 2.0  # of the vote
REPLICATES = 1000
SEED = 7


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="output.root of the prepared hospital")
    given = parser.parse_args(argv)
    use_cores(2)
    manifest = json.loads((Path(given.root) / "_manifests" / "prepare.json").read_text())
    folder = str(Path(given.root) / manifest["run"])
    texts = _texts(folder)
    figures = {
        "train_admissions": len(admissions_of(folder, "train", None)),
        "snapshots": _measure(folder, texts, WINDOWS, dict(zip(WINDOWS, WINDOWS, strict=True))),
        "one window": _measure(folder, texts, WINDOWS[-1:], dict.fromkeys(WINDOWS, WINDOWS[-1])),
    }
    for name in ("snapshots", "one window"):
        for window, found in figures[name].items():
            print(name, window, _line(found))
    print(write_result("risk", describe(), figures, full=figures["train_admissions"] > 10_000))
    return 0


def _texts(folder: str) -> dict[tuple[int, int, int], str]:
    """Return (hadm_id, days, chunk_index) -> text."""
    columns = ["window", "hadm_id", "chunk_index", "text"]
    rows = ds.dataset(f"{folder}/chunks", format="parquet", partitioning="hive").to_table(columns)
    frame = rows.to_pandas()
    days = frame.window.astype(str).str.removesuffix("days").astype(int)
    return dict(
        zip(zip(frame.hadm_id, days, frame.chunk_index, strict=True), frame.text, strict=True)
    )


def _texts_of(index: ChunkIndex, texts: dict[tuple[int, int, int], str]) -> list[str]:
    return [
        texts[key]
        for key in zip(
            index.hadm_ids.tolist(), index.days.tolist(), index.chunk_indexes.tolist(), strict=True
        )
    ]


def _measure(
    folder: str,
    texts: dict[tuple[int, int, int], str],
    trained: tuple[str, ...],
    fit_of: dict[str, str],
) -> dict[str, Any]:
    """Train on the windows `trained`. Measure each window on test with the validation fit of the
    window in `fit_of`."""
    train = read_part(folder, "train", None, trained).balanced_sample(SEED)
    vectors = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1000)
    model.fit(vectors.fit_transform(_texts_of(train, texts)), train.labels)

    def patients(part: Part, window: str) -> pd.DataFrame:
        """Score everybody in the house at the midnight that ends the window."""
        index = read_part(folder, part, None, [window])
        index = index.take(np.isin(index.hadm_ids, admissions_of(folder, part, None, window)))
        chunks = pd.DataFrame(
            {
                "hadm_id": index.hadm_ids, "subject_id": index.subject_ids, "label": index.labels,
                "p": model.predict_proba(vectors.transform(_texts_of(index, texts)))[:, 1],
            }
        )  # fmt: skip
        return chunks.groupby("hadm_id").agg(
            subject_id=("subject_id", "first"),
            label=("label", "first"),
            score=("p", lambda p: vote_score(p.tolist(), C)),
        )

    validation = {window: patients("validation", window) for window in set(fit_of.values())}
    return {
        window: _figures(validation[fit], patients("test", window))
        for window, fit in fit_of.items()
    }


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
