"""Import: convert a published checkpoint and register it as a model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from readmit_spark.config import Config
from readmit_spark.evaluation.doubts import doubts
from readmit_spark.progress import Progress
from readmit_spark.scoring.classifier import read_settings
from readmit_spark.scoring.convert_checkpoint import WEIGHTS, convert
from readmit_spark.scoring.load_tokenizer import read_tokenizer
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.model import fingerprint, resolve_model
from readmit_spark.scoring.registry import register

STAGES = 2
_CARD = """Imported from a checkpoint: nobody knows which patients it was trained on, and nothing
was measured. `jobs/score.py` writes a card with figures for your own patients, but the model may
have seen some of them."""


def import_checkpoint(config: Config, source: str, progress: Progress) -> tuple[str, str]:
    """Convert the folder `source` and register the model; return name/version and the alias.

    A readmission classifier is registered as `model.name`, an encoder as `model.name`-encoder.
    Errors: as `convert`.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    from readmit_spark.scoring.whole_model import load_whole

    def tokenizer_folder() -> str:
        model = resolve_model(config)
        model.tokenizer(max_tokens=8)  # raises UserError where this is not a model
        return model.folder

    with tempfile.TemporaryDirectory(prefix="readmit-import-") as folder:
        with progress.stage("convert"):
            converted = convert(source, folder, tokenizer_folder)
            kind = "a readmission classifier" if converted.has_head else "an encoder without a head"
            left_out = len(converted.left_out)
            progress.say(
                f"{kind}: {converted.tensors} tensors, each read back and equal"
                + (f"; {left_out} of pretraining left out" if left_out else "")
            )
        with progress.stage("register"), job_run(config, "import") as mlflow:
            loader = AutoModelForSequenceClassification if converted.has_head else AutoModel
            origin = Path(source).name
            mlflow.log_params({"from": origin, "fingerprint": fingerprint(folder)})
            name, alias = register(
                mlflow,
                load_whole(loader, folder, read_settings(folder)),
                read_tokenizer(folder),
                config.model.name if converted.has_head else f"{config.model.name}-encoder",
                {"from": f"{origin}/{WEIGHTS}"},
                task="text-classification" if converted.has_head else "feature-extraction",
                doubts=doubts(None, None) if converted.has_head else (),
            )
            registered, _, version = name.partition("/")
            mlflow.MlflowClient().update_model_version(registered, version, _CARD)
            return name, alias
