"""Every job that can be an EMR step, with the Python of EMR's nodes: pyspark only as a zip."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

from readmit_spark.demo import make_hospital, write_hospital
from readmit_spark.emr.steps import SHAPES
from tests.cluster.standalone import ROOT, Cluster

# In this order, each with the results of those before. What it writes below output.root.
JOBS = {
    "ingest": "_manifests/ingest.json",
    "prepare": "_manifests/prepare.json",
    "finetune": "mlflow.db",
    "score": "report.html",
    "nightly": "worklist.html",
}
CHAMPION = "model.path=models:/readmission@champion"


def run_job(cluster: Cluster, name: str, *arguments: str, **conf: str) -> tuple[int, str]:
    # YARN puts --py-files on the containers' PYTHONPATH, which the processes of a training inherit.
    conf = {"spark.executorEnv.PYTHONPATH": str(cluster.code)} | conf
    process = cluster.submit(ROOT / f"jobs/{name}.py", *arguments, conf=conf)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def settings(*overrides: str) -> list[str]:
    return ["--config", "/dev/null", *(p for s in overrides for p in ("--set", s))]


def test_every_job_of_emr_runs_to_its_end(
    cluster: Cluster, tiny_model: str, tmp_path: Path
) -> None:
    assert JOBS.keys() == SHAPES.keys()
    write_hospital(make_hospital(patients=120, seed=11), tmp_path / "data")
    with (tmp_path / "data/ADMISSIONS.csv").open() as file:
        admitted = sorted(row["ADMITTIME"] for row in csv.DictReader(file))
    night = datetime.fromisoformat(admitted[len(admitted) // 2]) + timedelta(days=1)
    root = tmp_path / "out"
    own = [
        f"output.root={root}", "windows=[2days, 3days]", "chunk.mode=words",
        "chunk.words=40", "model.max_tokens=128",
        "train.epochs=1", "train.learning_rate=1e-3", "train.processes=2", "score.bootstrap=20",
        "split.seed=3", "train.seed=3", "score.device=cpu",
    ]  # fmt: skip
    names = {"admissions": "ADMISSIONS", "notes": "NOTEEVENTS", "patients": "PATIENTS"}
    csvs = [f"data.{key}={tmp_path}/data/{name}.csv" for key, name in names.items()]
    parquet = [f"data.{key}={root}" for key in names]
    for job, result in JOBS.items():
        sources = csvs if job == "ingest" else parquet
        model = CHAMPION if job in ("score", "nightly") else f"model.path={tiny_model}"
        more = ["--as-of", night.isoformat()] if job == "nightly" else []
        code, output = run_job(cluster, job, *settings(*own, *sources, model), *more)
        assert code == 0, f"{job}: {output}"
        assert not _tracebacks(output), job
        assert (root / result).is_file(), job


def test_a_job_without_an_executor_says_what_it_waits_for_and_stops(
    cluster: Cluster, tiny_model: str, tmp_path: Path
) -> None:
    write_hospital(make_hospital(patients=20, seed=11), tmp_path / "data")
    root = tmp_path / "out"
    code, output = run_job(
        cluster, "prepare",
        *settings(f"output.root={root}", f"model.path={tiny_model}", "model.max_tokens=128",
                  f"data.admissions={tmp_path}/data/ADMISSIONS.csv",
                  f"data.notes={tmp_path}/data/NOTEEVENTS.csv"),
        **{"spark.executor.memory": "900g", "spark.readmit.executorWaitMinutes": "0.5"},
    )  # fmt: skip
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("prepare: no exe")] or [
        output
    ]
    assert "no executor for 0.5 minutes" in line and "(fleet `gpu`, emr.gpu_nodes)" in line
    assert "Initial job has not accepted any resources" in output  # Spark's own warning
    assert "Traceback" not in output
    assert not list(root.glob("prepare/*")) and not list(root.glob("_work/prepare/*"))


def _tracebacks(output: str) -> list[str]:
    """Return the lines that begin a traceback.

    Leave out torchrun's own: the processes of a training that ended well may lose the connection
    to the first one, which ended before them. torchrun then shows where it waited.
    """
    lines = [line for line in output.splitlines() if "Traceback (most recent" in line]
    return [line for line in lines if "torch/distributed/elastic/agent/server/api.py" not in line]
