"""The split: its shares, and that no patient ever changes the split."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from hashlib import md5

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config_file import load_config
from readmit_spark.notes.cohort import cohort_table, label_admissions
from tests.literal_rows import with_stay_facts

pytestmark = pytest.mark.spark4


def admissions(spark: SparkSession, patients: int) -> DataFrame:
    """Make two admissions for each patient: HADM_ID 2 n and 2 n + 1 of SUBJECT_ID n."""
    day = F.to_timestamp(F.lit("2020-01-01 12:00:00"))
    stays = spark.range(2 * patients, numPartitions=2).select(
        F.floor(F.col("id") / 2).alias("subject_id"),
        F.col("id").alias("hadm_id"),
        day.alias("admittime"),
        (day + F.expr("INTERVAL 3 DAYS")).alias("dischtime"),
        F.lit(None).cast("timestamp").alias("deathtime"),
        F.lit("URGENT").alias("admission_type"),
        F.struct(F.lit(False).alias("deathtime")).alias("unread"),
    )
    return with_stay_facts(stays)


def splits(spark: SparkSession, patients: int, *settings: str) -> dict[int, tuple[str, int]]:
    """Return HADM_ID -> (split, fold)."""
    config = load_config(overrides=settings)
    rows = cohort_table(label_admissions(admissions(spark, patients), config), config)
    return {row.hadm_id: (row.split, row.fold) for row in rows.collect()}


def test_the_split_is_a_hash_of_the_patient(spark: SparkSession) -> None:
    for hadm, (split, fold) in splits(spark, 200, "split.seed=41").items():
        patient = hadm // 2
        share = int(md5(f"41:{patient}".encode()).hexdigest()[:8], 16) / 2**32
        assert split == ("test" if share < 0.1 else "validation" if share < 0.2 else "train")
        assert fold == int(md5(f"41:fold:{patient}".encode()).hexdigest()[:8], 16) % 5


def test_a_patient_keeps_the_split_when_data_grow(spark: SparkSession) -> None:
    few, many = splits(spark, 300), splits(spark, 900)
    assert few == {hadm: many[hadm] for hadm in few}
    assert all(many[hadm] == many[hadm ^ 1] for hadm in many)


def test_shares_are_a_tenth_a_tenth_and_the_rest_in_every_fold(spark: SparkSession) -> None:
    counts = Counter(splits(spark, 10_000).values())
    for fold in range(5):
        in_fold = {split: n for (split, f), n in counts.items() if f == fold}
        total = sum(in_fold.values())
        assert total == pytest.approx(4_000, rel=0.1)
        assert in_fold["test"] / total == pytest.approx(0.1, abs=0.03)
        assert in_fold["validation"] / total == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("setting", ["profile=paper", "split.level=admission"])
def test_the_published_split_separates_admissions_of_a_patient(
    spark: SparkSession, setting: str
) -> None:
    by_admission = splits(spark, 300, setting)
    assert any(by_admission[hadm][0] != by_admission[hadm ^ 1][0] for hadm in by_admission)
    share = int(md5(b"7:17").hexdigest()[:8], 16) / 2**32
    assert (by_admission[17][0] == "test") == (share < 0.1)


def test_another_seed_is_another_split(spark: SparkSession) -> None:
    assert splits(spark, 300, "split.seed=1") != splits(spark, 300, "split.seed=2")


def test_the_training_seed_does_not_move_patients(spark: SparkSession) -> None:
    assert splits(spark, 300, "train.seed=1") == splits(spark, 300, "train.seed=2")


def test_labels_and_exclusions_of_a_few_admissions(spark: SparkSession) -> None:
    def day(month: int, number: int) -> datetime:
        return datetime(2020, month, number, 12)

    rows = [
        (1, 11, day(1, 1), day(1, 5), None, "URGENT"),  # back after 15 days
        (1, 12, day(1, 10), day(1, 11), None, "ELECTIVE"),  # planned: not the next one
        (1, 13, day(1, 20), day(1, 22), day(1, 22), "EMERGENCY"),
        (2, 21, day(1, 1), day(1, 5), None, "URGENT"),  # back after exactly 30 days
        (2, 22, day(2, 4), None, None, "EMERGENCY"),
        (3, 31, day(1, 1), day(1, 5), None, "NEWBORN"),
    ]
    admissions = spark.createDataFrame(
        rows,
        "subject_id long, hadm_id long, admittime timestamp, dischtime timestamp, "
        "deathtime timestamp, admission_type string",
    )
    unread = F.struct(F.lit(False).alias("deathtime"))
    read = with_stay_facts(admissions).withColumn("unread", unread)
    table = label_admissions(read, load_config()).collect()
    assert {r.hadm_id: (r.days_next_admit, r.label, r.exclusion) for r in table} == {
        11: (15.0, 1, None),
        12: (9.0, 1, None),
        13: (None, 0, "died_in_hospital"),
        21: (30.0, 0, None),
        22: (None, None, None),  # not discharged
        31: (None, 0, "newborn"),
    }


def test_a_stay_that_begins_after_the_day_of_death_is_left_out(spark: SparkSession) -> None:
    two_stays = admissions(spark, 3)
    later = F.when(F.col("hadm_id") % 2 == 1, F.col("admittime") + F.expr("INTERVAL 9 DAYS"))
    for name in ("admittime", "dischtime"):
        two_stays = two_stays.withColumn(name, F.coalesce(later, name))
    patients = spark.createDataFrame(
        [(0, date(2020, 1, 9)), (1, date(2020, 1, 10)), (2, None)], "subject_id long, dod date"
    )
    table = label_admissions(two_stays, load_config(), patients).collect()
    assert {row.hadm_id: (row.label, row.exclusion) for row in table} == {
        0: (None, None),  # died five days after it
        1: (0, "after_death"),  # begins a day after
        2: (1, None),
        3: (0, None),  # begins on that day
        4: (1, None),
        5: (0, None),
    }
    paper = label_admissions(two_stays, load_config(overrides=["profile=paper"]), patients)
    assert paper.where("exclusion is not null").count() == 0


def test_by_time_the_test_follows_the_training_and_open_outcomes_are_left_out(
    spark: SparkSession,
) -> None:
    stays = [
        # hadm_id, admitted, discharged, side; the horizon is 30 days
        (1, "2020-01-01", "2020-01-04", "train"),
        (2, "2020-05-28", "2020-06-01", "train"),  # settled on 1 July, exactly
        (3, "2020-05-28", "2020-06-01 00:01", "gap"),  # a minute later
        (4, "2020-06-30", "2020-07-10", "gap"),
        (5, "2020-03-01", None, "gap"),  # its outcome is not known
        (6, "2020-07-01", "2020-07-03", "validation"),
        (7, "2020-09-20", "2020-09-25", "gap"),
        (8, "2020-10-01", "2020-10-02", "test"),
        (9, "2021-10-01", None, "test"),
    ]
    table = spark.createDataFrame(
        [(1, hadm, start, end) for hadm, start, end, _ in stays],
        "subject_id long, hadm_id long, admittime string, dischtime string",
    ).select(
        "subject_id",
        "hadm_id",
        F.to_timestamp("admittime").alias("admittime"),
        F.to_timestamp("dischtime").alias("dischtime"),
        F.lit(None).cast("timestamp").alias("deathtime"),
        F.lit("URGENT").alias("admission_type"),
        F.struct(F.lit(False).alias("deathtime")).alias("unread"),
    )
    table = with_stay_facts(table)
    config = load_config(
        overrides=["split.by=time", "split.validation_from='2020-07-01'",
                   "split.test_from='2020-10-01'"]
    )  # fmt: skip
    rows = cohort_table(label_admissions(table, config), config).collect()
    assert {row.hadm_id: row.split for row in rows} == {hadm: side for hadm, _, _, side in stays}
    assert config.split_name == "time 2020-07-01 2020-10-01"


def test_by_site_whole_sites_are_tested_and_each_is_a_fold(spark: SparkSession) -> None:
    config = load_config(
        overrides=["split.by=site", "split.site_column=HOSPITAL",
                   "split.validation_sites=[South]", "split.test_sites=[north]"]
    )  # fmt: skip
    labelled = label_admissions(admissions(spark, 4), config)
    sites = ["east", "north", "south"]
    site = F.element_at(F.array(*map(F.lit, sites)), (F.col("subject_id") + 1).cast("int"))
    with_site = labelled.withColumn("site", F.when(F.col("subject_id") < 3, site))
    rows = cohort_table(with_site, config, sites).collect()
    assert {(row.subject_id, row.split, row.fold) for row in rows} == {
        (0, "train", 0), (1, "test", 1), (2, "validation", 2), (3, "gap", -1),
    }  # fmt: skip
    assert config.split_name == "site HOSPITAL: south / north"
