"""The jobs on s3a://, with and without faults: the local result, or a one-line error."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.core.utils import utcnow
from moto.s3 import models as s3_server_clock
from pyspark.sql import SparkSession

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.nightly.published_nights import night_name
from readmit_spark.progress import Progress
from readmit_spark.scoring import scorer_settings as scoring
from readmit_spark.scoring.model import Model
from readmit_spark.storage.files import Files, open_files
from readmit_spark.storage.ingest_job import ingest
from readmit_spark.storage.input_tables import read_notes
from readmit_spark.storage.lock import Lock
from readmit_spark.storage.manifests import Prepared
from readmit_spark.storage.publish import Publication, read_manifest
from readmit_spark.storage.run import Run
from readmit_spark.training.finetune_job import finetune_and_register
from tests.jobs.test_main_path import hospital
from tests.s3.hospital import (
    NIGHT,
    results,
    run_nightly,
    run_prepare,
    run_score,
    settings,
    write_raw,
)
from tests.s3.proxy import Fault, FaultyProxy
from tests.s3.settings import submit_arguments
from tests.tables_in import write_csv

ROOT = Path(__file__).parents[2]


def upload(folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        boto3.client("s3").upload_file(str(path), "ward", f"{prefix}/{path.name}")


def keys(prefix: str, bucket: str = "ward") -> list[str]:
    listing = boto3.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for entry in listing.get("Contents", [])]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_raw(tmp_path_factory.mktemp("raw"))


JOBS = ("prepare", "score", night_name(NIGHT))


def run(spark: SparkSession, overrides: list[str], jobs: int) -> dict[str, list[str]]:
    """Run the first `jobs` of prepare, score and nightly; return their tables."""
    config = load_config(overrides=overrides)
    for call in (run_prepare, run_score, run_nightly)[:jobs]:
        call(spark, config)
    return results(spark, config.output_root, JOBS[:jobs])


@pytest.fixture(scope="module")
def local(
    spark: SparkSession,
    raw: tuple[str, str],
    tiny_model: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str]]:
    """The results of the jobs on a local disk."""
    return run(spark, settings(str(tmp_path_factory.mktemp("local")), raw, tiny_model), 3)


@pytest.fixture(scope="module")
def kept(
    spark: SparkSession, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str
) -> list[str]:
    """Settings of a root on S3 with a result of prepare that no fault may change."""
    proxy.calm()
    boto3.client("s3").create_bucket(Bucket="kept")
    overrides = [*settings("s3a://kept/out", raw, tiny_model), "output.overwrite=true"]
    run_prepare(spark, load_config(overrides=overrides))
    return overrides


def first_time(fault: Fault, which: Callable[[str, str], bool]) -> Callable[[str, str], Any]:
    """Return a rule: a fault at the first request of each object, none when it is repeated."""
    requested: set[str] = set()

    def rule(method: str, path: str) -> Fault | None:
        key = f"{method} {path.partition('?')[0]}"
        if not which(method, path) or key in requested:
            return None
        requested.add(key)
        return fault

    return rule


def is_data(method: str, path: str) -> bool:
    return method == "PUT" and ".parquet" in path


def test_all_on_s3_gives_the_local_result(
    spark: SparkSession, ward: str, raw: tuple[str, str], tiny_model: str,
    local: dict[str, list[str]],
) -> None:  # fmt: skip
    upload(Path(raw[0]).parent, "raw")
    model = Path(tiny_model)
    upload(model, f"models/{model.name}")
    on_s3 = (f"{ward}/raw/ADMISSIONS.csv", f"{ward}/raw/NOTEEVENTS.csv.gz")
    assert run(spark, settings(f"{ward}/out", on_s3, f"{ward}/models/{model.name}"), 3) == local
    assert {"out/report.html", "out/metrics.json", "out/worklist.csv"} <= set(keys("out/"))


def test_a_csv_is_ingested_despite_throttling_and_cut_uploads(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str]
) -> None:
    upload(Path(raw[0]).parent, "raw")
    overrides = [f"data.notes={ward}/raw/NOTEEVENTS.csv.gz", f"output.root={ward}/tables"]
    slow = first_time(Fault.SLOW_DOWN, lambda method, path: "NOTEEVENTS" in path)
    cut = first_time(Fault.CUT, is_data)
    proxy.rule = lambda method, path: slow(method, path) or cut(method, path)
    progress = Progress("i", 2, io.StringIO())
    with Run(spark, load_config(overrides=overrides), "ingest", progress, datetime.now) as run:
        facts = ingest(run)
    assert {fault for fault, _ in proxy.injected} == {Fault.SLOW_DOWN, Fault.CUT}
    expected = sorted(read_notes(spark, raw[1]).collect())
    assert sorted(read_notes(spark, f"{ward}/tables").collect()) == expected
    assert facts["sources"]["notes"]["rows"] == len(expected)


def test_a_model_is_trained_and_registered_with_data_and_artifacts_on_s3(
    spark: SparkSession, ward: str, tiny_model: str, tmp_path: Path
) -> None:
    stays, notes = hospital()
    tables = (write_csv(tmp_path / "A.csv", stays), write_csv(tmp_path / "N.csv", notes))
    overrides = settings(f"{ward}/out", tables, tiny_model)
    overrides += ["train.epochs=1", "train.batch_size=8"]
    with pytest.raises(UserError, match=r"tracking\.uri is not set"):
        _ = load_config(overrides=overrides).tracking_uri
    overrides += [f"tracking.uri=sqlite:///{tmp_path}/m.db", "tracking.artifacts=s3://ward/mlflow"]
    config = load_config(overrides=overrides)
    run_prepare(spark, config)
    prepared = Prepared.read(spark, f"{ward}/out")
    progress = Progress("f", 3, io.StringIO())
    finetune_and_register(config, Model(tiny_model, "tiny"), prepared, progress)
    assert any(key.endswith("model.safetensors") for key in keys("mlflow/"))
    champion = [*overrides, "model.path=models:/readmission@champion"]
    run_score(spark, load_config(overrides=champion))
    assert read_manifest(spark, f"{ward}/out", "score")["model"] == "readmission/1"


def test_throttled_requests_are_repeated(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str,
    local: dict[str, list[str]],
) -> None:  # fmt: skip
    proxy.rule = first_time(Fault.SLOW_DOWN, lambda method, path: method != "HEAD")
    tables = run(spark, settings(f"{ward}/out", raw, tiny_model), 2)
    assert len(proxy.injected) > 30
    assert tables == {name: rows for name, rows in local.items() if name in tables}


def test_cut_uploads_are_repeated(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str,
    local: dict[str, list[str]],
) -> None:  # fmt: skip
    proxy.rule = first_time(Fault.CUT, is_data)
    tables = run(spark, settings(f"{ward}/out", raw, tiny_model), 1)
    assert len(proxy.injected) >= 4  # at least one file for each table
    assert tables == {name: rows for name, rows in local.items() if name in tables}


def outcome(
    capsys: pytest.CaptureFixture[str], call: Callable[[Config], object], overrides: list[str]
) -> tuple[int, str]:
    """Return the exit code of a job and its error output."""
    arguments = [part for override in overrides for part in ("--set", override)]
    code = cli.run("job", "", call, ["--config", os.devnull, *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (Fault.SLOW_DOWN, cli.FAILED, r"S3 still asks to slow down"),
        (Fault.CUT, cli.FAILED, r"the connection to S3 still fails"),
        (Fault.DENIED, cli.USER_ERROR, r"S3 denies access"),
    ],
)
def test_lasting_faults_are_a_one_line_error_and_leave_the_last_result(
    spark: SparkSession, kept: list[str], ward: str, proxy: FaultyProxy,
    local: dict[str, list[str]], capsys: pytest.CaptureFixture[str],
    fault: Fault, code: int, message: str,
) -> None:  # fmt: skip
    proxy.rule = lambda method, path: fault if is_data(method, path) else None
    exit_code, error_output = outcome(capsys, lambda config: run_prepare(spark, config), kept)
    proxy.calm()
    assert (exit_code, len(error_output.splitlines())) == (code, 1), error_output
    assert message in error_output and "no partial result was published" in error_output
    tables = results(spark, "s3a://kept/out", ["prepare"])
    assert tables == {name: rows for name, rows in local.items() if name in tables}


def test_a_kill_between_data_and_manifest_leaves_the_last_result(
    spark: SparkSession, kept: list[str], ward: str, proxy: FaultyProxy,
    s3_settings: dict[str, str],
) -> None:  # fmt: skip
    before = read_manifest(spark, "s3a://kept/out", "prepare")
    about_to_publish = threading.Event()

    def rule(method: str, path: str) -> Fault | None:
        if method == "PUT" and "_manifests/prepare.json" in path:
            about_to_publish.set()
            return Fault.SWALLOW
        return None

    proxy.rule = rule
    arguments = [part for override in kept for part in ("--set", override)]
    job = subprocess.Popen(
        [sys.executable, "jobs/prepare.py", "--config", os.devnull, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": submit_arguments(s3_settings)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    reached = about_to_publish.wait(300)
    os.killpg(job.pid, signal.SIGKILL)  # Python and Java, and with them the workers
    assert reached, job.communicate()[1].decode()
    assert job.wait() == -signal.SIGKILL
    proxy.calm()
    dead = runs_of_prepare() - {before["run"]}
    assert len(dead) == 1  # its tables are complete
    assert read_manifest(spark, "s3a://kept/out", "prepare") == before
    run_prepare(spark, load_config(overrides=kept))
    after = read_manifest(spark, "s3a://kept/out", "prepare")
    assert runs_of_prepare() == {before["run"], after["run"]}


@pytest.mark.parametrize("before", ["", "{}"])
def test_a_run_that_published_meanwhile_is_not_overwritten(
    spark: SparkSession, ward: str, before: str
) -> None:
    manifest_at = {"Bucket": "ward", "Key": "out/_manifests/audit.json"}
    s3 = boto3.client("s3")
    if before:
        s3.put_object(**manifest_at, Body=before.encode())
    files = open_files(spark, f"{ward}/out")
    publication = Publication(files, "audit", True, datetime.now)
    publication.write_table(spark.range(3), "checks")
    other = b'{"run": "audit/other", "tables": {}}'
    s3.put_object(**manifest_at, Body=other)
    with pytest.raises(UserError, match=r"another run published audit under s3a://ward/out"):
        publication.publish({})
    publication.close()
    assert s3.get_object(**manifest_at)["Body"].read() == other
    assert not [key for key in keys("out/audit/") if key.endswith(".parquet")]
    again = Publication(files, "audit", True, datetime.now)
    again.write_table(spark.range(3), "checks")
    again.publish({})
    again.close()
    assert read_manifest(spark, f"{ward}/out", "audit")["tables"]["checks"]["rows"] == 3


def publish_checks(files: Files, rows: int) -> None:
    publication = Publication(files, "audit", True, datetime.now)
    folder = publication.path.partition("ward/")[2]
    body = b"1" * rows
    boto3.client("s3").put_object(Bucket="ward", Key=f"{folder}/checks/part-0.parquet", Body=body)
    publication.add_table("checks", rows)
    publication.publish({})
    publication.close()


def test_only_objects_of_the_program_are_deleted_and_a_lost_manifest_stops_it(
    spark: SparkSession, ward: str
) -> None:
    s3 = boto3.client("s3")
    own = ["out/audit/raw/a.csv", "out/audit/20260101T000000-abcdef/a.csv", "out/_work/audit/a.csv"]
    for key in own:
        s3.put_object(Bucket="ward", Key=key, Body=b"own")
    files = open_files(spark, f"{ward}/out")
    for rows in (1, 2, 3):
        publish_checks(files, rows)
    assert set(own) < set(keys("out/"))
    assert len([key for key in keys("out/audit/") if key.endswith(".parquet")]) == 2
    assert [key for key in keys("out/_work/") if key not in own and key[-1] != "/"] == []
    before = s3.get_object(Bucket="ward", Key="out/_manifests/audit.json")["Body"].read()
    s3.put_object(Bucket="ward", Key="out/_manifests/audit.json", Body=before[:99])
    with pytest.raises(UserError, match=r"_manifests/audit\.json is not a manifest"):
        read_manifest(spark, f"{ward}/out", "audit")
    s3.delete_object(Bucket="ward", Key="out/_manifests/audit.json")
    for call in (
        lambda: publish_checks(files, 4),
        lambda: read_manifest(spark, f"{ward}/out", "audit"),
    ):
        with pytest.raises(UserError, match="is lost; put its copy back: aws s3 cp s3://") as error:
            call()
    copy = str(error.value).partition("s3 cp s3://ward/")[2].partition(" ")[0]
    assert s3.get_object(Bucket="ward", Key=copy)["Body"].read() == before


def test_a_lock_on_s3_counts_by_the_clock_of_s3(
    spark: SparkSession, ward: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_files(spark, f"{ward}/out")
    Lock(files, "audit", datetime.now).release()
    Lock(files, "audit", lambda: datetime(2026, 1, 1)).release()
    assert keys("out/_locks/") == ["out/_locks/audit/000000002.json"]
    boto3.client("s3").put_object(Bucket="ward", Key="out/_locks/audit/000000003.json", Body=b"{")
    with pytest.raises(UserError, match="its lock is not readable"):
        Lock(files, "audit", datetime.now)
    monkeypatch.setattr(s3_server_clock, "utcnow", lambda: utcnow() + timedelta(minutes=6))
    Lock(files, "audit", datetime.now).release()


def runs_of_prepare() -> set[str]:
    return {"/".join(key.split("/")[1:3]) for key in keys("out/prepare/", "kept")}


@pytest.fixture
def delete_object(kept: list[str], spark: SparkSession) -> Iterator[Callable[[], None]]:
    """Return a function that deletes an object of the chunks table. It is restored afterwards."""
    run = read_manifest(spark, "s3a://kept/out", "prepare")["run"]
    name = next(key for key in keys(f"out/{run}/chunks/", "kept") if "part-" in key)
    s3 = boto3.client("s3")
    content = s3.get_object(Bucket="kept", Key=name)["Body"].read()
    yield lambda: s3.delete_object(Bucket="kept", Key=name)
    s3.put_object(Bucket="kept", Key=name, Body=content)


def test_a_missing_object_is_a_one_line_error(
    spark: SparkSession, kept: list[str], delete_object: Callable[[], None], ward: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    delete_object()
    code, error_output = outcome(capsys, lambda config: run_score(spark, config), kept)
    assert (code, len(error_output.splitlines())) == (cli.USER_ERROR, 1), error_output
    assert "chunks is not what jobs/prepare.py wrote" in error_output


def test_an_object_deleted_while_it_is_read_is_a_one_line_error(
    spark: SparkSession, kept: list[str], delete_object: Callable[[], None], ward: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ship = scoring.ship

    def ship_late(*arguments: Any) -> Any:  # after the files of the tables were listed
        delete_object()
        return ship(*arguments)

    monkeypatch.setattr(scoring, "ship", ship_late)
    code, error_output = outcome(capsys, lambda config: run_score(spark, config), kept)
    assert (code, len(error_output.splitlines())) == (cli.FAILED, 1), error_output
    assert "is missing" in error_output and "no partial result was published" in error_output
    with pytest.raises(UserError, match="holds no complete result of score"):
        read_manifest(spark, "s3a://kept/out", "score")


def test_a_missing_bucket_is_a_one_line_error(
    spark: SparkSession, ward: str, raw: tuple[str, str], tiny_model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    overrides = settings("s3a://no-such-ward/out", raw, tiny_model)
    code, error_output = outcome(capsys, lambda config: run_prepare(spark, config), overrides)
    assert (code, len(error_output.splitlines())) == (cli.USER_ERROR, 1), error_output
    assert "this bucket does not exist" in error_output
