"""The structured baseline counts what was known, and nothing of later."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from readmit_spark.comparison.structured import past_stays, structured_rows

# subject_id, hadm_id, admitted, discharged
STAYS = [
    (1, 10, "2019-12-28 00:00", "2020-01-01 12:00"),
    (1, 11, "2020-01-20 00:00", "2020-01-21 12:00"),
    (1, 12, "2020-12-31 00:00", "2021-01-02 00:00"),  # 364.5 and 344.5 days after the two before
    (1, 13, "2021-01-01 00:00", "2021-01-03 00:00"),  # 12 has not ended yet
    (2, 20, "2020-06-01 00:00", None),
    (2, 21, "2020-07-01 00:00", "2020-07-02 00:00"),
]


def cohort(spark: SparkSession):  # type: ignore[no-untyped-def]
    table = spark.createDataFrame(
        STAYS, "subject_id long, hadm_id long, admittime string, dischtime string"
    )
    times = {name: F.to_timestamp(name) for name in ("admittime", "dischtime")}
    days = (F.unix_micros("dischtime") - F.unix_micros("admittime")) / 86_400_000_000
    return table.withColumns(times).withColumn("duration_days", days)


def by_hand() -> dict[int, tuple[int, float, float]]:
    """Return hadm_id -> (stays, days, days since the last) by looking at every pair."""
    day = 86_400.0
    found = {}
    for subject, hadm, start, _ in STAYS:
        past = [
            (datetime.fromisoformat(a), datetime.fromisoformat(b))
            for s, h, a, b in STAYS
            if s == subject and h != hadm and b is not None
        ]
        now = datetime.fromisoformat(start)
        ago = [(now - b).total_seconds() / day for _, b in past]
        kept = [i for i, days in enumerate(ago) if 0 <= days < 365]
        lengths = [(past[i][1] - past[i][0]).total_seconds() / day for i in kept]
        found[hadm] = len(kept), sum(lengths), min((ago[i] for i in kept), default=365.0)
    return found


def test_past_stays_are_those_that_ended_in_the_year_before(spark: SparkSession) -> None:
    rows = past_stays(cohort(spark)).collect()
    got = {row.hadm_id: (row.stays, row.days, row.since) for row in rows}
    assert got == {hadm: pytest.approx(values) for hadm, values in by_hand().items()}
    assert got[12] == pytest.approx((2, 6.0, 344.5))
    assert got[13] == pytest.approx((1, 1.5, 345.5))  # the first one ended more than a year ago


def test_the_stay_so_far_ends_with_the_window(spark: SparkSession) -> None:
    stays = cohort(spark)
    groups = stays.select(
        "hadm_id", F.lit("urgent").alias("admission_type"), F.lit("65 to 79").alias("age_band")
    )
    chunks = stays.select(
        F.explode(F.array(F.lit("3days"), F.lit("discharge"))).alias("window"),
        "subject_id", "hadm_id", F.lit("train").alias("part"), F.lit(0).alias("label"),
    )  # fmt: skip
    rows = structured_rows(stays, groups, chunks.unionByName(chunks)).collect()
    assert len(rows) == 2 * len(STAYS)  # one for each window and admission
    so_far = {(row.window, row.hadm_id): np.expm1(row.so_far) for row in rows}
    assert so_far["3days", 10] == pytest.approx(3)  # of four and a half days
    assert so_far["3days", 11] == pytest.approx(1.5)
    assert so_far["discharge", 10] == pytest.approx(4.5)
    assert so_far["3days", 20] == pytest.approx(3)  # it has not ended
