"""What follows a stay: the next unplanned admission, the label, or why a stay has no label."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.notes.note_rule import timestamp
from readmit_spark.notes.stay_kinds import is_no_admission, is_planned, plan_is_unknown

DAY = 86_400_000_000  # microseconds
HOUR = DAY // 24
# Why a stay has no label; the first that applies.
_LEFT = {name: f"discharged_{name}" for name in ("acute", "against_advice", "hospice")}
UNLABELLED = ("no_discharge", "follow_up_incomplete", *_LEFT.values(), "died_within_horizon")


def with_outcomes(stays: DataFrame, config: Config, known_until: datetime | None) -> DataFrame:
    """Add next_admittime, days_next_admit, label and unlabelled.

    stays: all admissions, with after_death (whether the stay begins after the subject's death),
    died (the time of a death in this stay) and dod (the day of death, or null).
    next_admittime: the subject's first later admission, by ADMITTIME, then HADM_ID, that is neither
    planned, nor for observation (`label.observation`), nor after the subject's death. label: 1 if
    it starts less than `label.horizon_days` after the end of the episode, also if the two overlap;
    else 0. unlabelled: why label is null (docs/tables.md), or null.

    known_until: the moment up to which admissions are in the tables; None: for ever.
    """
    # An admission without ADMITTIME has no place in the order, so it is never the next one.
    counts = ~is_planned(config) & ~is_no_admission(config) & ~F.col("after_death")
    possible = F.when(counts, F.col("admittime"))
    followed = stays.withColumn(
        "next_admittime", F.last(possible, ignorenulls=True).over(_later_stays())
    ).withColumn("death", _death())
    return (
        _with_episode_end(followed, config)
        .withColumn("days_next_admit", days_between("episode_end", "next_admittime"))
        .withColumn("unlabelled", _unlabelled(config, known_until))
        .withColumn("label", F.when(F.col("unlabelled").isNull(), _label(config)).cast("int"))
        .drop("episode_end", "episode_discharge_to", "death")
    )


def outcome_counts(config: Config) -> list[Column]:
    """Return aggregates of labelled stays, excluded ones apart: the numbers of stays without a
    label, by reason, of readmissions, by the days before them, and of stays of which nobody says
    whether they were planned."""
    kept = F.col("exclusion").isNull()
    days, readmitted = F.col("days_next_admit"), kept & (F.col("label") == 1)
    conditions = {reason: kept & (F.col("unlabelled") == reason) for reason in UNLABELLED} | {
        "readmitted_at_once": readmitted & (days <= 0),
        "readmitted_within_1_day": readmitted & (days > 0) & (days < 1),
        "readmitted_within_7_days": readmitted & (days >= 1) & (days < 7),
        "plan_unknown": kept & plan_is_unknown(config),
    }
    return [F.count(F.when(condition, 1)).alias(name) for name, condition in conditions.items()]


def end_of_follow_up(stays: DataFrame, config: Config) -> datetime | None:
    """Return the moment up to which admissions are known, as `label.known_until` says."""
    known_until = config.label.known_until
    if known_until is None:
        return None
    if known_until != "auto":
        return datetime.combine(date.fromisoformat(known_until) + timedelta(days=1), time())
    return last_event(stays)


def last_event(stays: DataFrame) -> datetime | None:
    """Return the last ADMITTIME or DISCHTIME, or None if there is none."""
    # Collected as text: pyspark would convert a time to the local time zone.
    last = stays.agg(F.max(F.greatest("admittime", "dischtime")).cast("string")).first()
    return datetime.fromisoformat(last[0]) if last and last[0] else None


def _with_episode_end(stays: DataFrame, config: Config) -> DataFrame:
    """Add episode_end and episode_discharge_to; give each stay the next admission after the last
    stay of its episode.

    A stay belongs to the episode before it if it begins at most `join_hours` after the end of that.
    0: each stay is an episode. Stays that are no admission belong to no episode of others.
    """
    join_hours = config.label.join_hours
    if join_hours == 0:
        return stays.withColumns(
            {"episode_end": F.col("dischtime"), "episode_discharge_to": F.col("discharge_to")}
        )
    of_subject = ("subject_id", "no_admission")
    stays = stays.withColumn("no_admission", is_no_admission(config))
    in_order = Window.partitionBy(*of_subject).orderBy("admittime", "hadm_id")
    end_before = F.max("dischtime").over(in_order.rowsBetween(Window.unboundedPreceding, -1))
    gap = F.unix_micros("admittime") - F.unix_micros(end_before)
    joined = F.coalesce(gap <= int(join_hours * HOUR), F.lit(False)) & ~F.col("after_death")
    number = F.sum((~joined).cast("int")).over(in_order)
    episode = (
        Window.partitionBy(*of_subject, "episode")
        .orderBy("admittime", "hadm_id")
        .rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    )
    return (
        stays.withColumn("episode", number)
        .withColumn("episode_end", F.last("dischtime").over(episode))
        .withColumn("episode_discharge_to", F.last("discharge_to").over(episode))
        .withColumn("next_admittime", F.last("next_admittime").over(episode))
        .drop("episode", "no_admission")
    )


def _later_stays() -> WindowSpec:
    """Return the subject's later stays, by ADMITTIME, then HADM_ID; the last one comes first."""
    return (
        Window.partitionBy("subject_id")
        .orderBy(F.col("admittime").desc(), F.col("hadm_id").desc())
        .rowsBetween(Window.unboundedPreceding, -1)
    )


def _death() -> Column:
    """Return the subject's first known death outside this stay, on the day of discharge or later:
    in a later stay, by a DEATHTIME after this stay, or by the day of death (from its midnight)."""
    discharged = F.to_date("dischtime")
    in_later_stay = F.min("died").over(_later_stays())
    after_this_stay = F.when(F.col("deathtime") > F.col("dischtime"), F.col("deathtime"))
    by_day = F.when(F.col("dod") >= discharged, F.col("dod").cast("timestamp"))
    return F.least(
        F.when(F.to_date(in_later_stay) >= discharged, in_later_stay), after_this_stay, by_day
    )


def _label(config: Config) -> Column:
    positive = F.coalesce(F.col("days_next_admit") < config.label.horizon_days, F.lit(False))
    if config.label_death == "event":
        positive = positive | _died_within(config)
    return F.when(positive, 1).otherwise(0)


def _unlabelled(config: Config, known_until: datetime | None) -> Column:
    reason = F.when(F.lit(False), "")
    if config.profile == "default":
        reason = reason.when(F.col("dischtime").isNull(), "no_discharge")
    if known_until is not None:
        left = days_between("episode_end", timestamp(known_until))
        reason = reason.when(left < config.label.horizon_days, "follow_up_incomplete")
    for discharge in config.label.leave_out or ():
        reason = reason.when(F.col("episode_discharge_to") == discharge, _LEFT[discharge])
    if config.label_death == "exclude":
        died_first = _died_within(config) & (_label(config) == 0)
        reason = reason.when(died_first, "died_within_horizon")
    return reason


def _died_within(config: Config) -> Column:
    return F.coalesce(
        days_between("episode_end", "death") < config.label.horizon_days, F.lit(False)
    )


def days_between(start: Column | str, end: Column | str) -> Column:
    """Return the days from `start` to `end`."""
    # Subtract whole microseconds: in seconds as floats, exactly 30 days can come out as slightly
    # less, which changes the label.
    return (F.unix_micros(end) - F.unix_micros(start)) / DAY
