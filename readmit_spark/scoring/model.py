"""A model folder with everything read from it, resolved once per run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from readmit_spark.config import Config
from readmit_spark.errors import UserError
from readmit_spark.evaluation.doubts import Evidence, doubts
from readmit_spark.evaluation.risk_curve import RiskCurve
from readmit_spark.evaluation.thresholds import Threshold, pick
from readmit_spark.evaluation.vote import PUBLISHED_C
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.classifier import check_one_logit, is_classifier, read_settings
from readmit_spark.scoring.fitted_settings import KEY, FittedSettings
from readmit_spark.scoring.hub import fetch_from_hub
from readmit_spark.scoring.load_tokenizer import (
    check_length,
    package_folder,
    tokenizer_definition,
)
from readmit_spark.scoring.registry import CHAMPION, TEST_EVIDENCE, fetch, version_tags
from readmit_spark.scoring.weight_files import find_head, find_weights
from readmit_spark.storage.s3 import fetch_folder, is_s3

SEEN_SPLIT = "readmit_split"  # key of config.json: the split that the model was trained with
_ALERT_PRECISION = 0.80  # precision of the default alert threshold
_DEFAULT_THRESHOLD = 0.5
_DECIDE_WEIGHTS = (".safetensors", ".bin", ".index.json")


@dataclass(frozen=True)
class Model:
    """A Hugging Face folder on the local disk; its files are read at most once.

    name: the model's name in tables and reports. source: the s3:// folder that `folder` is a copy
    of, from which nodes can fetch the model; None if there is none. tags: of the version in the
    registry; None for a model from elsewhere.
    """

    folder: str
    name: str
    source: str | None = None
    tags: Mapping[str, str] | None = None

    @cached_property
    def settings(self) -> Any:
        """config.json as a transformers PretrainedConfig; UserError if it cannot be read."""
        return read_settings(self.folder)

    @cached_property
    def fingerprint(self) -> str:
        """See `fingerprint`."""
        return fingerprint(self.folder)

    @property
    def has_head(self) -> bool:
        """Whether the model is a sequence classifier, of readmission or anything else."""
        return is_classifier(self.settings)

    @cached_property
    def fitted(self) -> FittedSettings | None:
        """What fine-tuning fitted besides the weights; None if the model has no such settings.

        UserError if a value is of another type or out of range.
        """
        values = getattr(self.settings, KEY, None)
        if values is None:
            return None
        try:
            return FittedSettings.from_dict(values)
        except UserError as error:
            raise UserError(f"model.path: {self.folder}/config.json: {error}") from None

    def doubts(self, test: Evidence | None = None) -> list[str]:
        """Return the reasons to doubt that this model ranks better than chance; see `doubts`.

        test: how it ranked test patients; None: as the last `score` tagged it in the registry.
        """
        tagged = (self.tags or {}).get(TEST_EVIDENCE)
        if test is None and tagged:
            test = Evidence(**json.loads(tagged))
        return doubts(self.fitted.evidence if self.fitted else None, test)

    @property
    def seen_split(self) -> str | None:
        """The name of the split that the model was trained with; None if it is unknown."""
        split = getattr(self.settings, SEEN_SPLIT, None)
        if split is not None and not isinstance(split, str):
            raise UserError(
                f"model.path: {self.folder}/config.json: {SEEN_SPLIT} is no name of a split"
            )
        return split

    def tokenizer(self, max_tokens: int) -> ChunkTokenizer:
        """The model's tokenizer, for chunks of at most `max_tokens`. Errors: `load_tokenizer`."""
        check_length(self.folder, self.settings, max_tokens)
        return ChunkTokenizer(self._tokenizer, max_tokens)

    @cached_property
    def _tokenizer(self) -> str:
        return tokenizer_definition(self.folder, self.settings)

    def vote_c(self, config: Config) -> float:
        """Return c of the vote: `vote.c`, else the fitted c, else the published 2."""
        if config.vote.c is not None:
            return config.vote.c
        return self.fitted.vote_c if self.fitted else PUBLISHED_C

    def risk_curves(self, config: Config) -> Mapping[str, RiskCurve]:
        """Return window -> the curve from scores to risks.

        Empty if nothing was fitted, or if `vote.c` differs from the fitted c: the curves belong to
        the scores of that c.
        """
        if self.fitted is None or self.vote_c(config) != self.fitted.vote_c:
            return {}
        return self.fitted.risks

    def alert_points(self, config: Config) -> Mapping[str, Sequence[Threshold]]:
        """Return window -> the fitted alert thresholds; empty where `risk_curves` would be."""
        if self.fitted is None or self.vote_c(config) != self.fitted.vote_c:
            return {}
        return self.fitted.alerts

    def alert_threshold(self, config: Config, windows: Sequence[str]) -> float:
        """Return the lowest score that raises an alert.

        This is `score.alert_threshold`; else, of the first of `windows` that has one, the threshold
        with precision 0.80 on validation; else 0.5.
        """
        if config.score.alert_threshold is not None:
            return config.score.alert_threshold
        alerts = self.alert_points(config)
        for window in windows:
            point = pick(alerts.get(window, ()), _ALERT_PRECISION)
            if point is not None:
                return point.threshold
        return _DEFAULT_THRESHOLD


