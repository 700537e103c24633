"""The cohort, one row per admission with label, split and fold, and the exclusions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.notes.note_rule import timestamp
from readmit_spark.notes.outcome import days_between, with_outcomes
from readmit_spark.notes.stay_kinds import is_newborn, is_no_admission

FOLDS = 5
TEST, VALIDATION = 0.1, 0.2  # hash below 0.1: test; below 0.2: validation


def distinct_rows(admissions: DataFrame) -> DataFrame:
    """Drop repeated rows."""
    # A row may be there twice with two values of DISCHARGE_LOCATION, which decides nothing here.
    same = [name for name in admissions.columns if name != "discharge_to"]
    return admissions.groupBy(*same).agg(F.max("discharge_to").alias("discharge_to"))


def check_one_row_each(distinct: DataFrame) -> None:
    """Raise a UserError where one HADM_ID has different rows. distinct: from `distinct_rows`."""
    several = (
        distinct.where(F.col("hadm_id").isNotNull()).groupBy("hadm_id").count().where("count > 1")
    )
    found = several.agg(F.slice(F.array_sort(F.collect_list("hadm_id")), 1, 5)).first()
    assert found is not None  # an aggregate without groups always has one row
    if found[0]:
        raise UserError(
            f"data.admissions: HADM_ID {', '.join(map(str, found[0]))} (and maybe more) has "
            "several different rows; keep one row an admission"
        )


def label_admissions(
    admissions: DataFrame,
    config: Config,
    patients: DataFrame | None = None,
    known_until: datetime | None = None,
) -> DataFrame:
    """Add next_admittime, days_next_admit, label, unlabelled (`outcome.with_outcomes`),
    duration_days and exclusion to all admissions.

    exclusion: the reason to leave the admission out of the cohort, or null.

    admissions: from `read_admissions`. patients: from `read_patients`, for deaths outside the
    hospital; None: only the deaths in `admissions` are known. known_until: from
    `outcome.end_of_follow_up`; None: for ever.
    """
    stays = _with_deaths(admissions, patients, config.profile)
    return (
        with_outcomes(stays, config, known_until)
        .withColumn("duration_days", days_between("admittime", "dischtime"))
        .withColumn("exclusion", _exclusion(config))
        .drop("after_death", "died", "dod")
    )


def died_in_hospital(profile: str) -> Column:
    """Return whether the patient died in this stay. Never null.

    A DEATHTIME that is there and not understood is a death all the same. One after DISCHTIME is a
    death outside the hospital, but not in the paper profile.
    """
    died = F.col("unread.deathtime") | F.col("deathtime").isNotNull()
    return died & ~died_after_discharge() if profile == "default" else died


def died_after_discharge() -> Column:
    """Return whether DEATHTIME is after DISCHTIME. Never null."""
    return F.coalesce(F.col("deathtime") > F.col("dischtime"), F.lit(False))


def cohort_table(labelled: DataFrame, config: Config, sites: Sequence[str] = ()) -> DataFrame:
    """Build the `cohort` table (docs/tables.md) from `label_admissions`.

    sites: for `split.by=site`, all sites in order; `labelled` then has a column `site`. The fold is
    the place of the site in them, and -1 without a site.
    """
    fold = (_hash(_key(config), f"{config.split.seed}:fold") % FOLDS).cast("int")
    split = split_of(config)
    if config.split.by == "time":
        split = _split_by_time(config)
    elif config.split.by == "site":
        split = _split_by_site(config)
        places = [F.lit(value) for place in enumerate(sites) for value in reversed(place)]
        fold = F.coalesce(F.create_map(*places)[F.col("site")], F.lit(-1))
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
        split.alias("split"),
        fold.alias("fold"),
        midnights(config.profile).alias("midnights"),
    )


def midnights(profile: str) -> Column:
    """Return the number of midnights in the house; null while the stay has no end.

    As published, the paper profile counts full days of 24 hours instead.
    """
    if profile == "paper":
        return F.floor("duration_days").cast("int")
    return F.datediff(F.to_date("dischtime"), F.to_date("admittime"))


def split_of(config: Config) -> Column:
    """Return train, validation or test, chosen by a hash of subject_id (of hadm_id with
    `split.level=admission`). A null id is in train."""
    share = _hash(_key(config), str(config.split.seed)) / 2**32
    return F.when(share < TEST, "test").when(share < VALIDATION, "validation").otherwise("train")


def _split_by_time(config: Config) -> Column:
    """Return train, validation or test by ADMITTIME.

    `gap`: the stay began before a period, and its horizon ended in it or later (or the stay has no
    end). On the first day of that period nobody could have known its outcome.
    """
    validation, test = (
        timestamp(datetime.fromisoformat(str(day)))
        for day in (config.split.validation_from, config.split.test_from)
    )
    in_validation = F.col("admittime") >= validation
    next_period = F.when(in_validation, test).otherwise(validation)
    known = days_between(F.col("dischtime"), next_period) >= config.label.horizon_days
    return (
        F.when(F.col("admittime") >= test, "test")
        .when(~F.coalesce(known, F.lit(False)), "gap")
        .when(in_validation, "validation")
        .otherwise("train")
    )


def _split_by_site(config: Config) -> Column:
    """Return train, validation or test by `site`; `gap` without a site."""
    return (
        F.when(F.col("site").isNull(), "gap")
        .when(F.col("site").isin(list(config.split.test_sites or ())), "test")
        .when(F.col("site").isin(list(config.split.validation_sites or ())), "validation")
        .otherwise("train")
    )


def unlabelled_table(labelled: DataFrame) -> DataFrame:
    """Build the `unlabelled` table (docs/tables.md): hadm_id, reason."""
    rows = labelled.where(F.col("exclusion").isNull() & F.col("unlabelled").isNotNull())
    return rows.select("hadm_id", F.col("unlabelled").alias("reason"))


def exclusions_table(labelled: DataFrame) -> DataFrame:
    """Build the `exclusions` table (docs/tables.md): hadm_id, reason."""
    left_out = labelled.where(F.col("exclusion").isNotNull())
    return left_out.select("hadm_id", F.col("exclusion").alias("reason"))


def _key(config: Config) -> Column:
    return F.col("subject_id" if config.split_level == "patient" else "hadm_id").cast("string")


def _exclusion(config: Config) -> Column:
    reason = (
        F.when(F.col("hadm_id").isNull(), "hadm_id_missing")
        .when(F.col("subject_id").isNull(), "subject_id_missing")
        .when(F.col("admittime").isNull(), "admittime_unparsed")
        .when(is_newborn(config), "newborn")
        .when(is_no_admission(config), "observation")
        .when(died_in_hospital(config.profile), "died_in_hospital")
        .when(F.col("after_death"), "after_death")
    )
    if config.profile == "default":
        # The published code keeps these, although the stay has no length.
        reason = reason.when(F.col("dischtime") < F.col("admittime"), "discharge_before_admission")
    return reason


def _with_deaths(admissions: DataFrame, patients: DataFrame | None, profile: str) -> DataFrame:
    """Replace died by the time of a death in the stay; add dod (the day of death by either table)
    and after_death: whether the stay begins after the subject's death, in an earlier stay or, by
    `dod`, on a day before; false in the paper profile."""
    # Where the time of a death in hospital is not understood, the stay's end is its latest moment.
    died = F.when(died_in_hospital(profile), F.coalesce("deathtime", "dischtime"))
    days = admissions.select("subject_id", F.col("died").alias("dod"))
    if patients is not None:
        days = days.unionByName(patients.select("subject_id", "dod"))
    first = days.groupBy("subject_id").agg(F.min("dod").alias("dod"))
    stays = admissions.drop("died").join(first, "subject_id", "left")
    if profile == "paper":
        return stays.withColumns({"died": died, "after_death": F.lit(False)})
    # An earlier stay's: a stay of a donor may begin after its own DEATHTIME.
    own = Window.partitionBy("subject_id").orderBy("admittime", "hadm_id")
    earlier = F.min(died).over(own.rowsBetween(Window.unboundedPreceding, -1))
    after = F.col("subject_id").isNotNull() & F.coalesce(F.col("admittime") > earlier, F.lit(False))
    after_day = F.coalesce(F.to_date("admittime") > F.col("dod"), F.lit(False))
    return stays.withColumns({"died": died, "after_death": after | after_day})


def _hash(key: Column, salt: str) -> Column:
    """Return the first 32 bits of md5(`salt:key`).

    They do not depend on the Spark version or other rows, so a patient never changes the split.
    """
    digest = F.md5(F.concat(F.lit(f"{salt}:"), key))
    return F.conv(F.substring(digest, 1, 8), 16, 10).cast("long")
