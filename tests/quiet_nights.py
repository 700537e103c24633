"""The input of the monitor for nights of the demo hospital, without running the nights.

Stays, notes and outcomes are the demo's. Scores are the true risks with random noise. Token counts
follow from the words of the notes; a few tokens are lost or unknown at random.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd

from readmit_spark.demo.hospital import Hospital, make_hospital

FIRST = datetime(2101, 7, 1, 2)  # by then the number of patients in the house is constant
DAYS = 330


@lru_cache(maxsize=1)
def hospital() -> Hospital:
    return make_hospital(7000, 11, DAYS)


def night_times(n: int) -> list[datetime]:
    return [FIRST + timedelta(days=i) for i in range(n)]


def quiet_nights(n: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two tables as the monitor reads them.

    They hold the new stays of `n` nights, and the stays whose outcome is settled by the last night.
    """
    demo = hospital()
    rng = np.random.default_rng(seed)
    admissions = demo.admissions[demo.admissions.ADMISSION_TYPE != "NEWBORN"].copy()
    # The first two o'clock after the admission.
    admissions["night"] = (admissions.ADMITTIME - timedelta(hours=2)).dt.floor("D") + timedelta(
        days=1, hours=2
    )
    leaves = admissions.DISCHTIME.fillna(pd.Timestamp("2200-01-01"))
    times = night_times(n)
    house = admissions[(leaves > admissions.night) & admissions.night.between(times[0], times[-1])]
    stays = pd.merge(house, demo.truth[["HADM_ID", "RISK"]], on="HADM_ID", how="left")
    notes = pd.merge(demo.notes, stays[["HADM_ID", "night"]], on="HADM_ID")
    written = notes.STORETIME.fillna(notes.CHARTDATE + timedelta(days=1))
    notes = notes[(written <= notes.night) & (notes.ISERROR.fillna(0).astype(int) != 1)]
    notes = notes[notes.CATEGORY != "Discharge summary"].assign(
        words=lambda t: t.TEXT.str.split().str.len(), category=lambda t: t.CATEGORY.str.strip()
    )
    by_stay = notes.groupby("HADM_ID").agg(
        n_notes=("TEXT", "size"),
        words=("words", "sum"),
        categories=("category", lambda c: " + ".join(sorted(set(c)))),
    )
    stays = pd.merge(stays, by_stay.reset_index(), on="HADM_ID", how="left")
    stays = stays.fillna({"n_notes": 0, "categories": "", "words": 0})
    logit = np.log(stays.RISK / (1 - stays.RISK))
    score = 1 / (1 + np.exp(-(0.5 * logit + 0.8 + rng.normal(0, 0.6, len(stays)))))
    scored = stays.words > 10
    tokens = (1.5 * stays.words).round()
    lost = np.where(rng.random(len(stays)) < 0.03, 0.1 * tokens, 0).round()
    frame = pd.DataFrame(
        {
            "night": stays.night,
            "hadm_id": stays.HADM_ID,
            "score": score.where(scored),
            "n_notes": stays.n_notes,
            "categories": stays.categories,
            "n_tokens": tokens.where(scored),
            "n_tokens_cut": pd.Series(lost, stays.index).where(scored),
            "n_unknown": pd.Series(rng.binomial(tokens.astype(int), 0.003)).where(scored),
        }
    )
    return frame, _outcomes(stays, frame, times[-1])


def _outcomes(stays: pd.DataFrame, frame: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    unplanned = hospital().admissions.query("ADMISSION_TYPE != 'ELECTIVE'")
    pairs = pd.merge(
        stays[["SUBJECT_ID", "HADM_ID", "ADMITTIME", "DISCHTIME"]],
        unplanned[["SUBJECT_ID", "ADMITTIME"]], on="SUBJECT_ID", suffixes=("", "_NEXT"),
    )  # fmt: skip
    back = pairs[
        (pairs.ADMITTIME_NEXT > pairs.ADMITTIME)
        & ((pairs.ADMITTIME_NEXT - pairs.DISCHTIME).dt.days < 30)
    ]
    outcomes = pd.DataFrame(
        {
            "score": frame.score,
            "risk": float("nan"),
            "alerted": frame.score > 0.6,
            "label": stays.HADM_ID.isin(back.HADM_ID).astype(int),
            "dischtime": stays.DISCHTIME,
        }
    )
    alive = stays.DEATHTIME.isna() & (stays.DISCHTIME + timedelta(days=30) <= as_of)
    return outcomes[alive & frame.score.notna()].reset_index(drop=True)
