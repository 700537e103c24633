"""MLflow runs, registered models and the champion alias. No text of a note is sent to MLflow."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError
from readmit_spark.scoring.moved_registry import SQLITE, artifacts_beside, follow_move

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
# Tags of a version: that it was selected by its figures on some patients, and how it did in its
# first comparison with the baselines.
SELECTED_ON, FIRST_GATE = "selected_on", "first_gate"
# Reasons to doubt its ranking, and how it ranked the test patients (JSON of an `Evidence`).
DOUBTS, TEST_EVIDENCE = "doubts", "test_evidence"


@contextmanager
def experiment_run(
    uri: str, experiment: str, name: str, artifacts: str | None = None
) -> Iterator[Any]:
    """Start an MLflow run that is active inside the context; yield the `mlflow` module.

    artifacts: where a new experiment stores its artifacts. None is the server's default, or the
    folder of a sqlite database, because MLflow's own default is the working directory.
    """
    mlflow = _mlflow(uri)
    existing = mlflow.get_experiment_by_name(experiment)
    if existing is None:
        if artifacts is None and uri.startswith(SQLITE):
            artifacts = artifacts_beside(uri)
        experiment_id = mlflow.create_experiment(experiment, artifact_location=artifacts)
    else:
        experiment_id = existing.experiment_id
    with mlflow.start_run(experiment_id=experiment_id, run_name=name):
        yield mlflow


def nested_run(mlflow: Any, name: str) -> Any:
    """Start a run below the active one, in the same experiment (MLflow's default is another)."""
    experiment = mlflow.active_run().info.experiment_id
    return mlflow.start_run(experiment_id=experiment, run_name=name, nested=True)


def register(
    mlflow: Any,
    model: Any,
    tokenizer: Any,
    name: str,
    metadata: Mapping[str, Any],
    task: str = "text-classification",
    doubts: Sequence[str] = (),
) -> tuple[str, str]:
    """Log the model with its signature and register it. Return `name/version` and its alias.

    The first model of a name becomes the champion, each later one the challenger; `promote` makes
    the challenger the champion when it is better. task: `feature-extraction` for an encoder without
    a classification head. doubts: from `evaluation.doubts`, stored as a tag of the version.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    outputs: dict[str, list[Any]] = {
        "text-classification": [ColSpec("string", "label"), ColSpec("double", "score")],
        "feature-extraction": [ColSpec(Array(DataType.double), "features")],
    }
    info = mlflow.transformers.log_model(
        transformers_model={"model": model, "tokenizer": tokenizer},
        name="model",
        task=task,
        signature=ModelSignature(inputs=Schema([ColSpec("string")]), outputs=Schema(outputs[task])),
        registered_model_name=name,
        metadata=dict(metadata),
        # Given, not inferred: inferring would load the model a second time.
        pip_requirements=[f"{p}=={version(p)}" for p in ("transformers", "torch")],
    )
    registered = info.registered_model_version
    client = mlflow.MlflowClient()
    if doubts:
        client.set_model_version_tag(name, registered, DOUBTS, " ".join(doubts))
    alias = CHALLENGER if CHAMPION in client.get_registered_model(name).aliases else CHAMPION
    client.set_registered_model_alias(name, alias, registered)
    return f"{name}/{registered}", alias


def make_champion(tracking_uri: str, name: str, version: str, why: str) -> None:
    """Move the champion alias to `version`. The old champion gets the alias `previous`.

    why: one line, stored as a tag of the version.
    """
    client = _mlflow(tracking_uri).MlflowClient()
    aliases = client.get_registered_model(name).aliases
    client.set_model_version_tag(name, version, "promotion", why)
    if CHAMPION in aliases:
        client.set_registered_model_alias(name, PREVIOUS, aliases[CHAMPION])
    client.set_registered_model_alias(name, CHAMPION, version)
    if str(aliases.get(CHALLENGER)) == str(version):
        client.delete_registered_model_alias(name, CHALLENGER)


def champion_name(tracking_uri: str, name: str) -> str | None:
    """Return NAME/VERSION of the champion of `name`; None where there is none."""
    version = _version(_mlflow(tracking_uri), name, CHAMPION)
    return None if version is None else f"{name}/{version}"


def champion_facts(tracking_uri: str, name: str) -> dict[str, Any] | None:
    """Return the metadata of the champion of `name`; None where there is no champion."""
    return _facts(_mlflow(tracking_uri), name, CHAMPION)


def is_registered(tracking_uri: str, name: str, key: str, value: str) -> bool:
    """Return whether the champion or the challenger of `name` has this value in its metadata."""
    if not _has_registry(tracking_uri):
        return False
    mlflow = _mlflow(tracking_uri)
    found = (_facts(mlflow, name, alias) for alias in (CHAMPION, CHALLENGER))
    return any(facts is not None and facts.get(key) == value for facts in found)


def _facts(mlflow: Any, name: str, alias: str) -> dict[str, Any] | None:
    version = _version(mlflow, name, alias)
    if version is None:
        return None
    return dict(mlflow.models.get_model_info(f"models:/{name}/{version}").metadata or {})


def _version(mlflow: Any, name: str, alias: str) -> str | None:
    """Return the version with this alias; None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return str(mlflow.MlflowClient().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _has_registry(tracking_uri: str) -> bool:
    """Return whether there is a database, where it is a file."""
    return not tracking_uri.startswith(SQLITE) or Path(tracking_uri.removeprefix(SQLITE)).exists()


def version_tags(tracking_uri: str, name: str) -> dict[str, str]:
    """Return the tags of a registered version. name: NAME/VERSION."""
    registered, _, version = name.partition("/")
    client = _mlflow(tracking_uri).MlflowClient()
    return dict(client.get_model_version(registered, version).tags)


def tag_version(tracking_uri: str, name: str, tag: str, value: str) -> None:
    """Set a tag of a registered version. name: NAME/VERSION."""
    registered, _, version = name.partition("/")
    _mlflow(tracking_uri).MlflowClient().set_model_version_tag(registered, version, tag, value)


def fetch(uri: str, tracking_uri: str) -> tuple[str, str]:
    """Download models:/NAME@ALIAS or models:/NAME/VERSION. Return its folder and NAME/VERSION.

    The folder is deleted when this process ends. UserError where the model is not in the registry.
    """
    from mlflow.exceptions import MlflowException

    if not _has_registry(tracking_uri):
        raise UserError(f"model.path: {uri}: there is no registry at {tracking_uri} yet; "
                        "run jobs/finetune.py first")  # fmt: skip
    mlflow = _mlflow(tracking_uri)
    name, at_sign, alias = uri.removeprefix("models:/").partition("@")
    try:
        if at_sign:
            name = f"{name}/{mlflow.MlflowClient().get_model_version_by_alias(name, alias).version}"
        scratch = tempfile.mkdtemp(prefix="readmit-model-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        local = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}", dst_path=scratch
        )
    except MlflowException as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"model.path: {uri} is not in the registry at {tracking_uri}: {reason}"
                        ) from None  # fmt: skip
    folder, components = Path(local) / "model", Path(local) / "components" / "tokenizer"
    if not folder.is_dir() or not components.is_dir():
        raise UserError(f"model.path: {uri} was not logged as a transformers model with tokenizer")
    shutil.copytree(components, folder, dirs_exist_ok=True)
    return str(folder), name


def _mlflow(uri: str) -> Any:
    """Return the `mlflow` module, connected to the database or server `uri`."""
    import mlflow

    # They report migrations of a new database, and a model card that no hub has for our model.
    for logger in ("alembic", "mlflow.store.db.utils", "mlflow.transformers"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    follow_move(uri)
    mlflow.set_tracking_uri(uri)
    return mlflow
