"""The MLflow run of a job: its name, parameters and experiment."""

from __future__ import annotations

from pathlib import Path

import mlflow

from readmit_spark.config_file import load_config
from readmit_spark.scoring.mlflow_run import TRAINING, job_run


def test_a_run_has_the_parameters_of_the_given_sections(tmp_path: Path) -> None:
    config = load_config(
        overrides=[f"output.root={tmp_path}", "tracking.experiment=ward", "train.learning_rate=0.5"]
    )
    for name, sections in (("plain", ()), ("training", TRAINING)):
        with job_run(config, name, sections) as active:
            assert active.active_run().info.run_name == name
    client = mlflow.MlflowClient(tracking_uri=config.tracking_uri)
    experiment = client.get_experiment_by_name("ward")
    training, plain = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in (training, plain)] == ["FINISHED", "FINISHED"]
    assert plain.data.params == {}
    assert training.data.params["train.learning_rate"] == "0.5"
    assert {key.partition(".")[0] for key in training.data.params} <= set(TRAINING)
    assert Path(experiment.artifact_location.removeprefix("file://")) == tmp_path / "mlartifacts"
