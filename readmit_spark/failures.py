"""Saying in a line what S3 did: its clients say it in fifty, each in its own words."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """What S3 did, for the person who runs the job; passing: the same run may succeed later."""

    message: str
    passing: bool


# The marks that Hadoop's connector, boto3 and pyarrow leave in their messages; the first that is
# found decides. They name objects and hold nothing of what is in them.
_FAILURES = (
    (
        r"No FileSystem for scheme \"?s3|S3AFileSystem not found",
        "Spark has no S3 connector here: spark-submit --packages "
        "org.apache.hadoop:hadoop-aws:VERSION, with the version of Spark's own Hadoop",
        False,
    ),
    (
        r"NoAuthWithAWSException|NoCredentialsError|Unable to locate credentials"
        r"|No AWS Credentials provided",
        "there are no AWS credentials here: an instance profile, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY",
        False,
    ),
    (r"UnknownStoreException|NoSuchBucket", "this bucket does not exist", False),
    (
        r"Status Code: 403|AccessDenied|ACCESS_DENIED|\(403\)",
        "S3 denies access: the role that runs the job needs to list, read, write and delete there",
        False,
    ),
    (r"SlowDown|SLOW_DOWN|Status Code: 503", "S3 asks to slow down for longer than is tried", True),
    (
        r"FileNotFoundException: No such file or directory: s3|NoSuchKey|NO_SUCH_KEY",
        "an object of a table is gone",
        True,
    ),
    (
        r"Unable to execute HTTP request|ConnectTimeout|EndpointConnectionError|NETWORK_CONNECTION"
        r"|ConnectionClosedError|IncompleteReadError|Connection reset",
        "the connection to S3 breaks for longer than is tried",
        True,
    ),
)


def s3_failure(error: str) -> Failure | None:
    """What an exception's text says of S3, if it does: one line, with the path where it has one."""
    if "s3" not in error.lower():
        return None
    for mark, message, passing in _FAILURES:
        if re.search(mark, error):
            path = re.search(r"s3[an]?://[^\s:,\"')]+", error)
            return Failure(f"{path.group() if path else 's3'}: {message}", passing)
    return None
