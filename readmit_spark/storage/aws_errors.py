"""Saying in a line what S3 or AWS did: clients say it in fifty, each in its own words."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """What was done, for the person who runs the job; passing: the same run may succeed later."""

    message: str
    passing: bool


_NO_CREDENTIALS = (
    "there are no AWS credentials here: an instance profile, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)

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
        _NO_CREDENTIALS,
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


def failure_of(error: BaseException) -> Failure | None:
    """What an exception says of AWS or S3, if it does: one line."""
    return _aws_failure(error) or s3_failure(str(error))


def s3_failure(error: str) -> Failure | None:
    """What an exception's text says of S3, if it does: one line, with the path where it has one."""
    if not re.search(r"s3|botocore\.", error, re.IGNORECASE):
        return None
    for mark, message, passing in _FAILURES:
        if re.search(mark, error):
            path = re.search(r"s3[an]?://[^\s:,\"')]+", error)
            at = path.group() if path else "s3"
            return Failure(f"{at}: {message}; no result is left half", passing)
    return None


def _aws_failure(error: BaseException) -> Failure | None:
    """What boto3 raises itself, by type: its texts do not all say whose they are."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        told, facts = error.response["Error"], error.response.get("ResponseMetadata", {})
        said = f"AWS refuses {error.operation_name}: {told.get('Message')} ({told.get('Code')})"
        # boto3 knows what may pass, and has tried it again until its patience ended.
        return Failure(_line(said), passing=facts.get("MaxAttemptsReached", False))
    if isinstance(error, aws.NoCredentialsError):
        return Failure(_NO_CREDENTIALS, passing=False)
    if isinstance(
        error,
        aws.NoRegionError | aws.ProfileNotFound | aws.PartialCredentialsError
        | aws.CredentialRetrievalError | aws.SSOError | aws.TokenRetrievalError,
    ):  # fmt: skip
        return Failure(_line(f"AWS cannot be asked, as this machine is set up: {error}"), False)
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError | aws.IncompleteReadError):
        return Failure(
            _line(f"the connection to AWS breaks for longer than is tried: {error}"), True
        )
    return None


def _line(text: str) -> str:
    return " ".join(text.split())
