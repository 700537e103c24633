"""S3 without Spark: conditional writes, cached model folders, streams."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from readmit_spark.errors import UserError
from readmit_spark.scoring.ship_model import ShippedModel, ship
from readmit_spark.storage import s3, scratch
from readmit_spark.storage.s3 import (
    etag,
    fetch_folder,
    filesystem_of,
    is_s3,
    put_if_unchanged,
    split_s3,
)

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 300_000, "onnx/part.bin": b"x"}


def put_files(files: dict[str, bytes], prefix: str = "models/m") -> str:
    for name, content in files.items():
        boto3.client("s3").put_object(Bucket="ward", Key=f"{prefix}/{name}", Body=content)
    return f"s3://ward/{prefix}"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("scheme", ["s3", "s3a", "s3n"])
def test_all_s3_schemes_are_treated_the_same(bucket: str, scheme: str) -> None:
    assert is_s3(f"{scheme}://ward/a/b")
    assert split_s3(f"{scheme}://ward/a/b") == ("ward", "a/b")
    system, path = filesystem_of(f"{scheme}://ward/a/b")
    with system.open_output_stream(path) as file:
        file.write(b"text")
    assert boto3.client("s3").get_object(Bucket="ward", Key="a/b")["Body"].read() == b"text"


@pytest.mark.parametrize("path", ["a/b", "/a", "hdfs://n/a", "file:///a", "s3:/a"])
def test_other_paths_are_not_on_s3(path: str) -> None:
    assert not is_s3(path)
    with pytest.raises(ValueError, match="is not on S3"):
        split_s3(path)


def test_one_of_many_simultaneous_writes_succeeds(bucket: str) -> None:
    def put(i: int) -> bool:
        return put_if_unchanged(f"{bucket}/locks/1.json", f"{i}", None)

    with ThreadPoolExecutor(8) as pool:
        successful = [i for i, ok in enumerate(pool.map(put, range(8))) if ok]
    assert len(successful) == 1
    body = boto3.client("s3").get_object(Bucket="ward", Key="locks/1.json")["Body"].read()
    assert body == str(successful[0]).encode()


def test_a_missing_bucket_is_an_error_and_not_a_lost_race(bucket: str) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        put_if_unchanged("s3://no-such-ward/x", "", None)


def test_only_an_unchanged_object_is_replaced(bucket: str) -> None:
    path = f"{bucket}/_manifests/score.json"
    assert etag(path) is None
    assert put_if_unchanged(path, "first", None)
    first_etag = etag(path)
    assert put_if_unchanged(path, "second", first_etag)
    assert not put_if_unchanged(path, "third", first_etag)
    assert not put_if_unchanged(path, "third", None)
    assert text_of(path) == "second"
    boto3.client("s3").delete_object(Bucket="ward", Key="_manifests/score.json")
    assert not put_if_unchanged(path, "third", first_etag)
    assert etag(path) is None


def test_a_repeated_request_after_a_lost_answer_succeeds(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 repeats the request, and S3 rejects the second one because the object has changed."""
    path = f"{bucket}/_manifests/score.json"
    client = s3._client()
    put = client.put_object

    def put_twice(**arguments: Any) -> Any:
        put(**arguments)
        return put(**arguments)

    monkeypatch.setattr(client, "put_object", put_twice)
    monkeypatch.setattr(s3, "_client", lambda: client)
    assert put_if_unchanged(path, "first", None)
    assert put_if_unchanged(path, "second", etag(path))
    assert text_of(path) == "second"


def text_of(path: str) -> str:
    bucket, key = split_s3(path)
    content: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content.decode()


# --- model folders --------------------------------------------------------------------------------


