"""Where a model comes from: a folder, a hub id, a package, or the MLflow registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.scoring.classifier import check_head, has_head
from readmit_spark.scoring.load_tokenizer import package_folder
from readmit_spark.scoring.registry import CHAMPION, fetch
from readmit_spark.storage.s3 import fetch_folder, is_s3


@dataclass(frozen=True)
class Located:
    """`folder` is what from_pretrained takes; `name` is how tables and reports call the model.

    source: the s3:// folder that `folder` is a copy of, from which a node can fetch it as well.
    """

    folder: str
    name: str
    source: str | None = None


def locate(config: Config, path: str | None = None) -> Located:
    """`model.path` (or `path`) as something that from_pretrained takes.

    package:NAME is the folder in an installed package; models:/NAME@ALIAS and models:/NAME/VERSION
    are fetched from the registry at `tracking.uri`; an s3:// folder is fetched to this machine's
    disk; an existing folder is itself; anything else is a hub id.
    """
    path = path or config.model.path
    if path.startswith("package:"):
        name = path.removeprefix("package:")
        return Located(package_folder(name), name)
    if path.startswith("models:/"):
        return Located(*fetch(path, config.tracking_uri))
    if is_s3(path):
        try:
            return Located(str(fetch_folder(path)), path.rstrip("/").rpartition("/")[2], path)
        except UserError as error:
            raise UserError(f"model.path: {error}") from None
    if Path(path).is_dir():
        return Located(path, Path(path).name)
    if path.startswith(("/", ".", "~")) or path.count("/") > 1:
        raise UserError(f"model.path: the folder {path} does not exist")
    return Located(path, path)


def locate_scorer(config: Config) -> Located:
    """The model to score with: `model.path` where it has a readmission head, else the champion of
    `model.name` in the registry. UserError where that is no classifier with one logit."""
    located = locate(config)
    if not has_head(located.folder):
        located = locate(config, f"models:/{config.model.name}@{CHAMPION}")
    check_head(located.folder)
    return replace(located, folder=local_folder(located.folder))


def fingerprint(folder: str) -> str:
    """12 hex digits of the model's weights and configuration: two models that share a name do not
    share these."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).iterdir()):
        if file.name == "config.json" or file.suffix in (".safetensors", ".bin"):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:12]


def local_folder(path: str) -> str:
    """`path` where it is a folder; else a hub's model, fetched once into the hub's local cache."""
    if Path(path).is_dir():
        return path
    from huggingface_hub import snapshot_download

    return str(snapshot_download(path))
