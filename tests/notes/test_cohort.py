"""The split: its shares, and that nobody ever changes sides."""

from __future__ import annotations

from collections import Counter
from hashlib import md5

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config_file import load_config
from readmit_spark.notes.cohort import cohort_table, label_admissions

pytestmark = pytest.mark.spark4


def admissions(spark: SparkSession, patients: int) -> DataFrame:
    """Two stays a patient: HADM_ID 2 n and 2 n + 1 of SUBJECT_ID n."""
    day = F.to_timestamp(F.lit("2020-01-01 12:00:00"))
    return spark.range(2 * patients, numPartitions=2).select(
        F.floor(F.col("id") / 2).alias("subject_id"),
        F.col("id").alias("hadm_id"),
        day.alias("admittime"),
        (day + F.expr("INTERVAL 3 DAYS")).alias("dischtime"),
        F.lit(None).cast("timestamp").alias("deathtime"),
        F.lit("URGENT").alias("admission_type"),
    )


def sides(spark: SparkSession, patients: int, *settings: str) -> dict[int, tuple[str, int]]:
    """Split and fold by HADM_ID."""
    config = load_config(overrides=settings)
    rows = cohort_table(label_admissions(admissions(spark, patients), config), config)
    return {row.hadm_id: (row.split, row.fold) for row in rows.collect()}


def test_the_split_is_a_hash_that_any_language_has(spark: SparkSession) -> None:
    for hadm, (split, fold) in sides(spark, 200, "split.seed=41").items():
        patient = hadm // 2
        share = int(md5(f"41:{patient}".encode()).hexdigest()[:8], 16) / 2**32
        assert split == ("test" if share < 0.1 else "validation" if share < 0.2 else "train")
        assert fold == int(md5(f"41:fold:{patient}".encode()).hexdigest()[:8], 16) % 5


def test_a_patient_stays_on_one_side_when_data_grow(spark: SparkSession) -> None:
    few, many = sides(spark, 300), sides(spark, 900)
    assert few == {hadm: many[hadm] for hadm in few}
    assert all(many[hadm] == many[hadm ^ 1] for hadm in many)


def test_shares_are_a_tenth_a_tenth_and_the_rest_in_every_fold(spark: SparkSession) -> None:
    counts = Counter(sides(spark, 10_000).values())
    for fold in range(5):
        here = {split: n for (split, f), n in counts.items() if f == fold}
        total = sum(here.values())
        assert total == pytest.approx(4_000, rel=0.1)
        assert here["test"] / total == pytest.approx(0.1, abs=0.03)
        assert here["validation"] / total == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("setting", ["profile=paper", "split.level=admission"])
def test_the_published_split_tears_patients_apart(spark: SparkSession, setting: str) -> None:
    found = sides(spark, 300, setting)
    assert any(found[hadm][0] != found[hadm ^ 1][0] for hadm in found)
    share = int(md5(b"7:17").hexdigest()[:8], 16) / 2**32
    assert (found[17][0] == "test") == (share < 0.1)


def test_another_seed_is_another_split(spark: SparkSession) -> None:
    assert sides(spark, 300, "split.seed=1") != sides(spark, 300, "split.seed=2")


def test_the_training_seed_does_not_move_patients(spark: SparkSession) -> None:
    assert sides(spark, 300, "train.seed=1") == sides(spark, 300, "train.seed=2")