def resolve_model(config: Config, path: str | None = None) -> Model:
    """Return the model at `path` (default: `model.path`); fetch it to the local disk if needed.

    package:NAME is a folder in an installed package; models:/NAME@ALIAS and models:/NAME/VERSION
    come from the registry at `tracking.uri`; hub:NAME@REVISION comes from the Hugging Face hub; an
    s3:// folder is fetched; anything else is a local folder. Raise a UserError if the model cannot
    be found.
    """
    path = path or config.model.path
    if path.startswith("package:"):
        name = path.removeprefix("package:")
        return Model(package_folder(name), name)
    if path.startswith("models:/"):
        folder, name = fetch(path, config.tracking_uri)
        return Model(folder, name, tags=version_tags(config.tracking_uri, name))
    if path.startswith("hub:"):
        return Model(*fetch_from_hub(path))
    if is_s3(path):
        try:
            return Model(str(fetch_folder(path)), path.rstrip("/").rpartition("/")[2], path)
        except UserError as error:
            raise UserError(f"model.path: {error}") from None
    local = Path(path).expanduser()
    if not local.is_dir():
        raise UserError(
            f"model.path: the folder {path} does not exist (a model of the Hugging Face hub is "
            "written hub:NAME@REVISION)"
        )
    return Model(str(local), local.absolute().name)


def resolve_scorer(config: Config) -> Model:
    """Return the model to score with.

    This is `model.path` if it has a classification head, else the champion of `model.name` in the
    registry. Raise a UserError if it is not a classifier with one logit, or has no weights.
    """
    model = resolve_model(config)
    if not model.has_head:
        _check_no_head(model)
        model = resolve_model(config, f"models:/{config.model.name}@{CHAMPION}")
    check_one_logit(model.settings, model.folder)
    find_weights(model.folder)  # workers read them, minutes later
    return model


def _check_no_head(model: Model) -> None:
    """UserError if config.json declares no head but the files have one: the champion is not the
    model that was asked for."""
    declared = (model.settings.architectures or [""])[0]
    if declared and not declared.endswith("Model"):
        return  # the head of another task
    head = find_head(model.folder)
    if head:
        raise UserError(
            f"model.path: {model.folder} has a classification head ({head}), but architectures in "
            f"config.json is {declared or 'missing'}; set it to the class that the model was saved "
            "with, such as BertForSequenceClassification"
        )


def fingerprint(folder: str) -> str:
    """Hash the weights, their index and config.json in `folder` to 12 hex digits.

    The hash distinguishes models of the same name. The tokenizer has a fingerprint of its own.
    """
    digest = hashlib.sha256()
    for file in sorted(Path(folder).iterdir()):
        if file.name == "config.json" or file.name.endswith(_DECIDE_WEIGHTS):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:12]
