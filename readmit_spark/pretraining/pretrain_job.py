"""Pretrain: notes to examples, and examples to a registered encoder."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Observation, SparkSession

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.pretraining.examples_table import examples_table, segments_table, too_long
from readmit_spark.pretraining.pretrain import (
    Pretrained,
    PretrainPlan,
    check_bert,
    count_phase_lanes,
    load_pretrained,
    pretrain,
)
from readmit_spark.progress import Progress
from readmit_spark.scoring.check_model import SEEN, check_unseen
from readmit_spark.scoring.locate import Located, fingerprint, local_folder
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.registry import nested_run, register
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.storage.check_csv import check_records, expected_records, table_bytes
from readmit_spark.storage.input_tables import read_notes
from readmit_spark.storage.publish import Publication, has_result, manifest
from readmit_spark.storage.session import tasks_done
from readmit_spark.training.choose_model import anywhere
from readmit_spark.training.launch import choose_launch
from readmit_spark.training.loop import Log, progress_line

_LOGGED = ("profile", "split", "model", "train", "pretrain")
_VERSION = 3  # of the way from notes to examples; 3: lengths do not tell what follows
_MAKES = ("categories", "copies", "masked", "whole_words", "tokens")  # keys that decide examples


def stage_count(config: Config) -> int:
    """Return the number of stages: examples, each phase, register."""
    return len(config.pretrain.tokens) + 2


def make_examples(
    spark: SparkSession,
    config: Config,
    tokenizer: ChunkTokenizer,
    progress: Progress,
    now: Callable[[], datetime],
) -> dict[str, Any]:
    """Publishes the examples of every phase and gives the manifest; those that were made before,
    with these settings and this tokenizer, are used again."""
    root, path = config.output_root, required(config.data.notes, "data.notes").rstrip("/")
    size = table_bytes(spark, path)
    if size is None:
        raise UserError(f"data.notes: {path} does not exist")
    made_of = {
        "version": _VERSION,
        "notes": path,
        "bytes": size,
        "tokenizer": tokenizer.fingerprint,
        "split": config.split_name,
        "seed": config.train.seed,
        "profile": config.profile,
        **{name: getattr(config.pretrain, name) for name in _MAKES},
    }
    made_of = json.loads(json.dumps(made_of))
    with progress.stage("examples: notes, segments, pairs", tasks_done(spark)):
        before = _whole_result(spark, config)
        if before and before["made_of"] == made_of:
            progress.say(f"{_counts(before)}, made before")
            return before
        tokenizer.vocabulary()  # a tokenizer that is not BERT's is told before the work
        publication = Publication(spark, root, "pretrain", config.output.overwrite, now)
        try:
            counts = Observation("notes")
            expected = expected_records(spark, path, "data.notes")
            segments = segments_table(read_notes(spark, path), config, tokenizer, counts)
            segments = publication.write_work(segments, "segments")
            notes = counts.get
            check_records(path, "data.notes", expected, notes["notes"], notes.pop("malformed"))
            progress.say(_notes(notes))
            for tokens in config.pretrain.tokens:
                progress.say(_too_long(segments, tokens))
                examples = examples_table(segments, config, tokenizer, tokens)
                publication.write_table(examples, _table(tokens), partition_by=["split"])
            publication.publish({"made_of": made_of, "notes": notes})
        except BaseException:
            publication.abandon()
            raise
        found = manifest(spark, root, "pretrain")
        progress.say(_counts(found))
    return found


def pretrain_and_register(
    config: Config,
    located: Located,
    examples: dict[str, Any],
    progress: Progress,
    spark: SparkSession | None = None,
) -> tuple[str, str, list[Pretrained]]:
    """Trains the phases one after another from `located`, on the examples that `examples` (the
    manifest) describes. Gives the registered encoder as name/version, its alias, and the phases."""
    from transformers import AutoTokenizer

    launch = choose_launch(spark, config.train.processes, pretrain)
    plans: list[PretrainPlan] = []
    phases: list[Pretrained] = []
    with (
        tempfile.TemporaryDirectory(prefix="readmit-pretrain-") as folder,
        job_run(config, "pretrain", _LOGGED) as mlflow,
    ):
        start = local_folder(located.folder)
        for plan in _plans(config, start, examples):
            if plans:
                start = str(Path(folder) / str(plan.tokens))
                load_pretrained(plans[-1]).save_pretrained(start)
                plan = replace(plan, start_model=start, scratch=False)
            with (
                progress.stage(f"train: {plan.steps} steps of {plan.tokens} tokens"),
                _watch(mlflow, plan, progress) as (record, say),
            ):
                plans.append(plan)
                phases.append(launch(plan, record, say))
        with progress.stage("register"):
            model = load_pretrained(plans[-1])
            setattr(model.config, SEEN, config.split_name)
            name, alias = register(
                mlflow,
                model,
                AutoTokenizer.from_pretrained(located.folder),
                f"{config.model.name}-encoder",
                {"from": located.name, "split": config.split_name, **phases[-1].after},
                task="feature-extraction",
            )
            for plan in plans:
                FileStore(plan.checkpoint_folder).remove()
    return name, alias, phases


def _plans(config: Config, start: str, examples: dict[str, Any]) -> Iterator[PretrainPlan]:
    """The phases; each one's checkpoints lie where only the same training finds them."""
    settings = asdict(config.pretrain)
    train = config.train
    decides = [fingerprint(start), examples["run"], settings, train.seed, train.group_by_length,
               train.warmup_ratio, train.weight_decay, train.max_grad_norm]  # fmt: skip
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:12]
    for i, (tokens, count) in enumerate(
        zip(config.pretrain.tokens, config.pretrain.steps, strict=True)
    ):
        yield PretrainPlan(
            start_model=start,
            examples_folder=anywhere(examples["path"]),
            tokens=tokens,
            steps=count,
            settings=config.pretrain,
            train=replace(train, learning_rate=config.pretrain.learning_rate),
            scratch=config.pretrain.scratch,
            checkpoint_folder=f"{anywhere(config.output_root)}/_training/pretrain-{key}-{i}",
        )


