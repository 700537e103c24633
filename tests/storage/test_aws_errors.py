"""What S3's clients say, as they say it, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.endpoint
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from readmit_spark import cli
from readmit_spark.storage.aws_errors import Failure, failure_of, s3_failure

# Taken from runs against a server that did this.
SAID = [
    (
        "An error occurred while calling o42.parquet.\n: java.nio.file.AccessDeniedException: "
        "s3a://ward/out/x: PUT 0-byte object on out/x: com.amazonaws...: Access Denied (Service: "
        "Amazon S3; Status Code: 403; Error Code: AccessDenied)",
        ("s3a://ward/out/x: S3 denies access", False),
    ),
    (
        'org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"',
        ("s3: Spark has no S3 connector here", False),
    ),
    (
        "java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found",
        ("s3: Spark has no S3 connector here", False),
    ),
    (  # a worker's trace
        'File "storage.py", line 116, in _download\nbotocore.exceptions.ClientError: An error '
        "occurred (403) when calling the HeadObject operation: Forbidden",
        ("s3: S3 denies access", False),
    ),
    (
        "java.io.FileNotFoundException: No such file or directory: s3a://ward/chunks/p.parquet\n\tat",
        ("s3a://ward/chunks/p.parquet: an object of a table is gone", True),
    ),
]


@pytest.mark.parametrize(("text", "expected"), SAID)
def test_what_clients_say_is_one_line(text: str, expected: tuple[str, bool]) -> None:
    found = s3_failure(text)
    assert found is not None
    assert (found.message.startswith(expected[0]), found.passing) == (True, expected[1])
    assert "\n" not in found.message


@pytest.mark.parametrize(
    "text", ["Access Denied: /etc/shadow", "Status Code: 503", "s3a is a word"]
)
def test_other_faults_keep_their_trace(text: str) -> None:
    assert s3_failure(text) is None


# --- what boto3 itself raises ---------------------------------------------------------------------


def raised(call: Callable[[], Any]) -> BotoCoreError | ClientError:
    with pytest.raises((BotoCoreError, ClientError)) as found:
        call()
    return found.value


def client(service: str, **more: Any) -> Any:
    config = Config(retries={"mode": "standard", "max_attempts": 3})
    # Not the default session, which keeps what credentials it has found.
    return boto3.Session().client(service, region_name="eu-west-1", config=config, **more)


def answering(service: str, status: int, body: str) -> Any:
    """A client whose every request gets this answer."""

    class Raw:
        def stream(self) -> list[bytes]:
            return [body.encode()]

    made = client(service, aws_access_key_id="x", aws_secret_access_key="x")
    answer = AWSResponse("https://aws", status, {}, Raw())  # type: ignore[arg-type]
    made.meta.events.register("before-send", lambda **_: answer)
    return made


def failed(error: BaseException) -> Failure:
    found = failure_of(error)
    assert found and "\n" not in found.message
    return found


def test_a_refusal_is_a_mistake_and_says_what_aws_says(capsys: pytest.CaptureFixture[str]) -> None:
    emr = answering(
        "emr", 400, '{"__type": "ValidationException", "message": "Invalid InstanceProfile:\\n x."}'
    )
    code = cli.run("emr_submit", "", lambda config: emr.list_clusters(), ["--config", "/dev/null"])
    assert code == cli.MISTAKE
    assert capsys.readouterr().err == (
        "emr_submit: AWS refuses ListClusters: Invalid InstanceProfile: x. (ValidationException)\n"
    )


def test_a_denial_by_s3_is_one_line_though_its_text_does_not_name_s3() -> None:
    s3 = answering(
        "s3", 403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    )
    error = raised(lambda: s3.put_object(Bucket="ward", Key="x", Body=b""))
    assert "s3" not in str(error).lower()
    assert failed(error) == Failure("AWS refuses PutObject: Access Denied (AccessDenied)", False)


def test_throttling_that_outlasts_the_tries_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda seconds: None)
    emr = answering("emr", 400, '{"__type": "ThrottlingException", "message": "Rate exceeded"}')
    found = failed(raised(emr.list_clusters))
    assert found == Failure("AWS refuses ListClusters: Rate exceeded (ThrottlingException)", True)


def test_without_credentials_or_a_way_to_aws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda seconds: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    nowhere = {"endpoint_url": "http://127.0.0.1:9"}
    none = failed(raised(client("emr", **nowhere).list_clusters))
    assert (none.message[:26], none.passing) == ("there are no AWS credentia", False)
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    cut = failed(raised(client("emr", **nowhere, **keys).list_clusters))
    assert (cut.message[:30], cut.passing) == ("the connection to AWS breaks f", True)
    profile = failed(raised(lambda: boto3.Session(profile_name="ward")))
    assert "The config profile (ward) could not be found" in profile.message


def test_a_fault_of_our_own_keeps_its_trace() -> None:
    emr = client("emr", aws_access_key_id="x", aws_secret_access_key="x")
    assert failure_of(raised(lambda: emr.describe_cluster(Cluster="j-1"))) is None
