"""What a job reads of an earlier job's result, checked when it is read."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from readmit_spark.errors import UserError
from readmit_spark.storage.local_files import LocalFiles
from readmit_spark.storage.manifests import Night, Prepared, Scored
from readmit_spark.storage.publish import Publication

pytestmark = pytest.mark.spark4

PREPARED: dict[str, Any] = {
    "finished": "2026-01-01T02:00:00",
    "config": {
        "profile": "default", "windows": ["2days", "discharge"],
        "chunk": {"mode": "words", "words": 318, "min_tail_words": 10},
        "split": {"level": None, "seed": 7}, "model": {"max_tokens": 512},
    },
    "tokenizer": "abc", "admissions": {"rows": 3}, "notes": {"notes": 9},
    "seconds": {"cohort": 1.5},
}  # fmt: skip
SCORED: dict[str, Any] = {
    "finished": "2026-01-01T03:00:00",
    "config": {"score": {"windows": None, "precision": "fp32"}, "vote": {"c": 2.0}},
    "model": "readmit/1",
    "fingerprint": "123",
    "prepared": "prepare/1",
    "counts": {"2days": {"scored": 3}},
    "seconds": {},
}
NIGHT: dict[str, Any] = {
    "as_of": "2026-11-22T02:00:00",
    "config": {"nightly": {"window": "3days", "alert": "capacity", "alert_value": 10}},
    "model": "readmit/1",
    "basis": "b",
    "backend": None,
    "tokens_scored": 0,
    "counts": {"alerts": 2},
    "seconds": {},
}


def publish(spark: SparkSession, root: Path, name: str, facts: dict[str, Any]) -> None:
    publication = Publication(LocalFiles(str(root)), name, True, datetime.now)
    rows = spark.range(3).selectExpr("id hadm_id", "'newborn' reason")
    publication.write_table(rows, "exclusions")
    publication.publish(facts)
    publication.close()


def test_windows_of_radiology_alone_are_not_trained_on(spark: SparkSession, tmp_path: Path) -> None:
    publish(spark, tmp_path, "prepare", PREPARED | {"notes_format": "mimic4"})
    prepared = Prepared.read(spark, str(tmp_path))
    prepared.check_notes("discharge")
    with pytest.raises(UserError, match="documents of 2days hold radiology alone"):
        prepared.check_notes("2days")
    publish(spark, tmp_path, "prepare", PREPARED)
    Prepared.read(spark, str(tmp_path)).check_notes("2days")


def test_the_facts_of_prepare_are_typed_values(spark: SparkSession, tmp_path: Path) -> None:
    publish(spark, tmp_path, "prepare", PREPARED | {"code": "a fact that no job reads"})
    prepared = Prepared.read(spark, str(tmp_path))
    assert prepared.windows == ("2days", "discharge")
    assert (prepared.max_tokens, prepared.split_name) == (512, "patient 7")
    assert prepared.tables["exclusions"].rows == 3
    assert prepared.path == f"{tmp_path}/{prepared.run}"
    assert sorted(row.hadm_id for row in prepared.table("exclusions").collect()) == [0, 1, 2]


def test_a_window_that_was_not_prepared_is_one_line(spark: SparkSession, tmp_path: Path) -> None:
    publish(spark, tmp_path, "prepare", PREPARED)
    prepared = Prepared.read(spark, str(tmp_path))
    prepared.check_window("2days", "train.window")
    with pytest.raises(UserError, match=r"^train\.window is 3days: prepare made 2days, discharge"):
        prepared.check_window("3days", "train.window")


@pytest.mark.parametrize(
    ("kind", "facts", "missing"),
    [(Prepared, PREPARED, "tokenizer"), (Scored, SCORED, "fingerprint"),
     (Scored, SCORED, "config.vote"), (Prepared, PREPARED, "config.chunk.words")],
)  # fmt: skip
def test_a_missing_fact_is_one_line_that_names_it_and_the_job_to_run(
    spark: SparkSession, tmp_path: Path, kind: type[Prepared], facts: dict[str, Any], missing: str
) -> None:
    facts = json.loads(json.dumps(facts))
    *sections, key = missing.split(".")
    section = facts
    for name in sections:
        section = section[name]
    del section[key]
    publish(spark, tmp_path, kind.JOB, facts)
    with pytest.raises(UserError) as error:
        kind.read(spark, str(tmp_path))
    line = str(error.value)
    assert "\n" not in line
    assert f"({missing} is missing" in line
    assert f"run jobs/{kind.JOB}.py again" in line
    assert kind.read_if_complete(spark, str(tmp_path)) is None


def test_read_if_complete_is_none_without_a_result_and_with_a_damaged_one(
    spark: SparkSession, tmp_path: Path
) -> None:
    root = str(tmp_path)
    assert Prepared.read_if_complete(spark, root) is None
    publish(spark, tmp_path, "prepare", PREPARED)
    prepared = Prepared.read_if_complete(spark, root)
    assert prepared is not None and prepared == Prepared.read(spark, root)
    next(Path(prepared.path).glob("exclusions/*.parquet")).unlink()
    assert Prepared.read_if_complete(spark, root) is None
    with pytest.raises(UserError, match=r"exclusions is not what jobs/prepare\.py wrote"):
        Prepared.read(spark, root)
    assert Prepared.read(spark, root, tables=[]).tokenizer == "abc"  # checks no table
    (tmp_path / "_manifests" / "prepare.json").write_text("")
    assert Prepared.read_if_complete(spark, root) is None


def test_scores_have_the_c_of_their_vote(spark: SparkSession, tmp_path: Path) -> None:
    publish(spark, tmp_path, "score", SCORED)
    assert Scored.read(spark, str(tmp_path)).c == 2.0


def test_each_night_is_a_result_of_its_own(spark: SparkSession, tmp_path: Path) -> None:
    publish(spark, tmp_path, "nightly/20261122T020000", NIGHT)
    night = Night.read(spark, str(tmp_path), "nightly/20261122T020000", tables=["exclusions"])
    assert night.as_of == datetime(2026, 11, 22, 2)
    assert (night.backend, night.counts, night.config.nightly.alert_value) == (
        None, {"alerts": 2}, 10.0,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"no complete result of nightly/x; run jobs/nightly\.py"):
        Night.read(spark, str(tmp_path), "nightly/x")
