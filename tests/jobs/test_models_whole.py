"""The jobs load a model whole or not at all: as the user sees it, and in Spark's workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession
from safetensors.torch import load_file, save_file

from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.score_chunks import distinct_chunks, score_chunks
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.scoring.scorer_settings import scorer_settings
from tests.runs import start_run
from tests.ward import Ward, call_job


def copy_model(source: str, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


def rewrite(folder: Path, weights: dict[str, Any]) -> None:
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    rewrite(folder, {n: t.clone() for n, t in weights.items() if "layer.1." not in n})


def fitted_on_64_tokens(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    fitted = FittedSettings("3days", 64, 2.0, {})
    (folder / "config.json").write_text(json.dumps(values | {KEY: fitted.to_dict()}))


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


@pytest.mark.spark4
def test_a_model_that_is_not_whole_or_does_not_fit_the_chunks_is_one_line(
    ward: Ward, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ward's chunks have up to 128 tokens."""
    for change, message in (
        (without_a_layer, "lacks weights: bert.encoder.layer.1.attention.output.LayerNorm.bias "
                          "and 15 more; config.json may belong to another model"),
        (cut, "model.safetensors is damaged or truncated, or no safetensors file"),
        (fitted_on_64_tokens, "the chunks have up to 128 tokens, and fitted_on_64_tokens was "
                              "fine-tuned on chunks of 64: set model.max_tokens=64, for "
                              "jobs/prepare.py too"),
    ):  # fmt: skip
        folder = copy_model(tiny_model, tmp_path / change.__name__)
        change(folder)
        assert call_job("score", ward, f"model.path={folder}", "output.overwrite=true") == 2
        said = capsys.readouterr().err
        assert said.splitlines()[-1].startswith("score: ") and said.endswith(f"{message}\n")
        assert "Traceback (" not in said.rpartition("score: ")[2]


def test_every_worker_scores_as_a_second_load_of_the_folder(
    spark: SparkSession, ward: Ward, tiny_model: str, tmp_path: Path
) -> None:
    """With names as DataParallel saves them, which once gave each worker other weights."""
    folder = copy_model(tiny_model, tmp_path / "parallel")
    weights = load_file(folder / "model.safetensors")
    rewrite(folder, {f"module.{name}": tensor.clone() for name, tensor in weights.items()})
    with start_run(spark, ward.config, "score") as run:
        settings = scorer_settings(run, Model(str(folder), "parallel"), 128, ward.config.text_rules)
        distinct = distinct_chunks(ward.prepared.table("chunks")).limit(40).localCheckpoint()
        scored = score_chunks(distinct, 4, settings).collect()
    by_digest = {row.digest: row.probability for row in scored}
    own = Scorer(tiny_model, device="cpu")
    rows = distinct.collect()
    expected = own.score([np.array(row.input_ids, dtype=np.int32) for row in rows])
    found = [by_digest[row.digest] for row in rows]
    assert np.abs(expected - found).max() < 1e-6  # other chunks in a batch change the last bits
    assert len(set(found)) > 20
