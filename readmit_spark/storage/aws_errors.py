"""One-line explanations of S3 and AWS errors.

Hadoop's S3A connector, boto3 and pyarrow report the same problem in different and long messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class AwsFailure:
    """One line for the person who runs the job; `temporary`: the same run may succeed later."""

    message: str
    temporary: bool


_NO_CREDENTIALS = (
    "no AWS credentials found: use an instance profile, or set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)

# (pattern in the client's message, our message, temporary). The first match counts. Our messages
# contain no content of S3 objects.
_FAILURES = (
    (
        r"No FileSystem for scheme \"?s3|S3AFileSystem not found",
        "Spark has no S3 connector: add spark-submit --packages "
        "org.apache.hadoop:hadoop-aws:VERSION with the version of Spark's Hadoop",
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
        "S3 denies access: the job's role needs permission to list, read, write and delete there",
        False,
    ),
    (
        r"SlowDown|SLOW_DOWN|Status Code: 503",
        "S3 still asks to slow down after all retries",
        True,
    ),
    (
        r"FileNotFoundException: No such file or directory: s3|NoSuchKey|NO_SUCH_KEY",
        "an object of a table is missing",
        True,
    ),
    (
        r"Unable to execute HTTP request|ConnectTimeout|EndpointConnectionError|NETWORK_CONNECTION"
        r"|ConnectionClosedError|IncompleteReadError|Connection reset",
        "the connection to S3 still fails after all retries",
        True,
    ),
)


def find_aws_failure(error: BaseException) -> AwsFailure | None:
    """Explain an exception that S3 or AWS caused; return None for any other exception."""
    return _boto3_failure(error) or find_s3_failure(str(error))


def find_s3_failure(text: str) -> AwsFailure | None:
    """Explain the text of an exception that S3 caused; return None for any other text.

    The message starts with the S3 path if `text` contains one.
    """
    if not re.search(r"s3|botocore\.", text, re.IGNORECASE):
        return None
    for pattern, message, temporary in _FAILURES:
        if re.search(pattern, text):
            path = re.search(r"s3[an]?://[^\s:,\"')]+", text)
            subject = path.group() if path else "s3"
            return AwsFailure(f"{subject}: {message}; no partial result was published", temporary)
    return None


def _boto3_failure(error: BaseException) -> AwsFailure | None:
    """Explain an exception of boto3 by its type, because its text need not name AWS or S3."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        answer, metadata = error.response["Error"], error.response.get("ResponseMetadata", {})
        message = (
            f"AWS refuses {error.operation_name}: {answer.get('Message')} ({answer.get('Code')})"
        )
        # boto3 retries only temporary failures, and sets this after the last retry.
        return AwsFailure(_one_line(message), metadata.get("MaxAttemptsReached", False))
    if isinstance(error, aws.NoCredentialsError):
        return AwsFailure(_NO_CREDENTIALS, temporary=False)
    if isinstance(
        error,
        aws.NoRegionError | aws.ProfileNotFound | aws.PartialCredentialsError
        | aws.CredentialRetrievalError | aws.SSOError | aws.TokenRetrievalError,
    ):  # fmt: skip
        return AwsFailure(
            _one_line(f"the AWS settings of this machine are incomplete or wrong: {error}"), False
        )
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError | aws.IncompleteReadError):
        return AwsFailure(
            _one_line(f"the connection to AWS still fails after all retries: {error}"), True
        )
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())
