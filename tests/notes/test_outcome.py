"""Labels and why a stay has none: literal stays, and a slow program for stays at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.notes.cohort import label_admissions
from readmit_spark.notes.outcome import end_of_follow_up, outcome_counts

pytestmark = pytest.mark.spark4


class Stay(NamedTuple):
    subject_id: int
    hadm_id: int
    admittime: datetime | None
    dischtime: datetime | None
    deathtime: datetime | None
    admission_type: str | None
    planned: str | None = None
    newborn: str | None = None
    stay: str | None = None
    discharge_to: str | None = None
    died: date | None = None


STAY = (
    "subject_id long, hadm_id long, admittime timestamp, dischtime timestamp, "
    "deathtime timestamp, admission_type string, planned string, newborn string, stay string, "
    "discharge_to string, died date"
)


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2020, month, day, hour)


# Each subject has one trap.
STAYS = [Stay(*row) for row in [
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
]]  # fmt: skip
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
    frame, config = labelled(spark, STAYS, DAYS_OF_DEATH, "label.known_until=auto")
    row = frame.agg(*outcome_counts(config)).first()
    assert row is not None
    assert row.asDict() == {
        "no_discharge": 1,
        "follow_up_incomplete": 1,
        "died_within_horizon": 3,
        "readmitted_at_once": 0,
        "readmitted_within_1_day": 2,  # 51 and 61
        "readmitted_within_7_days": 0,
        "discharged_acute": 0, "discharged_against_advice": 0, "discharged_hospice": 0,
        "plan_unknown": 0,
    }  # fmt: skip


# Each subject has one trap of the optional columns.
FACTS = [
    Stay(1, 11, at(1, 1), at(1, 5), None, "URGENT", discharge_to="hospice"),
    Stay(1, 12, at(1, 9), at(1, 12), None, "URGENT", planned="yes"),  # whatever its type
    Stay(2, 21, at(1, 1), at(1, 5), None, "URGENT", discharge_to="acute"),
    Stay(2, 22, at(1, 9), at(1, 12), None, "ELECTIVE", planned="no"),
    Stay(3, 31, at(1, 1), at(1, 5), None, "ELECTIVE", discharge_to="against_advice"),
    Stay(3, 32, at(1, 9), at(1, 12), None, "ELECTIVE", planned="unknown"),
    Stay(4, 41, at(1, 1), at(1, 5), None, "URGENT", discharge_to="home"),
    Stay(4, 42, at(1, 6), at(1, 7), None, "URGENT", stay="observation"),
    Stay(5, 51, at(1, 1), at(1, 5), None, None, newborn="yes"),
    Stay(6, 61, at(1, 1), at(1, 5), None, "NEWBORN", newborn="no"),
    Stay(7, 71, at(1, 1), at(1, 5), None, "URGENT", died=date(2020, 1, 20)),
    Stay(8, 81, at(1, 1), at(1, 5), None, None, stay="inpatient"),
    # A transfer by way of an observation stay: one episode, left for a hospice.
    Stay(9, 91, at(1, 1), at(1, 5), None, "URGENT"),
    Stay(9, 92, at(1, 5), at(1, 5), None, "URGENT", stay="observation"),
    Stay(9, 93, at(1, 5, 14), at(1, 9), None, "URGENT", discharge_to="hospice"),
]


def test_what_a_table_says_of_a_stay_decides_before_its_type(spark: SparkSession) -> None:
    expected = {
        11: 0, 12: 0, 21: 1, 22: 0, 31: 1, 32: 0, 41: 0, 61: 0, 71: DIED, 81: 0, 91: 1, 93: 0
    }  # fmt: skip
    frame, config = labelled(spark, FACTS, {})
    assert results(frame) == expected
    left_out = {
        row.hadm_id: row.exclusion for row in frame.where("exclusion IS NOT NULL").collect()
    }
    assert left_out == {42: "observation", 51: "newborn", 92: "observation"}
    counts = frame.agg(*outcome_counts(config)).first()
    assert counts is not None and counts["plan_unknown"] == 2  # 32 and 81

    left = ["label.leave_out=[acute, hospice]"]
    gone = {11: "discharged_hospice", 21: "discharged_acute", 93: "discharged_hospice"}
    frame, config = labelled(spark, FACTS, {}, *left)
    assert results(frame) == {**expected, **gone}
    counts = frame.agg(*outcome_counts(config)).first()
    assert counts is not None
    assert (counts["discharged_acute"], counts["discharged_hospice"]) == (1, 2)

    episodes = {**gone, 91: "discharged_hospice"}
    frame, _ = labelled(spark, FACTS, {}, *left, "label.join_hours=4")
    assert results(frame) == {**expected, **episodes}
    frame, _ = labelled(spark, FACTS, {}, "label.observation=include")
    assert results(frame) == {**expected, 41: 1, 42: 0, 92: 1}


def brute_force(
    stays: Sequence[Stay], deaths: dict[int, date], config: Config, last: datetime
) -> dict[int, Any]:
    """Return HADM_ID -> label or reason of stays in the cohort, from docs/method.md alone."""
    include = config.label.observation == "include"
    horizon = timedelta(days=config.label.horizon_days)
    joined = timedelta(hours=config.label.join_hours)
    found: dict[int, Any] = {}
    for subject in {stay[0] for stay in stays}:
        every = sorted((s for s in stays if s[0] == subject), key=lambda s: (s[2], s[1]))
        days = [d for d in (deaths.get(subject), *(s.died for s in every)) if d]
        watched = [s for s in every if s.stay == "observation" and not include]
        own = [s for s in every if s not in watched]
        died = [s[4] if s[4] and s[3] and s[4] <= s[3] else None for s in own]
        dod = min(days, default=None)
        late = [
            any(d and d < s[2] for d in died[:i]) or bool(dod and s[2].date() > dod)
            for i, s in enumerate(own)
        ]
        for i, stay in enumerate(own):
            if died[i] or late[i] or stay[3] < stay[2] or is_newborn(stay):
                continue
            k, end = i, max(s[3] for s in own[: i + 1])
            while k + 1 < len(own) and joined and not late[k + 1] and own[k + 1][2] - end <= joined:
                k += 1
                end = max(end, own[k][3])
            after = [
                s[2] for s, gone in zip(own[k + 1 :], late[k + 1 :], strict=True)
                if not is_planned(s) and not gone
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
            elif own[k].discharge_to in (config.label.leave_out or ()):
                found[stay[1]] = f"discharged_{own[k].discharge_to}"
            elif dead and not readmitted and config.label_death == "exclude":
                found[stay[1]] = DIED
            else:
                found[stay[1]] = int(readmitted or (dead and config.label_death == "event"))
    return found


def is_planned(stay: Stay) -> bool:
    return stay.planned == "yes" if stay.planned else stay.admission_type == "ELECTIVE"


def is_newborn(stay: Stay) -> bool:
    return stay.newborn == "yes" if stay.newborn else stay.admission_type == "NEWBORN"


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
            kind = chance.choice(["URGENT", "EMERGENCY", "ELECTIVE", None, "NEWBORN"])
            facts = (
                chance.choice([None, None, "yes", "no", "unknown"]),
                chance.choice([None, None, None, "yes", "no"]),
                chance.choice([None, None, None, "inpatient", "observation"]) if not died else None,
                chance.choice([None, "home", "acute", "hospice", "against_advice"]),
                end.date() + timedelta(days=20) if chance.random() < 0.05 else None,
            )
            stays.append(Stay(subject, subject * 10 + number, time, end, died, kind, *facts))
            time = end + timedelta(hours=chance.choice([-5, 0, 1, 20, 24, 30, 400, 720, 900]))
        if chance.random() < 0.3:
            deaths[subject] = (end + timedelta(days=chance.randrange(-2, 40))).date()
    overrides = [
        f"label.join_hours={join}",
        f"label.death={death}",
        "label.known_until=auto",
        f"label.observation={'include' if death == 'event' else 'exclude'}",
        "label.leave_out=[acute, hospice]",
    ]
    frame, config = labelled(spark, stays, deaths, *overrides)
    last = max(t for s in stays for t in s[2:4] if t)
    expected = brute_force(stays, deaths, config, last)
    assert results(frame) == expected
    assert len(set(expected.values())) >= 3
