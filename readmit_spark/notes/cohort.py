"""Cohort: one row an admission, with its label, split and fold; and what was left out, and why."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError

DAY = 86_400_000_000  # microseconds
FOLDS = 5
TEST, VALIDATION = 0.1, 0.2  # upper ends of the hash's share


def distinct_admissions(admissions: DataFrame) -> DataFrame:
    """Identical rows once. UserError where a HADM_ID has rows that differ, naming some."""
    once = admissions.dropDuplicates()
    several = once.where(F.col("hadm_id").isNotNull()).groupBy("hadm_id").count().where("count > 1")
    clashes = [row.hadm_id for row in several.orderBy("hadm_id").limit(5).collect()]
    if clashes:
        raise UserError(
            f"data.admissions: HADM_ID {', '.join(map(str, clashes))} (and maybe more) has rows "
            "that differ; keep one row an admission"
        )
    return once


def label_admissions(admissions: DataFrame, config: Config) -> DataFrame:
    """All admissions with next_admittime, days_next_admit, label, duration_days and exclusion.

    The next unplanned admission is the subject's first later one (by ADMITTIME, then HADM_ID) that
    is not ELECTIVE; label = 1 where it comes less than `label.horizon_days` after DISCHTIME (an
    overlap is negative, so 1). Without a DISCHTIME the label is null (0 in the paper profile).
    `exclusion` is null for the admissions that stay.
    """
    later_first = (
        Window.partitionBy("subject_id")
        .orderBy(F.col("admittime").desc(), F.col("hadm_id").desc())
        .rowsBetween(Window.unboundedPreceding, -1)
    )
    unplanned = ~F.col("admission_type").eqNullSafe("ELECTIVE")
    # An admission without a time has no place in the order: it can be nobody's next.
    next_admittime = F.last(F.when(unplanned, F.col("admittime")), ignorenulls=True)
    days_next = _days("dischtime", "next_admittime")
    label = F.when(F.col("days_next_admit") < config.label.horizon_days, 1).otherwise(0)
    if config.profile == "default":
        label = F.when(F.col("dischtime").isNotNull(), label)
    return (
        admissions.withColumn("next_admittime", next_admittime.over(later_first))
        .withColumn("days_next_admit", days_next)
        .withColumn("label", label.cast("int"))
        .withColumn("duration_days", _days("admittime", "dischtime"))
        .withColumn("exclusion", _exclusion(config))
    )


def cohort_table(labelled: DataFrame, config: Config) -> DataFrame:
    """The `cohort` table (docs/tables.md) from `label_admissions`."""
    fold = (_hash(_key(config), f"{config.split.seed}:fold") % FOLDS).cast("int")
    return labelled.where(F.col("exclusion").isNull()).select(
        "subject_id",
        "hadm_id",
        "admittime",
        "dischtime",
        "admission_type",
        "next_admittime",
        "days_next_admit",
        "label",
        "duration_days",
        split_of(config).alias("split"),
        fold.alias("fold"),
    )


def split_of(config: Config) -> Column:
    """train, validation or test: by a hash of subject_id, or with `split.level=admission` of
    hadm_id; train where that is null."""
    share = _hash(_key(config), str(config.split.seed)) / 2**32
    return F.when(share < TEST, "test").when(share < VALIDATION, "validation").otherwise("train")


def exclusions_table(labelled: DataFrame) -> DataFrame:
    """The `exclusions` table (docs/tables.md): hadm_id, reason."""
    left_out = labelled.where(F.col("exclusion").isNotNull())
    return left_out.select("hadm_id", F.col("exclusion").alias("reason"))


def _key(config: Config) -> Column:
    return F.col("subject_id" if config.split_level == "patient" else "hadm_id").cast("string")


def _exclusion(config: Config) -> Column:
    reason = (
        F.when(F.col("hadm_id").isNull(), "hadm_id_missing")
        .when(F.col("subject_id").isNull(), "subject_id_missing")
        .when(F.col("admittime").isNull(), "admittime_unparsed")
        .when(F.col("admission_type") == "NEWBORN", "newborn")
        .when(F.col("deathtime").isNotNull(), "died_in_hospital")
    )
    if config.profile == "default":
        # Such a stay has no length and no day to count from; the published code keeps it.
        reason = reason.when(F.col("dischtime") < F.col("admittime"), "discharge_before_admission")
    return reason


def _days(start: str, end: str) -> Column:
    """Days from `start` to `end`. Whole microseconds are subtracted: as seconds in floating point,
    30 days to the microsecond can come out as a little less, and that is another label."""
    return (F.unix_micros(end) - F.unix_micros(start)) / DAY


def _hash(key: Column, salt: str) -> Column:
    """32 bits of md5(`salt:key`): the same in every Spark, and in three lines of any language, so a
    patient's side never changes when data grows."""
    digest = F.md5(F.concat(F.lit(f"{salt}:"), key))
    return F.conv(F.substring(digest, 1, 8), 16, 10).cast("long")
