"""A small synthetic hospital, prepared once for the tests of what is made of prepared chunks."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from readmit_spark import cli
from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.demo import make_hospital, write_hospital
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.storage.manifests import Prepared
from tests.runs import run_prepare
from tests.spark_options import ROOT, submit_arguments


@dataclass(frozen=True)
class Ward:
    config: Config
    overrides: list[str]
    prepared: Prepared
    data: Path

    @property
    def root(self) -> Path:
        return Path(self.config.output_root)


def run_job(name: str, ward: Ward, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """jobs/NAME.py as a program of its own, on the ward."""
    return run_program(name, [*ward.overrides, *more], folder)


def call_job(name: str, ward: Ward, *more: str) -> int:
    """Run the main function of jobs/NAME.py on the ward in this process, with the tests' Spark
    session, and return the exit code."""
    job = runpy.run_path(str(ROOT / "jobs" / f"{name}.py"))
    argv = ["--config", os.devnull]
    for override in (*ward.overrides, *more):
        argv += ["--set", override]
    return cli.run(name, job["__doc__"], job["main"], argv)


def run_program(
    name: str, overrides: Sequence[str], folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """jobs/NAME.py as a program of its own, with these settings alone."""
    empty = folder / "empty.yaml"
    empty.write_text("")
    command = [sys.executable, f"jobs/{name}.py", *arguments, "--config", str(empty)]
    for override in overrides:
        command += ["--set", override]
    environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": submit_arguments()}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def make_ward(spark: SparkSession, tokenizer: ChunkTokenizer, model: str, folder: Path) -> None:
    """Write 120 patients to folder/data and their chunks of 40 words, of three windows, to
    folder/out."""
    write_hospital(make_hospital(patients=120, seed=11), folder / "data")
    run_prepare(spark, load_config(overrides=_overrides(model, folder, folder)), tokenizer)


def copy_ward(spark: SparkSession, model: str, made: Path, folder: Path) -> Ward:
    """Return what `make_ward` wrote to `made`, with a copy of its output in `folder`."""
    shutil.copytree(made / "out", folder / "out")
    overrides = _overrides(model, made, folder)
    config = load_config(overrides=overrides)
    return Ward(config, overrides, Prepared.read(spark, config.output_root), made / "data")


def _overrides(model: str, made: Path, folder: Path) -> list[str]:
    names = {
        "admissions": "ADMISSIONS", "notes": "NOTEEVENTS", "patients": "PATIENTS", "truth": "TRUTH",
    }  # fmt: skip
    return [
        *(f"data.{key}={made}/data/{name}.csv" for key, name in names.items()),
        f"output.root={folder}/out",
        "windows=[2days, 3days, discharge]",
        "chunk.mode=words",
        "chunk.words=40",
        f"model.path={model}",
        "model.max_tokens=128",
        "train.epochs=1",
        "train.learning_rate=1e-3",
        "score.bootstrap=20",
        "split.seed=3",
        "train.seed=3",
    ]
