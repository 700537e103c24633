"""The jobs on s3a://, while S3 is well and while it is not: the local result, or one clear line."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from pyspark.sql import SparkSession

from readmit_spark import cli
from readmit_spark.config import Config, load_config
from readmit_spark.errors import UserError
from readmit_spark.models.checkpoint import Located
from readmit_spark.progress import Progress
from readmit_spark.spark.publish import manifest
from readmit_spark.steps.finetune import finetune_and_register
from tests.s3.hospital import results, run_all, run_prepare, run_score, settings, write_raw
from tests.s3.proxy import Fault, FaultyProxy
from tests.steps.test_main_path import hospital
from tests.tables_in import write_csv

ROOT = Path(__file__).parents[2]


def upload(folder: Path, prefix: str) -> None:
    for path in folder.iterdir():
        boto3.client("s3").upload_file(str(path), "ward", f"{prefix}/{path.name}")


def keys(prefix: str) -> list[str]:
    found = boto3.client("s3").list_objects_v2(Bucket="ward", Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def local(
    spark: SparkSession,
    raw: tuple[str, str],
    tiny_model: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """What the jobs make on a disk."""
    root = str(tmp_path_factory.mktemp("local"))
    run_all(spark, settings(root, raw, tiny_model))
    return results(spark, root)


def first_time(fault: Fault, which: Callable[[str, str], bool]) -> Callable[[str, str], Any]:
    """The fault at the first request of each object, and none when it is tried again."""
    seen: set[str] = set()

    def rule(method: str, path: str) -> Fault | None:
        key = f"{method} {path.partition('?')[0]}"
        if not which(method, path) or key in seen:
            return None
        seen.add(key)
        return fault

    return rule


def is_data(method: str, path: str) -> bool:
    return method == "PUT" and ".parquet" in path


def test_all_on_s3_gives_the_local_result(
    spark: SparkSession, ward: str, raw: tuple[str, str], tiny_model: str, local: Any
) -> None:
    upload(Path(raw[0]).parent, "raw")
    upload(Path(tiny_model), f"models/{Path(tiny_model).name}")
    on_s3 = (f"{ward}/raw/ADMISSIONS.csv", f"{ward}/raw/NOTEEVENTS.csv.gz")
    run_all(spark, settings(f"{ward}/out", on_s3, f"{ward}/models/{Path(tiny_model).name}"))
    assert results(spark, f"{ward}/out") == local
    assert {"out/report.html", "out/metrics.json", "out/worklist.csv"} <= set(keys("out/"))


def test_a_model_is_trained_from_s3_and_registered_with_its_artifacts_there(
    spark: SparkSession, ward: str, tiny_model: str, tmp_path: Path
) -> None:
    stays, notes = hospital()
    tables = (write_csv(tmp_path / "A.csv", stays), write_csv(tmp_path / "N.csv", notes))
    overrides = [*settings(f"{ward}/out", tables, tiny_model), "train.epochs=1"]
    with pytest.raises(UserError, match=r"tracking\.uri is not set"):
        _ = load_config(overrides=overrides).tracking_uri
    overrides += [f"tracking.uri=sqlite:///{tmp_path}/m.db", "tracking.artifacts=s3://ward/mlflow"]
    config = load_config(overrides=overrides)
    run_prepare(spark, config)
    prepared = manifest(spark, f"{ward}/out", "prepare")
    progress = Progress("f", 3, io.StringIO())
    finetune_and_register(config, Located(tiny_model, "tiny"), prepared, progress)
    assert any(key.endswith("model.safetensors") for key in keys("mlflow/"))
    champion = [*overrides, "model.path=models:/readmission@champion"]
    run_score(spark, load_config(overrides=champion))
    assert manifest(spark, f"{ward}/out", "score")["model"] == "readmission/1"


def test_requests_that_s3_refuses_for_their_rate_are_made_again(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str,
    local: Any,
) -> None:  # fmt: skip
    proxy.rule = first_time(Fault.SLOW_DOWN, lambda method, path: "out" in path)
    run_all(spark, settings(f"{ward}/out", raw, tiny_model))
    assert len(proxy.met) > 50
    assert results(spark, f"{ward}/out") == local


def test_uploads_that_are_cut_are_made_again(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str,
    local: Any,
) -> None:  # fmt: skip
    proxy.rule = first_time(Fault.CUT, is_data)
    run_all(spark, settings(f"{ward}/out", raw, tiny_model))
    assert len(proxy.met) >= 7  # each table has a file at least
    assert results(spark, f"{ward}/out") == local


def outcome(
    capsys: pytest.CaptureFixture[str], call: Callable[[Config], object], overrides: list[str]
) -> tuple[int, str]:
    """Exit code of a job, and what it said at its end."""
    arguments = [part for override in overrides for part in ("--set", override)]
    code = cli.run("job", "", call, ["--config", os.devnull, *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (Fault.SLOW_DOWN, cli.FAULT, r"S3 asks to slow down"),
        (Fault.CUT, cli.FAULT, r"the connection to S3 breaks"),
        (Fault.DENIED, cli.MISTAKE, r"S3 denies access"),
    ],
)
def test_faults_that_do_not_pass_are_one_line_and_leave_the_last_result(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str,
    capsys: pytest.CaptureFixture[str], fault: Fault, code: int, message: str,
) -> None:  # fmt: skip
    overrides = [*settings(f"{ward}/out", raw, tiny_model), "output.overwrite=true"]
    run_prepare(spark, load_config(overrides=overrides))
    before = results(spark, f"{ward}/out", ["prepare"])
    proxy.rule = lambda method, path: fault if is_data(method, path) else None
    found, said = outcome(capsys, lambda config: run_prepare(spark, config), overrides)
    proxy.calm()
    assert (found, len(said.splitlines())) == (code, 1), said
    assert message in said and "no result is left half" in said
    assert results(spark, f"{ward}/out", ["prepare"]) == before


def test_a_kill_between_data_and_manifest_leaves_the_last_result(
    spark: SparkSession, ward: str, proxy: FaultyProxy, raw: tuple[str, str], tiny_model: str,
    s3_settings: dict[str, str],
) -> None:  # fmt: skip
    overrides = [*settings(f"{ward}/out", raw, tiny_model), "output.overwrite=true"]
    config = load_config(overrides=overrides)
    run_prepare(spark, config)
    before = manifest(spark, f"{ward}/out", "prepare")
    about_to_publish = threading.Event()

    def rule(method: str, path: str) -> Fault | None:
        if method == "PUT" and "_manifests/prepare.json" in path:
            about_to_publish.set()
            return Fault.SWALLOW
        return None

    proxy.rule = rule
    options = " ".join(f"--conf {key}={value}" for key, value in s3_settings.items())
    arguments = [part for override in overrides for part in ("--set", override)]
    job = subprocess.Popen(
        [sys.executable, "jobs/prepare.py", "--config", os.devnull, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": f"{options} pyspark-shell"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    reached = about_to_publish.wait(120)
    os.killpg(job.pid, signal.SIGKILL)  # Python, Java and the workers
    assert reached, job.communicate()[1].decode()
    assert job.wait() == -signal.SIGKILL
    proxy.calm()
    runs = {key.split("/")[2] for key in keys("out/prepare/")}
    assert len(runs) == 2  # the dead one's data are there, whole
    assert manifest(spark, f"{ward}/out", "prepare") == before
    run_prepare(spark, config)
    after = manifest(spark, f"{ward}/out", "prepare")
    left = {key.split("/")[2] for key in keys("out/prepare/")}
    assert left == {before["run"].split("/")[1], after["run"].split("/")[1]}


def test_an_object_that_is_gone_is_one_line(
    spark: SparkSession, ward: str, raw: tuple[str, str], tiny_model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    overrides = settings(f"{ward}/out", raw, tiny_model)
    run_prepare(spark, load_config(overrides=overrides))
    gone = next(key for key in keys("out/prepare/") if "/chunks/" in key and "part-" in key)
    boto3.client("s3").delete_object(Bucket="ward", Key=gone)
    code, said = outcome(capsys, lambda config: run_score(spark, config), overrides)
    assert (code, len(said.splitlines())) == (cli.MISTAKE, 1)
    assert "chunks is not what jobs/prepare.py wrote" in said
    with pytest.raises(UserError, match="holds no complete result of score"):
        manifest(spark, f"{ward}/out", "score")


def test_an_object_that_goes_while_it_is_read_is_one_line(
    spark: SparkSession, ward: str, raw: tuple[str, str], tiny_model: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    overrides = settings(f"{ward}/out", raw, tiny_model)
    run_prepare(spark, load_config(overrides=overrides))

    def lose(*_: object) -> None:
        gone = next(key for key in keys("out/prepare/") if "/chunks/" in key and "part-" in key)
        boto3.client("s3").delete_object(Bucket="ward", Key=gone)

    monkeypatch.setattr("readmit_spark.steps.score._check_precision", lose)
    code, said = outcome(capsys, lambda config: run_score(spark, config), overrides)
    assert (code, len(said.splitlines())) == (cli.FAULT, 1), said
    assert "is gone" in said and "no result is left half" in said


def test_a_bucket_that_is_not_there_is_one_line(
    spark: SparkSession, ward: str, raw: tuple[str, str], tiny_model: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    overrides = settings("s3a://no-such-ward/out", raw, tiny_model)
    code, said = outcome(capsys, lambda config: run_prepare(spark, config), overrides)
    assert (code, len(said.splitlines())) == (cli.MISTAKE, 1), said
    assert "does not exist" in said
