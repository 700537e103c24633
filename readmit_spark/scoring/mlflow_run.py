"""The MLflow run of a job, as the configuration sets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from readmit_spark.config import Config, flatten, to_dict
from readmit_spark.scoring.registry import experiment_run

TRAINING = ("profile", "label", "clean", "chunk", "split", "model", "train", "tune", "vote")
"""The sections of the configuration that decide the result of fine-tuning."""


@contextmanager
def job_run(config: Config, name: str, sections: Sequence[str] = ()) -> Iterator[Any]:
    """Start an MLflow run that is active inside the context; yield the `mlflow` module.

    sections: the sections of the configuration to log as parameters.
    """
    with experiment_run(
        config.tracking_uri, config.tracking.experiment, name, config.tracking.artifacts
    ) as mlflow:
        mlflow.log_params(flatten({k: v for k, v in to_dict(config).items() if k in sections}))
        yield mlflow