def test_a_folder_is_fetched_completely_and_once(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    folder = fetch_folder(path, cache=tmp_path)
    assert contents(folder) == FILES
    monkeypatch.setattr(s3, "_download", None)  # another download would fail
    assert fetch_folder(f"{path}/", version=folder.name, cache=tmp_path) == folder


def test_processes_of_a_node_fetch_it_once(bucket: str, tmp_path: Path) -> None:
    path = put_files(FILES)
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        folders = pool.starmap(_fetch, [(path, tmp_path, tmp_path / "log")] * 4)
    assert len(set(folders)) == 1
    assert contents(folders[0]) == FILES
    downloads = (tmp_path / "log").read_text().splitlines()
    assert sorted(downloads) == sorted(f"models/m/{name}" for name in FILES)


def _fetch(path: str, cache: Path, log: Path) -> Path:
    s3_download = s3._download

    def download(client: Any, bucket: str, key: str, target: Path, size: int) -> None:
        with log.open("a") as file:
            file.write(f"{key}\n")
        s3_download(client, bucket, key, target, size)

    s3._download = download
    return fetch_folder(path, cache=cache)


def test_the_files_of_a_killed_fetch_are_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    pid = os.fork()
    if not pid:  # a process that ends during the second download, without any clean-up
        monkeypatch.setattr(s3, "_download", _die_at_second_file(s3._download))
        fetch_folder(path, cache=tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert any(p.suffix == ".part" for p in tmp_path.iterdir())
    assert contents(fetch_folder(path, cache=tmp_path)) == FILES
    assert not any(p.suffix == ".part" for p in tmp_path.iterdir())


def _die_at_second_file(s3_download: Any) -> Any:
    def download(client: Any, bucket: str, key: str, target: Path, size: int) -> None:
        if target.parent.exists():
            target.write_bytes(b"half")
            os._exit(9)
        s3_download(client, bucket, key, target, size)

    return download


def test_a_truncated_download_is_an_error(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    monkeypatch.setattr(s3, "_objects", _one_byte_more(s3._objects))
    with pytest.raises(OSError, match=r"config\.json: received 2 of 3 bytes"):
        fetch_folder(path, cache=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def _one_byte_more(objects: Any) -> Any:
    return lambda *a: {name: (size + 1, tag) for name, (size, tag) in objects(*a).items()}


def test_a_replaced_model_is_another_version(bucket: str, tmp_path: Path) -> None:
    path = put_files(FILES)
    old = fetch_folder(path, cache=tmp_path)
    put_files({"config.json": b"[]"})
    assert fetch_folder(path, version=old.name, cache=tmp_path) == old
    with pytest.raises(UserError, match="was replaced while the job ran"):
        fetch_folder(path, version=old.name, cache=tmp_path / "another node")
    new = fetch_folder(path, cache=tmp_path)
    assert contents(new)["config.json"] == b"[]"
    assert contents(old) == FILES  # a process that uses it still has all files


def test_a_model_that_is_replaced_during_the_fetch_is_an_error(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    s3_download = s3._download

    def download(*arguments: Any) -> None:
        s3_download(*arguments)
        put_files({"config.json": b"[]"})

    monkeypatch.setattr(s3, "_download", download)
    with pytest.raises(UserError, match="was replaced while it was read"):
        fetch_folder(path, cache=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def test_a_node_fetches_the_version_that_the_driver_uses(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver of a cluster sends the version, and each node fetches it from S3 itself."""
    path = put_files(FILES)
    yarn: Any = SimpleNamespace(sparkContext=SimpleNamespace(master="yarn"))
    shipped = ship(yarn, str(fetch_folder(path, cache=tmp_path / "driver")), source=path)
    shutil.rmtree(tmp_path / "driver")
    monkeypatch.setattr(s3, "private_folder", lambda _: tmp_path / "node")
    (tmp_path / "node").mkdir()
    folder = Path(pickle.loads(pickle.dumps(shipped)).folder())
    assert (folder.parent, contents(folder)) == (tmp_path / "node", FILES)
    with pytest.raises(UserError, match="was replaced while the job ran"):
        ShippedModel("model-of-yesterday", archived=False, source=path).folder()


def test_a_missing_folder_is_named(bucket: str, tmp_path: Path) -> None:
    put_files(FILES, "models/m2")
    with pytest.raises(UserError, match=r"s3://ward/models/m does not exist"):
        fetch_folder("s3://ward/models/m", cache=tmp_path)


def test_a_cache_folder_of_another_user_is_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = fetch_folder(put_files(FILES))
    assert folder.parent.parent == tmp_path
    assert folder.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(scratch.os, "getuid", lambda: 12345)
    (tmp_path / "readmit-spark-12345").mkdir()
    with pytest.raises(UserError, match="belongs to another user"):
        fetch_folder("s3://ward/models/m")
