"""Import: a published checkpoint to a registered model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from readmit_spark.config import Config
from readmit_spark.progress import Progress
from readmit_spark.scoring.convert_checkpoint import WEIGHTS, convert
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.locate import fingerprint, locate
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.registry import register

STAGES = 2
_CARD = """Imported, not trained here: nothing is known of whom it was trained on, and nothing was
measured. `jobs/score.py` writes its card with figures of your own patients, who may be among those
it has seen."""


def import_checkpoint(config: Config, source: str, progress: Progress) -> tuple[str, str]:
    """Converts the folder `source` and registers it: under `model.name` where it is a readmission
    classifier, else, as an encoder to fine-tune, under `model.name`-encoder. Gives
    name/version and its alias."""
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    def tokenizer() -> str:
        found = locate(config).folder
        load_tokenizer(found, max_tokens=8)  # where it is no model, this says so
        return found

    with tempfile.TemporaryDirectory(prefix="readmit-import-") as folder:
        with progress.stage("convert"):
            made = convert(source, folder, tokenizer)
            kind = "a readmission classifier" if made.has_head else "an encoder without a head"
            progress.say(
                f"{kind}: {made.tensors} tensors, each read back and equal"
                + (f"; {len(made.left_out)} of pretraining left out" if made.left_out else "")
            )
        with progress.stage("register"), job_run(config, "import") as mlflow:
            loader = AutoModelForSequenceClassification if made.has_head else AutoModel
            origin = Path(source).name
            mlflow.log_params({"from": origin, "fingerprint": fingerprint(folder)})
            name, alias = register(
                mlflow,
                loader.from_pretrained(folder),
                AutoTokenizer.from_pretrained(folder),
                config.model.name if made.has_head else f"{config.model.name}-encoder",
                {"from": f"{origin}/{WEIGHTS}"},
                task="text-classification" if made.has_head else "feature-extraction",
            )
            registered, _, version = name.partition("/")
            mlflow.MlflowClient().update_model_version(registered, version, _CARD)
            return name, alias
