"""Files that are not Spark's, on a disk or on S3: streams, conditional writes, model folders."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pyarrow import fs

from readmit_spark.errors import UserError

_ATTEMPTS = 10  # S3 asks to slow down, and cuts connections; both pass
_S3 = re.compile(r"^s3[an]?://([^/]+)/?(.*)$")


def is_s3(path: str) -> bool:
    """True for s3:// and s3a://, which mean the same everywhere here."""
    return bool(_S3.match(path))


def split_s3(path: str) -> tuple[str, str]:
    """Bucket and key.

    >>> split_s3("s3a://bucket/a/b")
    ('bucket', 'a/b')
    """
    found = _S3.match(path)
    if not found:
        raise ValueError(f"{path} is not on S3")
    return found[1], found[2]


def filesystem_of(path: str) -> tuple[fs.FileSystem, str]:
    """pyarrow's file system, and its path, for a local path, s3://, s3a://, hdfs:// or file://."""
    if "://" not in path:
        return fs.LocalFileSystem(), path
    system, inside = fs.FileSystem.from_uri(re.sub(r"^s3[an]://", "s3://", path))
    return system, inside


def etag(path: str) -> str | None:
    """What tells an object of S3 from the one that replaces it; None where there is none."""
    from botocore.exceptions import ClientError

    bucket, key = split_s3(path)
    try:
        return str(_client().head_object(Bucket=bucket, Key=key)["ETag"])
    except ClientError as error:
        if _status(error) == 404:
            return None
        raise


def put_unless_changed(path: str, text: str, seen: str | None) -> bool:
    """Writes an object of S3 where it still has the ETag `seen`, or where that is None, is not
    there; of all who try at once, one gets True.

    S3 decides it (If-Match, If-None-Match), which Hadoop's connector cannot ask for.
    """
    from botocore.exceptions import ClientError

    bucket, key = split_s3(path)
    client, body = _client(), text.encode()
    condition = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"}
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, **condition)
    except ClientError as error:
        # 412: it is another; 409: another was being written at that moment; or it is gone.
        if _status(error) not in (409, 412) and error.response["Error"]["Code"] != "NoSuchKey":
            raise
        # It may be this very one: the answer to a first try was lost, and it was tried again.
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
    """A folder of S3 on this machine's disk: fetched once, however many processes ask.

    Each version (keys, sizes and ETags) has a folder of its own, which has its name, below `cache`
    (None: one below the system's temporary folder), and is there whole or not at all. UserError
    where there is no such folder, or where `version` is given, is not here and is there no more.
    """
    from filelock import FileLock

    cache = cache or _cache()
    if version and (cache / version).is_dir():
        return cache / version
    bucket, key = split_s3(path)
    client = _client()
    prefix = f"{key.strip('/')}/"
    found = _objects(client, bucket, prefix)
    if not found:
        raise UserError(f"{path} does not exist, or holds nothing")
    name = _version(found)
    if version not in (None, name):
        raise UserError(f"{path} was replaced while the job ran; run the job again")
    folder = cache / name
    with FileLock(cache / f"{name}.lock"):
        if not folder.is_dir():
            for left in cache.glob(f"{name}.*.part"):  # by a process that died
                shutil.rmtree(left)
            aside = cache / f"{name}.{secrets.token_hex(4)}.part"
            try:
                for relative, (size, _) in found.items():
                    _download(client, bucket, prefix + relative, aside / relative, size)
                if _objects(client, bucket, prefix) != found:
                    raise UserError(f"{path} was replaced while it was read; run the job again")
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return folder


def _objects(client: Any, bucket: str, prefix: str) -> dict[str, tuple[int, str]]:
    """Size and ETag of each object, by its key below `prefix`."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = (found for page in pages for found in page.get("Contents", []))
    return {
        found["Key"].removeprefix(prefix): (found["Size"], found["ETag"])
        for found in objects
        if not found["Key"].endswith("/")
    }


def _download(client: Any, bucket: str, key: str, target: Path, size: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    client.download_file(bucket, key, str(target))
    if target.stat().st_size != size:
        raise OSError(f"s3://{bucket}/{key} came with {target.stat().st_size} of {size} bytes")


def _version(objects: dict[str, tuple[int, str]]) -> str:
    return f"model-{hashlib.sha256(repr(sorted(objects.items())).encode()).hexdigest()[:16]}"


def _cache() -> Path:
    """A folder of this user alone: what lies in it is loaded as a model."""
    folder = Path(tempfile.gettempdir()) / f"readmit-spark-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user; remove it")
    return folder


def _client() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", config=Config(retries={"mode": "standard", "max_attempts": _ATTEMPTS})
    )
