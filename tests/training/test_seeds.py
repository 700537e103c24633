"""Two seeds: train.seed decides the weights, split.seed alone decides which patients are tested."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from readmit_spark.config_file import load_config
from readmit_spark.errors import UserError
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import check_unseen
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.model import Model
from readmit_spark.scoring.registry import fetch
from readmit_spark.training.finetune_job import finetune_and_register
from tests.prepared import WINDOW, learnable, prepared_of


@pytest.mark.usefixtures("one_thread")
def test_another_training_seed_gives_other_weights_that_may_score_the_same_test_patients(
    tiny_model: str, tmp_path: Path
) -> None:
    prepared = prepared_of(learnable(tmp_path / "prepared"), tiny_model)
    models = []
    for seed in (1, 2):
        config = load_config(
            overrides=[
                f"output.root={tmp_path / str(seed)}", f"train.seed={seed}", "split.seed=1",
                f"train.window={WINDOW}", "train.batch_size=8", "train.epochs=1",
                "model.max_tokens=128", "score.bootstrap=5",
            ]
        )  # fmt: skip
        start = Model(tiny_model, "tiny")
        finetune_and_register(config, start, prepared, Progress("test", 5, io.StringIO()))
        folder, _ = fetch("models:/readmission@champion", config.tracking_uri)
        models.append(Model(folder, f"seed {seed}"))

    first, second = (load_for_training(model.folder).state_dict() for model in models)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for model in models:
        assert check_unseen(model, prepared.split_name)
        with pytest.raises(UserError, match="split `patient 1`, and the data have `patient 2`"):
            check_unseen(model, "patient 2")
