"""Where a model comes from: a folder, a hub id, a package, or the MLflow registry."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.models.tokenizer import package_folder


@dataclass(frozen=True)
class Located:
    """`folder` is what from_pretrained takes; `name` is how tables and reports call the model."""

    folder: str
    name: str


def locate(config: Config, path: str | None = None) -> Located:
    """`model.path` (or `path`) as something that from_pretrained takes.

    package:NAME is the folder in an installed package; models:/NAME@ALIAS and models:/NAME/VERSION
    are fetched from the registry at `tracking.uri`; an existing folder is itself; anything else is
    a hub id.
    """
    path = path or config.model.path
    if path.startswith("package:"):
        name = path.removeprefix("package:")
        return Located(package_folder(name), name)
    if path.startswith("models:/"):
        return _registered(path, config.tracking_uri)
    if Path(path).is_dir():
        return Located(path, Path(path).name)
    if path.startswith(("/", ".", "~")) or path.count("/") > 1:
        raise UserError(f"model.path: the folder {path} does not exist")
    return Located(path, path)


def _registered(uri: str, tracking_uri: str) -> Located:
    import mlflow
    from mlflow.exceptions import MlflowException

    mlflow.set_tracking_uri(tracking_uri)
    try:
        version = _version(uri)
        local = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{version}", dst_path=tempfile.mkdtemp(prefix="readmit-model-")
        )
    except MlflowException as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(
            f"model.path: {uri} is not in the registry at {tracking_uri} ({reason}); "
            "run jobs/finetune.py first, or name a folder"
        ) from None
    return Located(str(Path(local) / "artifacts" / "checkpoint"), version)


def _version(uri: str) -> str:
    """`name/version` of models:/name@alias or models:/name/version."""
    from mlflow import MlflowClient

    name, at, alias = uri.removeprefix("models:/").partition("@")
    if not at:
        return name
    return f"{name}/{MlflowClient().get_model_version_by_alias(name, alias).version}"
