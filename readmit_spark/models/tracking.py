"""MLflow: runs, the registry, the champion. Nothing that goes there holds a note's text."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from readmit_spark.errors import UserError

CHAMPION = "champion"


@contextmanager
def experiment_run(
    uri: str, experiment: str, name: str, artifacts: str | None = None
) -> Iterator[Any]:
    """An MLflow run, active inside; gives the `mlflow` module.

    artifacts: where a new experiment keeps its artifacts; None: where the server does, and beside a
    sqlite database, as MLflow's own default is the working directory.
    """
    import mlflow

    _quiet()
    mlflow.set_tracking_uri(uri)
    known = mlflow.get_experiment_by_name(experiment)
    if known is None:
        if artifacts is None and uri.startswith("sqlite:///"):
            artifacts = (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
        experiment_id = mlflow.create_experiment(experiment, artifact_location=artifacts)
    else:
        experiment_id = known.experiment_id
    with mlflow.start_run(experiment_id=experiment_id, run_name=name):
        yield mlflow


def register(
    mlflow: Any, model: Any, tokenizer: Any, name: str, metadata: Mapping[str, Any]
) -> str:
    """Logs the model with its signature, registers it as `name` and makes it the champion.

    Gives `name/version`.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    info = mlflow.transformers.log_model(
        transformers_model={"model": model, "tokenizer": tokenizer},
        name="model",
        task="text-classification",
        signature=ModelSignature(
            inputs=Schema([ColSpec("string")]),
            outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
        ),
        registered_model_name=name,
        metadata=dict(metadata),
        # Named, not inferred: inferring loads the model a second time.
        pip_requirements=[f"{p}=={version(p)}" for p in ("transformers", "torch")],
    )
    registered = info.registered_model_version
    mlflow.MlflowClient().set_registered_model_alias(name, CHAMPION, registered)
    return f"{name}/{registered}"


def fetch(uri: str, tracking_uri: str) -> tuple[str, str]:
    """models:/NAME@ALIAS or models:/NAME/VERSION as a Hugging Face folder, and NAME/VERSION."""
    import mlflow
    from mlflow.exceptions import MlflowException

    _quiet()
    if tracking_uri.startswith("sqlite:///") and not Path(tracking_uri[10:]).exists():
        raise UserError(f"model.path: {uri}: there is no registry at {tracking_uri} yet; "
                        "run jobs/finetune.py first")  # fmt: skip
    mlflow.set_tracking_uri(tracking_uri)
    name, at, alias = uri.removeprefix("models:/").partition("@")
    try:
        if at:
            name = f"{name}/{mlflow.MlflowClient().get_model_version_by_alias(name, alias).version}"
        local = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}", dst_path=tempfile.mkdtemp(prefix="readmit-model-")
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


def _quiet() -> None:
    # Migrations of a new database; a model card sought on a hub for a model of ours.
    for logger in ("alembic", "mlflow.store.db.utils", "mlflow.transformers"):
        logging.getLogger(logger).setLevel(logging.ERROR)
