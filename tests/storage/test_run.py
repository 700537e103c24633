"""A run publishes its tables and files together, or leaves nothing of them behind."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from readmit_spark.config import Config, to_dict
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.storage.manifests import Manifest
from readmit_spark.storage.publish import read_manifest
from readmit_spark.storage.run import Run
from tests.runs import start_run

pytestmark = pytest.mark.spark4

EXCLUSIONS = [(11, "newborn"), (12, "died_in_hospital"), (None, "hadm_id_missing")]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(overrides=[f"output.root={tmp_path}"])


@pytest.fixture
def exclusions(spark: SparkSession) -> DataFrame:
    return spark.createDataFrame(EXCLUSIONS, "hadm_id long, reason string")


def files_under(folder: Path) -> list[str]:
    """Names of all files but the checksums that Hadoop writes beside them."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".crc"
    )


def test_a_run_that_does_not_publish_leaves_no_file_and_no_lock(
    spark: SparkSession, config: Config, exclusions: DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), start_run(spark, config, "prepare") as run:
        run.write_table(exclusions, "exclusions")
        run.write_temp(exclusions, "temp")
        assert (Path(run.path) / "exclusions").is_dir()
        with pytest.raises(UserError, match="another run of prepare"):
            start_run(spark, config, "prepare")
        raise ZeroDivisionError
    assert [name for name in files_under(tmp_path) if not name.startswith("_locks/")] == [
        ".gitignore"
    ]
    with start_run(spark, config, "prepare"):  # gets the lock
        pass


def test_publishing_writes_tables_files_root_copies_and_the_manifest(
    spark: SparkSession, config: Config, exclusions: DataFrame, tmp_path: Path
) -> None:
    with start_run(spark, config, "prepare") as run:
        times = iter(datetime(2026, 1, 1, 2) + timedelta(minutes=5 * i) for i in range(9))
        run.now, run._started = lambda: next(times), datetime(2026, 1, 1, 1)
        with run.stage("exclusions"):
            written = run.write_table(exclusions, "exclusions")
        facts = run.publish(
            {"admissions": {"rows": 3}}, {"page.html": "<p>é</p>", "dot.png": b"\x89PNG"}
        )
    assert sorted(written.collect(), key=str) == sorted(exclusions.collect(), key=str)
    folder = Path(run.path)
    for place in (folder, tmp_path):
        assert (place / "page.html").read_text(encoding="utf-8") == "<p>é</p>"
        assert (place / "dot.png").read_bytes() == b"\x89PNG"
    manifest = read_manifest(spark, str(tmp_path), "prepare")
    assert manifest["path"] == str(folder)
    assert manifest["tables"]["exclusions"]["rows"] == 3
    assert {key: manifest[key] for key in facts} == json.loads(json.dumps(facts))
    assert (facts["started"], facts["finished"]) == ("2026-01-01T01:00:00", "2026-01-01T02:00:00")
    assert facts["config"] == to_dict(config)
    assert list(facts["seconds"]) == ["exclusions"]
    assert facts["admissions"] == {"rows": 3}


def jobs_started(spark: SparkSession) -> int:
    return int(spark.sparkContext._jsc.sc().dagScheduler().numTotalJobs())


def test_one_spark_job_writes_and_counts_a_table_and_none_finds_its_columns(
    spark: SparkSession, config: Config, exclusions: DataFrame, tmp_path: Path
) -> None:
    before = jobs_started(spark)
    with start_run(spark, config, "prepare") as run:
        written = run.write_table(exclusions.coalesce(1), "exclusions")
        assert run.rows("exclusions") == 3
        nobody = run.write_table(exclusions.where("hadm_id < 0").coalesce(1), "unlabelled")
        run.publish({})
    assert jobs_started(spark) == before + 2
    manifest = Manifest.read(spark, str(tmp_path), "prepare")
    tables = [manifest.table(name) for name in ("exclusions", "unlabelled")]
    assert jobs_started(spark) == before + 2
    assert [table.schema for table in tables] == [written.schema, nobody.schema]
    assert [table.count() for table in tables] == [3, 0]


def test_without_root_copies_the_files_are_in_the_run_folder_only(
    spark: SparkSession, config: Config, tmp_path: Path
) -> None:
    with start_run(spark, config, "prepare") as run:
        run.publish({}, {"page.html": "old"}, root_copies=False)
    assert (Path(run.path) / "page.html").read_text() == "old"
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "schema",
    ["reason string, hadm_id long", "hadm_id int, reason string", "hadm_id long"],
    ids=["order", "type", "missing"],
)
def test_a_table_with_other_columns_than_documented_is_refused(
    spark: SparkSession, config: Config, schema: str
) -> None:
    with (
        start_run(spark, config, "prepare") as run,
        pytest.raises(RuntimeError, match=r"prepare/exclusions has the columns .*hadm_id"),
    ):
        run.write_table(spark.createDataFrame([], schema), "exclusions")


def test_a_table_that_the_job_does_not_publish_is_refused(
    spark: SparkSession, config: Config, exclusions: DataFrame
) -> None:
    with start_run(spark, config, "score") as run, pytest.raises(KeyError, match="exclusions"):
        run.write_table(exclusions, "exclusions")


def test_an_earlier_result_is_replaced_only_with_overwrite(
    spark: SparkSession, config: Config, exclusions: DataFrame, tmp_path: Path
) -> None:
    def publish(version: int, overwrite: bool) -> Run:
        with start_run(spark, config, "prepare", overwrite=overwrite) as run:
            run.publish({"version": version})
        return run

    publish(1, overwrite=False)
    with pytest.raises(UserError, match=r"has a result of prepare already; set output\.overwrite"):
        publish(2, overwrite=False)
    assert read_manifest(spark, str(tmp_path), "prepare")["version"] == 1
    publish(3, overwrite=True)
    assert read_manifest(spark, str(tmp_path), "prepare")["version"] == 3
