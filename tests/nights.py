"""Synthetic nights of any size, equal for equal seeds."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

from readmit_spark.evaluation.thresholds import Threshold
from readmit_spark.nightly.worklist_types import (
    Alert,
    Driver,
    Effect,
    Left,
    NewNote,
    Passage,
    Patient,
    Worklist,
)

AS_OF = datetime(2026, 11, 22, 2, 0)
CATEGORIES = ("Nursing", "Physician ", "Radiology", "Nursing/other", "Respiratory ", "ECG")
THRESHOLD = 0.6
# 308 alerts among 4,312 admissions, of which 6.5 % were readmitted.
MEASURED = Threshold(THRESHOLD, 0.22, 0.18, 0.27, 0.22 * (308 / 4312) / 0.065, 308 / 4312, 4312)


def night(n: int = 40, *, seed: int = 0, **changed: Any) -> Worklist:
    """Make a night of `n` patients; scores of 0.6 or more are alerted."""
    random_ = random.Random(seed)
    made = sorted((_patient(random_, i) for i in range(n)), key=lambda p: -p["score"])
    patients = tuple(
        Patient(rank=rank, alert=p["score"] >= THRESHOLD, **p) for rank, p in enumerate(made, 1)
    )
    left = [("discharged", 0.412), ("discharged", 0.655), ("died", 0.581)] if n else []
    values: dict[str, Any] = {
        "as_of": AS_OF,
        "previous": AS_OF - timedelta(days=1),
        "window": "3days",
        "model": "models:/readmission@champion, version 3",
        "patients": patients,
        "left": [Left(90_001 + i, 190_001 + i, s, why) for i, (why, s) in enumerate(left)],
        "unscored": {"no_notes_yet": 6, "too_few_words": 3} if n else {},
        "alert": alert(tonight=sum(p.alert for p in patients)),
        "outcomes": {
            "n": 1840,
            "readmitted": 131,
            "auroc": {"value": 0.742, "low": 0.701, "high": 0.781},
            "alert_precision": {"value": 0.204, "low": 0.151, "high": 0.262, "n": 211},
            "from": "2026-08-01",
            "to": "2026-10-22",
        },
        "facts": {"profile": "default", "code": "4f2a91c", "input fingerprint": "9b1deb4d3b7d"},
        "seconds": {"cohort": 6.1, "prepare": 11.4, "score": 19.8, "publish": 3.2},
    }
    return Worklist(**values | changed)


def alert(**changed: Any) -> Alert:
    threshold = changed.get("threshold", THRESHOLD)
    values: dict[str, Any] = {
        "rule": "precision",
        "value": 0.2,
        "threshold": threshold,
        "tonight": 0,
        "expected_a_night": 14.6,
        "effects": [Effect("", threshold, MEASURED)],
        "note": "",
    }
    return Alert(**values | changed)


def _patient(random_: random.Random, i: int) -> dict[str, Any]:
    day = 1 + min(int(random_.expovariate(1 / 5)), 40)
    scores = [min(max(random_.betavariate(2, 4), 0.01), 0.99)]
    while len(scores) < day:
        step = random_.gauss(0, 0.07) if random_.random() < 0.5 else 0.0
        scores.append(min(max(scores[-1] + step, 0.01), 0.99))
    previous = scores[-2] if day > 1 else None
    moved = 0.0 if previous is None else scores[-1] - previous
    change = "new" if previous is None else "risen" if moved > 0 else "fallen" if moved else "same"
    return {
        "subject_id": 10_000 + 17 * i,
        "hadm_id": 150_000 + 31 * i,
        "day_of_stay": day,
        "n_notes": 3 + day,
        "n_chunks": 2 * day + 1,
        "score": scores[-1],
        "previous_score": previous,
        "change": change,
        "history": [(AS_OF - timedelta(days=day - 1 - k), s) for k, s in enumerate(scores)],
        "drivers": [_driver(random_, k, share) for k, share in enumerate((0.48, 0.11, 0.07))],
        "new_notes": [
            NewNote(600_000 + 10 * i + k, random_.choice(CATEGORIES), AS_OF - timedelta(hours=k))
            for k in range(0 if change in ("same", "new") else random_.randint(1, 3))
        ],
    }


def _driver(random_: random.Random, index: int, share: float) -> Driver:
    passages = []
    for _ in range(random_.randint(1, 2)):
        start = random_.randrange(0, 4000)
        row_id, category = random_.randrange(300_000, 700_000), random_.choice(CATEGORIES)
        passages.append(Passage(row_id, category, start, start + random_.randrange(200, 1900)))
    share *= random_.uniform(0.8, 1.2)
    return Driver(index, random_.uniform(0.3, 0.98), share, passages)
