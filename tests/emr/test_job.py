"""jobs/emr_submit.py as a user runs it, with the code of this clone."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from moto import mock_aws

from readmit_spark import cli
from readmit_spark.emr import run
from readmit_spark.emr.validate import validate
from tests.emr.conftest import ACCOUNT, ROOT

SETTINGS = ["--config", "conf/emr.yaml", *(p for s in ACCOUNT for p in ("--set", s))]


def submit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "jobs/emr_submit.py", *SETTINGS, *arguments],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true"},
    )  # fmt: skip


def test_a_dry_run_prints_a_valid_request_and_sends_nothing() -> None:
    done = submit("prepare", "score", "--dry-run")  # there are no credentials and no endpoint
    assert done.returncode == 0, done.stderr
    request: dict[str, Any] = json.loads(done.stdout)
    validate("emr", "RunJobFlow", request)
    assert [step["Name"] for step in request["Steps"]] == ["readmit-prepare", "readmit-score"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--terminate"], "--terminate needs --cluster J-ID"),
        (["demo_data", "--dry-run"], "demo_data cannot run on a cluster"),
        (["score", "--dry-run", "--set", "output.root=out"], "output.root is out"),
        (["--as-of", "bed 7", "--dry-run"], "--as-of bed 7: write it as 2026-11-22T02:00:00"),
        (["--estimate", "nowhere.yaml"], "--estimate: nowhere.yaml does not exist"),
    ],
)
def test_a_user_error_is_one_line_and_2(arguments: list[str], message: str) -> None:
    done = submit(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"emr_submit: {message}")
    assert len(done.stderr.splitlines()) == 1


def test_the_estimate_needs_no_account() -> None:
    done = submit("--estimate")
    assert done.returncode == 0
    assert "total $" in done.stdout and "not measured" in done.stdout


# --- in this process ------------------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the job with arguments and returns its exit code."""
    monkeypatch.chdir(ROOT)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    names = runpy.run_path("jobs/emr_submit.py")
    return lambda *arguments: cli.run(
        "emr_submit", "", names["main"], [*SETTINGS, *arguments], names["arguments"]
    )


@mock_aws
def test_upload_sends_the_code_and_starts_nothing(
    job: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    s3, emr = boto3.client("s3", "us-east-1"), boto3.client("emr", "eu-west-1")
    s3.create_bucket(Bucket="ward")
    assert job("nightly", "--upload") == cli.OK
    args = json.loads(capsys.readouterr().out)["Steps"][0]["HadoopJarStep"]["Args"]
    named = {arg.removeprefix("s3://ward/") for arg in args if arg.startswith("s3://ward/")}
    uploaded = {entry["Key"] for entry in s3.list_objects_v2(Bucket="ward")["Contents"]}
    assert len(named) == 3 and named <= uploaded
    assert emr.list_clusters()["Clusters"] == []


@mock_aws
def test_a_refusal_by_aws_is_one_line_and_2(
    job: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert job("nightly") == cli.USER_ERROR
    _, *lines = capsys.readouterr().err.splitlines()  # the first line is the stage
    assert lines == [
        "emr_submit: AWS refuses PutObject: The specified bucket does not exist (NoSuchBucket)"
    ]


@pytest.mark.parametrize(("completed", "code"), [(True, cli.OK), (False, cli.FAILED)])
def test_a_failed_emr_step_is_exit_code_1(
    job: Callable[..., int], monkeypatch: pytest.MonkeyPatch, completed: bool, code: int
) -> None:
    monkeypatch.setattr(run, "submit", lambda *_, **__: completed)
    assert job("nightly") == code


def test_an_interrupt_is_130(job: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "submit", interrupt)
    assert job("nightly") == cli.INTERRUPTED
