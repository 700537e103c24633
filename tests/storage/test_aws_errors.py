"""Error messages of S3 and AWS clients become one plain line."""

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
from readmit_spark.storage.aws_errors import AwsFailure, find_aws_failure, find_s3_failure

# (message of a client, start of our message, temporary). The messages come from real runs
# against a server that answered in this way.
MESSAGES = [
    (
        "An error occurred while calling o42.parquet.\n: java.nio.file.AccessDeniedException: "
        "s3a://ward/out/x: PUT 0-byte object on out/x: com.amazonaws...: Access Denied (Service: "
        "Amazon S3; Status Code: 403; Error Code: AccessDenied)",
        "s3a://ward/out/x: S3 denies access",
        False,
    ),
    (
        'org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "s3"',
        "s3: Spark has no S3 connector",
        False,
    ),
    (
        "java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.s3a.S3AFileSystem not found",
        "s3: Spark has no S3 connector",
        False,
    ),
    (  # a worker's trace
        'File "storage.py", line 116, in _download\nbotocore.exceptions.ClientError: An error '
        "occurred (403) when calling the HeadObject operation: Forbidden",
        "s3: S3 denies access",
        False,
    ),
    (
        "java.io.FileNotFoundException: No such file or directory: s3a://ward/chunks/p.parquet\n\tat",
        "s3a://ward/chunks/p.parquet: an object of a table is missing",
        True,
    ),
]


@pytest.mark.parametrize(("text", "start", "temporary"), MESSAGES)
def test_a_client_message_becomes_one_line(text: str, start: str, temporary: bool) -> None:
    failure = find_s3_failure(text)
    assert failure is not None
    assert (failure.message.startswith(start), failure.temporary) == (True, temporary)
    assert "\n" not in failure.message


@pytest.mark.parametrize(
    "text", ["Access Denied: /etc/shadow", "Status Code: 503", "s3a is a word"]
)
def test_errors_of_other_origin_are_not_explained(text: str) -> None:
    assert find_s3_failure(text) is None


# --- exceptions of boto3 --------------------------------------------------------------------------


def raised(call: Callable[[], Any]) -> BotoCoreError | ClientError:
    with pytest.raises((BotoCoreError, ClientError)) as error:
        call()
    return error.value


def client(service: str, **more: Any) -> Any:
    config = Config(retries={"mode": "standard", "max_attempts": 3})
    # A new session, because the default one caches credentials.
    return boto3.Session().client(service, region_name="eu-west-1", config=config, **more)


def answering(service: str, status: int, body: str) -> Any:
    """Return a client that gets this answer to every request."""

    class Raw:
        def stream(self) -> list[bytes]:
            return [body.encode()]

    answered = client(service, aws_access_key_id="x", aws_secret_access_key="x")
    answer = AWSResponse("https://aws", status, {}, Raw())  # type: ignore[arg-type]
    answered.meta.events.register("before-send", lambda **_: answer)
    return answered


def explained(error: BaseException) -> AwsFailure:
    failure = find_aws_failure(error)
    assert failure and "\n" not in failure.message
    return failure


def test_a_refusal_is_a_user_error_with_the_message_of_aws(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emr = answering(
        "emr", 400, '{"__type": "ValidationException", "message": "Invalid InstanceProfile:\\n x."}'
    )
    code = cli.run("emr_submit", "", lambda config: emr.list_clusters(), ["--config", "/dev/null"])
    assert code == cli.USER_ERROR
    assert capsys.readouterr().err == (
        "emr_submit: AWS refuses ListClusters: Invalid InstanceProfile: x. (ValidationException)\n"
    )


def test_a_denial_by_s3_is_explained_even_if_its_text_does_not_name_s3() -> None:
    s3 = answering(
        "s3", 403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    )
    error = raised(lambda: s3.put_object(Bucket="ward", Key="x", Body=b""))
    assert "s3" not in str(error).lower()
    assert explained(error) == AwsFailure(
        "AWS refuses PutObject: Access Denied (AccessDenied)", False
    )


def test_throttling_after_all_retries_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda seconds: None)
    emr = answering("emr", 400, '{"__type": "ThrottlingException", "message": "Rate exceeded"}')
    assert explained(raised(emr.list_clusters)) == AwsFailure(
        "AWS refuses ListClusters: Rate exceeded (ThrottlingException)", True
    )


def test_missing_credentials_connection_and_profile_are_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(botocore.endpoint.time, "sleep", lambda seconds: None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    unreachable = {"endpoint_url": "http://127.0.0.1:9"}
    no_credentials = explained(raised(client("emr", **unreachable).list_clusters))
    assert no_credentials.message.startswith("no AWS credentials found")
    assert not no_credentials.temporary
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    no_connection = explained(raised(client("emr", **unreachable, **keys).list_clusters))
    assert no_connection.message.startswith("the connection to AWS still fails")
    assert no_connection.temporary
    profile = explained(raised(lambda: boto3.Session(profile_name="ward")))
    assert "The config profile (ward) could not be found" in profile.message


def test_an_error_in_our_own_call_is_not_explained() -> None:
    emr = client("emr", aws_access_key_id="x", aws_secret_access_key="x")
    assert find_aws_failure(raised(lambda: emr.describe_cluster(Cluster="j-1"))) is None
