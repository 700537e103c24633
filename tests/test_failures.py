"""What S3's clients say, as they say it, in one line."""

from __future__ import annotations

import pytest

from readmit_spark.failures import s3_failure

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
    (
        "An error occurred (NoSuchBucket) when calling the PutObject operation of s3://w/a",
        ("s3://w/a: this bucket does not exist", False),
    ),
    ("s3: Unable to locate credentials", ("s3: there are no AWS credentials here", False)),
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
