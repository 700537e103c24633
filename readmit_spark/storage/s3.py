"""S3 without Spark: streams, conditional writes and cached model folders."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pyarrow import fs

from readmit_spark.errors import UserError
from readmit_spark.storage.scratch import private_folder

_ATTEMPTS = 10  # per request; throttling and broken connections are temporary
_S3 = re.compile(r"^s3[an]?://([^/]+)/?(.*)$")


def is_s3(path: str) -> bool:
    """Return True for s3://, s3a:// and s3n://, which are treated the same."""
    return bool(_S3.match(path))


def split_s3(path: str) -> tuple[str, str]:
    """Return bucket and key.

    >>> split_s3("s3a://bucket/a/b")
    ('bucket', 'a/b')
    """
    match = _S3.match(path)
    if not match:
        raise ValueError(f"{path} is not on S3")
    return match[1], match[2]


def filesystem_of(path: str) -> tuple[fs.FileSystem, str]:
    """Return pyarrow's file system and its path for a local path, s3://, hdfs:// or file://."""
    if "://" not in path:
        return fs.LocalFileSystem(), path
    if is_s3(path):  # the name of an object need not be a valid URI
        bucket, key = split_s3(path)
        system, _ = fs.FileSystem.from_uri(f"s3://{bucket}")
        return system, f"{bucket}/{key}"
    return fs.FileSystem.from_uri(path)  # type: ignore[no-any-return]


def etag(path: str) -> str | None:
    """Return the ETag of an S3 object, which changes with its content; None if it is missing."""
    from botocore.exceptions import ClientError

    bucket, key = split_s3(path)
    try:
        return str(_client().head_object(Bucket=bucket, Key=key)["ETag"])
    except ClientError as error:
        if _status(error) == 404:
            return None
        raise


def put_if_unchanged(path: str, text: str, expected_etag: str | None) -> bool:
    """Write an S3 object only if it still has `expected_etag` (None: if it does not exist).

    If several processes try at the same time, exactly one gets True. S3 itself decides
    (If-Match, If-None-Match); Hadoop's connector cannot send these conditions.
    """
    from botocore.exceptions import ClientError

    bucket, key = split_s3(path)
    client, body = _client(), text.encode()
    condition = {"IfMatch": expected_etag} if expected_etag else {"IfNoneMatch": "*"}
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, **condition)
    except ClientError as error:
        # 412: another object is there; 409: another write was in progress; NoSuchKey: deleted.
        if _status(error) not in (409, 412) and error.response["Error"]["Code"] != "NoSuchKey":
            raise
        # The object may be ours: boto3 repeats a request if the answer to the first one is lost.
        return _content(client, bucket, key) == body
    return True


def _content(client: Any, bucket: str, key: str) -> bytes | None:
    try:
        return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    except client.exceptions.NoSuchKey:
        return None


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def fetch_folder(path: str, version: str | None = None, cache: Path | None = None) -> Path:
    """Download a folder from S3 to a local cache, once per machine, and return its local path.

    Each version (keys, sizes and ETags) has its own folder in `cache`; the folder's name is the
    version. It is either complete or absent. The default is this user's private folder in the
    system's temporary folder, because the files are loaded as models. Raise a UserError if the S3
    folder does not exist, or if `version` is given and exists neither in the cache nor on S3.
    """
    from filelock import FileLock

    cache = cache or private_folder(Path(tempfile.gettempdir()))
    if version and (cache / version).is_dir():
        return cache / version
    bucket, key = split_s3(path)
    client = _client()
    prefix = f"{key.strip('/')}/"
    objects = _objects(client, bucket, prefix)
    if not objects:
        raise UserError(f"{path} does not exist, or is empty")
    current = _version(objects)
    if version not in (None, current):
        raise UserError(f"{path} was replaced while the job ran; run the job again")
    folder = cache / current
    with FileLock(cache / f"{current}.lock"):
        if not folder.is_dir():
            for leftover in cache.glob(f"{current}.*.part"):  # of a process that died
                shutil.rmtree(leftover)
            temporary = cache / f"{current}.{secrets.token_hex(4)}.part"
            try:
                for relative, (size, _) in objects.items():
                    _download(client, bucket, prefix + relative, temporary / relative, size)
                if _objects(client, bucket, prefix) != objects:
                    raise UserError(f"{path} was replaced while it was read; run the job again")
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _objects(client: Any, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    """Return size and ETag of each object by its key below `prefix`."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = (item for page in pages for item in page.get("Contents", []))
    return {
        item["Key"].removeprefix(prefix): (item["Size"], item["ETag"])
        for item in objects
        if not item["Key"].endswith("/")
    }


def _download(client: Any, bucket: str, key: str, target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    client.download_file(bucket, key, str(target))
    received = target.stat().st_size
    if received != size:
        raise OSError(f"s3://{bucket}/{key}: received {received} of {size} bytes")


def _version(objects: dict[str, tuple[int, str]]) -> str:
    return f"model-{hashlib.sha256(repr(sorted(objects.items())).encode()).hexdigest()[:16]}"


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", config=Config(retries={"mode": "standard", "max_attempts": _ATTEMPTS})
    )
