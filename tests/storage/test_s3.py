"""What is not Spark's on S3: conditional puts, model folders fetched once, streams."""

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
from readmit_spark.scoring.ship_model import Shipped, ship
from readmit_spark.storage import s3 as storage
from readmit_spark.storage.s3 import (
    etag,
    fetch_folder,
    filesystem_of,
    is_s3,
    put_unless_changed,
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
def test_all_schemes_of_s3_mean_the_same(bucket: str, scheme: str) -> None:
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


def test_of_all_who_put_at_once_one_is_first(bucket: str) -> None:
    def put(i: int) -> bool:
        return put_unless_changed(f"{bucket}/locks/1.json", f"{i}", None)

    with ThreadPoolExecutor(8) as pool:
        won = [i for i, first in enumerate(pool.map(put, range(8))) if first]
    assert len(won) == 1
    body = boto3.client("s3").get_object(Bucket="ward", Key="locks/1.json")["Body"].read()
    assert body == str(won[0]).encode()


def test_a_bucket_that_is_not_there_is_no_lost_race(bucket: str) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        put_unless_changed("s3://no-such-ward/x", "", None)


def test_only_what_was_seen_is_replaced(bucket: str) -> None:
    path = f"{bucket}/_manifests/score.json"
    assert etag(path) is None
    assert put_unless_changed(path, "first", None)
    seen = etag(path)
    assert put_unless_changed(path, "second", seen)
    assert not put_unless_changed(path, "third", seen)
    assert not put_unless_changed(path, "third", None)
    assert text_of(path) == "second"
    boto3.client("s3").delete_object(Bucket="ward", Key="_manifests/score.json")
    assert not put_unless_changed(path, "third", seen)
    assert etag(path) is None


def test_a_put_whose_answer_was_lost_is_known_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 tries again, and S3 says of the second try that the object has changed."""
    path = f"{bucket}/_manifests/score.json"
    client = storage._client()
    put = client.put_object

    def twice(**asked: Any) -> Any:
        put(**asked)
        return put(**asked)

    monkeypatch.setattr(client, "put_object", twice)
    monkeypatch.setattr(storage, "_client", lambda: client)
    assert put_unless_changed(path, "first", None)
    assert put_unless_changed(path, "second", etag(path))
    assert text_of(path) == "second"


def text_of(path: str) -> str:
    bucket, key = split_s3(path)
    content: bytes = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content.decode()


# --- model folders --------------------------------------------------------------------------------


def test_a_folder_comes_whole_and_once(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    folder = fetch_folder(path, cache=tmp_path)
    assert contents(folder) == FILES
    monkeypatch.setattr(storage, "_download", None)  # nothing is fetched again
    assert fetch_folder(f"{path}/", version=folder.name, cache=tmp_path) == folder


def test_processes_of_a_node_fetch_it_once(bucket: str, tmp_path: Path) -> None:
    path = put_files(FILES)
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        found = pool.starmap(_fetch, [(path, tmp_path, tmp_path / "log")] * 4)
    assert len(set(found)) == 1
    assert contents(found[0]) == FILES
    downloads = (tmp_path / "log").read_text().splitlines()
    assert sorted(downloads) == sorted(f"models/m/{name}" for name in FILES)


def _fetch(path: str, cache: Path, log: Path) -> Path:
    whole = storage._download

    def download(client: Any, bucket: str, key: str, target: Path, size: int) -> None:
        with log.open("a") as file:
            file.write(f"{key}\n")
        whole(client, bucket, key, target, size)

    storage._download = download
    return fetch_folder(path, cache=cache)


def test_a_fetch_that_dies_leaves_nothing_that_is_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    pid = os.fork()
    if not pid:  # a process that is gone in the middle, its clean-up with it
        monkeypatch.setattr(storage, "_download", _die_at_the_second(storage._download))
        fetch_folder(path, cache=tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert any(p.suffix == ".part" for p in tmp_path.iterdir())
    assert contents(fetch_folder(path, cache=tmp_path)) == FILES
    assert not any(p.suffix == ".part" for p in tmp_path.iterdir())


def _die_at_the_second(whole: Any) -> Any:
    def download(client: Any, bucket: str, key: str, target: Path, size: int) -> None:
        if target.parent.exists():
            target.write_bytes(b"half")
            os._exit(9)
        whole(client, bucket, key, target, size)

    return download


def test_a_file_that_comes_short_is_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    monkeypatch.setattr(storage, "_objects", _claims_more(storage._objects))
    with pytest.raises(OSError, match=r"config\.json came with 2 of 3 bytes"):
        fetch_folder(path, cache=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def _claims_more(whole: Any) -> Any:
    return lambda *a: {name: (size + 1, tag) for name, (size, tag) in whole(*a).items()}


def test_a_model_that_is_replaced_is_another_version(bucket: str, tmp_path: Path) -> None:
    path = put_files(FILES)
    old = fetch_folder(path, cache=tmp_path)
    put_files({"config.json": b"[]"})
    assert fetch_folder(path, version=old.name, cache=tmp_path) == old
    with pytest.raises(UserError, match="was replaced while the job ran"):
        fetch_folder(path, version=old.name, cache=tmp_path / "another node")
    new = fetch_folder(path, cache=tmp_path)
    assert contents(new)["config.json"] == b"[]"
    assert contents(old) == FILES  # who reads it still has it whole


def test_a_model_that_is_replaced_while_it_is_read_is_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_files(FILES)
    whole = storage._download

    def download(*arguments: Any) -> None:
        whole(*arguments)
        put_files({"config.json": b"[]"})

    monkeypatch.setattr(storage, "_download", download)
    with pytest.raises(UserError, match="was replaced while it was read"):
        fetch_folder(path, cache=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def test_a_model_goes_to_a_node_by_its_name_on_s3(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's driver sends the version, and a node fetches that from S3 itself."""
    path = put_files(FILES)
    yarn: Any = SimpleNamespace(sparkContext=SimpleNamespace(master="yarn"))
    shipped = ship(yarn, str(fetch_folder(path, cache=tmp_path / "driver")), source=path)
    shutil.rmtree(tmp_path / "driver")
    monkeypatch.setattr(storage, "_cache", lambda: tmp_path / "node")
    (tmp_path / "node").mkdir()
    folder = Path(pickle.loads(pickle.dumps(shipped)).folder())
    assert (folder.parent, contents(folder)) == (tmp_path / "node", FILES)
    with pytest.raises(UserError, match="was replaced while the job ran"):
        Shipped("model-of-yesterday", archived=False, source=path).folder()


def test_a_folder_that_is_not_there_is_named(bucket: str, tmp_path: Path) -> None:
    put_files(FILES, "models/m2")
    with pytest.raises(UserError, match=r"s3://ward/models/m does not exist"):
        fetch_folder("s3://ward/models/m", cache=tmp_path)


def test_a_cache_of_another_user_is_not_used(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = fetch_folder(put_files(FILES))
    assert folder.parent.parent == tmp_path
    assert folder.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(storage.os, "getuid", lambda: 12345)
    (tmp_path / "readmit-spark-12345").mkdir()
    with pytest.raises(UserError, match="belongs to another user"):
        fetch_folder("s3://ward/models/m")
