"""Labels and why a stay has none: literal stays, and a slow program for stays at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.notes.outcome import end_of_follow_up, outcome_counts

pytestmark = pytest.mark.spark4

Stay = tuple[int, int, datetime | None, datetime | None, datetime | None, str]
STAY = (
    "subject_id long, hadm_id long, admittime timestamp, dischtime timestamp, "
    "deathtime timestamp, admission_type string"
)


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2020, month, day, hour)


# Each subject has one trap.
STAYS: list[Stay] = [
    (1, 11, at(1, 1), at(1, 5), None, "URGENT"),  # back after 10 days
    (1, 12, at(1, 15), at(1, 20), None, "URGENT"),  # DOD ten days later
    (2, 21, at(1, 1), at(1, 5), at(1, 9), "URGENT"),  # DEATHTIME after DISCHTIME
    (3, 31, at(1, 1), at(1, 5), None, "URGENT"),  # died in a planned stay
    (3, 32, at(1, 20), at(1, 25), at(1, 25), "ELECTIVE"),
    (4, 41, at(1, 1), at(1, 5), None, "URGENT"),  # DOD begins 30.5 days later
    (5, 51, at(1, 1), at(1, 5), None, "URGENT"),  # transferred an hour later; back in February
    (5, 52, at(1, 5, 13), at(1, 9), None, "EMERGENCY"),
    (5, 53, at(2, 1), at(2, 3), None, "EMERGENCY"),
    (6, 61, at(1, 1), at(1, 5), None, "URGENT"),  # transferred, and died there
    (6, 62, at(1, 5, 13), at(1, 7), at(1, 7), "EMERGENCY"),
    (7, 71, at(1, 1), None, None, "URGENT"),
    (8, 81, at(3, 1), at(3, 31), None, "URGENT"),  # the last event
]
DAYS_OF_DEATH = {1: date(2020, 1, 30), 4: date(2020, 2, 5), 2: date(2020, 1, 9)}
NO_DISCHARGE, DIED, OPEN = "no_discharge", "died_within_horizon", "follow_up_incomplete"


def labelled(
    spark: SparkSession, stays: Sequence[Stay], deaths: dict[int, date], *overrides: str
) -> tuple[DataFrame, Config]:
    config = load_config(overrides=overrides)
    rows = spark.createDataFrame(list(stays), STAY)
    read = rows.withColumn("unread", F.struct(F.lit(False).alias("deathtime")))
    patients = spark.createDataFrame(list(deaths.items()), "subject_id long, dod date")
    return label_admissions(read, config, patients, end_of_follow_up(read, config)), config


def results(frame: DataFrame) -> dict[int, Any]:
    """Return HADM_ID -> the label, or the reason why there is none, of stays in the cohort."""
    kept = frame.where("exclusion IS NULL").collect()
    assert all((row.label is None) == (row.unlabelled is not None) for row in kept)
    return {row.hadm_id: row.unlabelled or row.label for row in kept}


DEFAULT = {
    11: 1, 12: DIED, 21: DIED, 31: DIED, 41: 0, 51: 1, 52: 1, 53: 0, 61: 1,
    71: NO_DISCHARGE, 81: 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        ([], {}),
        (["label.death=negative"], {12: 0, 21: 0, 31: 0}),
        (["label.death=event"], {12: 1, 21: 1, 31: 1}),
        (["label.horizon_days=31"], {41: DIED}),
        # The last event is the discharge of 81, on 31 March: stays that end in March are open.
        (["label.known_until=auto"], {81: OPEN}),
        (["label.known_until=2020-03-01"], {53: OPEN, 81: OPEN}),
        # A readmission before the data end does not make the follow-up complete.
        (["label.known_until=2020-01-31"],
         {11: OPEN, 12: OPEN, 21: OPEN, 31: OPEN, 41: OPEN, 51: OPEN, 52: OPEN, 53: OPEN,
          61: OPEN, 81: OPEN}),
        # 51 and 52 are one episode, readmitted in February. 61 died in the stay that it joined.
        (["label.join_hours=2"], {61: DIED}),
        (["label.join_hours=2", "label.horizon_days=20"],
         {31: 0, 51: 0, 52: 0, 61: DIED}),
        # 31: died exactly 20 days after the discharge.
        (["label.horizon_days=20"], {31: 0, 52: 0}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_labels_and_reasons_for_none(
    spark: SparkSession, overrides: list[str], changed: dict[int, Any]
) -> None:
    frame, _ = labelled(spark, STAYS, DAYS_OF_DEATH, *overrides)
    assert results(frame) == DEFAULT | changed


def test_the_paper_profile_knows_no_death_after_discharge(spark: SparkSession) -> None:
    # 21: its DEATHTIME alone makes it a death in hospital there.
    frame, _ = labelled(spark, STAYS, DAYS_OF_DEATH, "profile=paper")
    paper = {**DEFAULT, 12: 0, 31: 0, 71: 0}
    del paper[21]
    assert results(frame) == paper


def test_stays_and_early_readmissions_are_counted(spark: SparkSession) -> None:
    frame, _ = labelled(spark, STAYS, DAYS_OF_DEATH, "label.known_until=auto")
    row = frame.agg(*outcome_counts()).first()
    assert row is not None
    assert row.asDict() == {
        "no_discharge": 1,
        "follow_up_incomplete": 1,
        "died_within_horizon": 3,
        "readmitted_at_once": 0,
        "readmitted_within_1_day": 2,  # 51 and 61
        "readmitted_within_7_days": 0,
    }


def brute_force(
    stays: Sequence[Stay], deaths: dict[int, date], config: Config, last: datetime
) -> dict[int, Any]:
    """Return HADM_ID -> label or reason of stays in the cohort, from docs/method.md alone."""
    horizon = timedelta(days=config.label.horizon_days)
    joined = timedelta(hours=config.label.join_hours)
    found: dict[int, Any] = {}
    for subject in {stay[0] for stay in stays}:
        own = sorted((s for s in stays if s[0] == subject), key=lambda s: (s[2], s[1]))
        died = [s[4] if s[4] and s[3] and s[4] <= s[3] else None for s in own]
        dod = deaths.get(subject)
        late = [
            any(d and d < s[2] for d in died[:i]) or bool(dod and s[2].date() > dod)
            for i, s in enumerate(own)
        ]
        for i, stay in enumerate(own):
            if died[i] or late[i] or stay[3] < stay[2]:
                continue
            k, end = i, max(s[3] for s in own[: i + 1])
            while k + 1 < len(own) and joined and not late[k + 1] and own[k + 1][2] - end <= joined:
                k += 1
                end = max(end, own[k][3])
            after = [
                s[2] for s, gone in zip(own[k + 1 :], late[k + 1 :], strict=True)
                if s[5] != "ELECTIVE" and not gone
            ]  # fmt: skip
            end = own[k][3]
            readmitted = bool(after) and after[0] - end < horizon
            later_deaths = [d for d in died[i + 1 :] if d]
            candidates = later_deaths[:]
            if stay[4] and stay[4] > stay[3]:
                candidates.append(stay[4])
            if dod:
                candidates.append(datetime(dod.year, dod.month, dod.day))
            dead = any(d.date() >= stay[3].date() and d - end < horizon for d in candidates)
            if last - end < horizon:
                found[stay[1]] = OPEN
            elif dead and not readmitted and config.label_death == "exclude":
                found[stay[1]] = DIED
            else:
                found[stay[1]] = int(readmitted or (dead and config.label_death == "event"))
    return found


@pytest.mark.parametrize("join", [0, 24], ids=["each stay", "episodes"])
@pytest.mark.parametrize("death", ["exclude", "negative", "event"])
def test_stays_at_random_have_the_labels_of_a_slow_program(
    spark: SparkSession, join: int, death: str
) -> None:
    chance = random.Random(f"{join} {death}")
    stays: list[Stay] = []
    deaths: dict[int, date] = {}
    for subject in range(60):
        time = datetime(2020, 1, 1) + timedelta(hours=chance.randrange(2000))
        for number in range(chance.randrange(1, 6)):
            end = time + timedelta(hours=chance.randrange(1, 200))
            died = (
                end + timedelta(hours=chance.choice([0, 0, 90])) if chance.random() < 0.1 else None
            )
            kind = chance.choice(["URGENT", "EMERGENCY", "ELECTIVE"])
            stays.append((subject, subject * 10 + number, time, end, died, kind))
            time = end + timedelta(hours=chance.choice([-5, 0, 1, 20, 24, 30, 400, 720, 900]))
        if chance.random() < 0.3:
            deaths[subject] = (end + timedelta(days=chance.randrange(-2, 40))).date()
    overrides = [f"label.join_hours={join}", f"label.death={death}", "label.known_until=auto"]
    frame, config = labelled(spark, stays, deaths, *overrides)
    last = max(t for s in stays for t in s[2:4] if t)
    expected = brute_force(stays, deaths, config, last)
    assert results(frame) == expected
    assert len(set(expected.values())) >= 3