@contextmanager
def _watch(mlflow: Any, plan: PretrainPlan, progress: Progress) -> Iterator[tuple[Log, Log]]:
    """A nested run a phase."""

    def record(values: dict[str, float], step: int, steps: int) -> None:
        mlflow.log_metrics(values, step=step)

    def say(values: dict[str, float], step: int, steps: int) -> None:
        progress.say(progress_line(values, step, steps))

    with nested_run(mlflow, f"{plan.tokens} tokens"):
        yield record, say


def check_start(config: Config, located: Located) -> None:
    """UserError, before any work, where the start is no BERT or too short for a phase, where it
    knows test patients, or where the batch of a phase does not come out even."""
    check_bert(located.folder, max(config.pretrain.tokens))
    if not config.pretrain.scratch:
        check_unseen(located, config.split_name)
    for tokens in config.pretrain.tokens:
        count_phase_lanes(config.pretrain, tokens, config.train.processes)


def _whole_result(spark: SparkSession, config: Config) -> dict[str, Any] | None:
    """The last examples. Damaged ones are a UserError, unless they are to be replaced."""
    if not has_result(spark, config.output_root, "pretrain"):
        return None
    try:
        return manifest(spark, config.output_root, "pretrain")
    except UserError:
        if config.output.overwrite:
            return None
        raise


def _notes(n: dict[str, int]) -> str:
    others = n["notes"] - n["learnt"] - n["tested"] - n["nameless"]
    return (
        f"{n['notes']:,} notes: {n['learnt']:,} to learn from, {n['tested']:,} of test patients, "
        f"{n['nameless']:,} without ROW_ID or SUBJECT_ID, {others:,} of other categories, empty or "
        "marked as errors"
    )


def _too_long(segments: DataFrame, tokens: int) -> str:
    found = too_long(segments, tokens)
    return (
        f"{found.long:,} of {found.segments:,} segments, {found.share:.1%} of the tokens, are too "
        f"long for examples of {tokens} tokens"
    )


def _table(tokens: int) -> str:
    return f"examples_{tokens}"


def _counts(found: dict[str, Any]) -> str:
    return ", ".join(
        f"{found['tables'][_table(tokens)]['rows']:,} examples of {tokens} tokens"
        for tokens in found["made_of"]["tokens"]
    )
