"""Pretrain: make examples from notes, train an encoder on them and register it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
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
from readmit_spark.scoring.check_model import check_unseen
from readmit_spark.scoring.load_tokenizer import read_tokenizer
from readmit_spark.scoring.mlflow_run import job_run
from readmit_spark.scoring.model import SEEN_SPLIT, Model
from readmit_spark.scoring.registry import nested_run, register
from readmit_spark.storage.atomic_files import FileStore
from readmit_spark.storage.checked_notes import read_checked_notes
from readmit_spark.storage.manifests import PretrainExamples
from readmit_spark.storage.output_tables import examples_name
from readmit_spark.storage.publish import has_result
from readmit_spark.storage.run import Run
from readmit_spark.storage.table_source import find_table
from readmit_spark.training.choose_model import absolute_path
from readmit_spark.training.launch import choose_launch
from readmit_spark.training.loop import Log, progress_line

_LOGGED = ("profile", "split", "model", "train", "pretrain")
_VERSION = 4  # of the code that makes examples; a new version makes them again
_EXAMPLE_KEYS = ("categories", "copies", "masked", "whole_words", "tokens")  # of `pretrain`


def stage_count(config: Config) -> int:
    """Return the number of stages: examples, each phase, register."""
    return len(config.pretrain.tokens) + 2


def make_examples(run: Run, tokenizer: ChunkTokenizer) -> PretrainExamples:
    """Publish the examples of every phase and return their manifest. Earlier examples with the same
    settings, notes and tokenizer are reused."""
    config = run.config
    if config.split.by != "patient":
        raise UserError(
            f"split.by is {config.split.by}: pretraining leaves out test patients, and knows them "
            "by split.by=patient alone; set it for jobs/pretrain.py"
        )
    made_of = _made_of(run, tokenizer)
    with run.stage("examples: notes, segments, pairs"):
        earlier = _earlier_examples(run)
        if earlier and earlier.made_of == made_of:
            run.say(f"{_counts(earlier)}, made before")
            return earlier
        if earlier and not config.output.overwrite:
            raise UserError(
                f"output.root: {config.output_root} has a result of pretrain already; "
                "set output.overwrite=true to replace it, or another output.root"
            )
        tokenizer.vocabulary()  # refuses a tokenizer that is not BERT's, before the work
        segments, notes = _segments(run, tokenizer)
        for tokens in config.pretrain.tokens:
            run.say(_too_long_line(segments, tokens))
            examples = examples_table(segments, config, tokenizer, tokens)
            run.write_table(examples, examples_name(tokens))
        run.publish({"made_of": made_of, "notes": notes})
        published = PretrainExamples.read(run.spark, config.output_root)
        run.say(_counts(published))
    return published


def _made_of(run: Run, tokenizer: ChunkTokenizer) -> dict[str, Any]:
    """Return everything that the examples depend on, in the form that JSON reads back."""
    config = run.config
    path = required(config.data.notes, "data.notes").rstrip("/")
    made_of = {
        "version": _VERSION,
        "notes": path,
        "bytes": find_table(run.spark, path, "data.notes").size,
        "tokenizer": tokenizer.fingerprint,
        "split": config.split_name,
        "seed": config.train.seed,
        "profile": config.profile,
        **{name: getattr(config.pretrain, name) for name in _EXAMPLE_KEYS},
    }
    return dict(json.loads(json.dumps(made_of)))


def _segments(run: Run, tokenizer: ChunkTokenizer) -> tuple[DataFrame, dict[str, int]]:
    """Write the segments to learn from to a temporary table; return it and counts of the notes."""
    source, counts = read_checked_notes(run.spark, run.config), Observation("notes")
    segments = segments_table(source.rows, run.config, tokenizer, counts)
    segments = run.write_temp(segments, "segments")
    notes = source.check(run.say) | counts.get
    run.say(_note_counts(notes))
    return segments, notes


def pretrain_and_register(
    config: Config,
    model: Model,
    examples: PretrainExamples,
    progress: Progress,
    spark: SparkSession | None = None,
) -> tuple[str, str, list[Pretrained]]:
    """Train the phases one after another, starting from `model`. Return the registered encoder as
    name/version, its alias, and the result of each phase."""
    launch = choose_launch(spark, config.train.processes, pretrain)
    plans: list[PretrainPlan] = []
    phases: list[Pretrained] = []
    with (
        tempfile.TemporaryDirectory(prefix="readmit-pretrain-") as folder,
        job_run(config, "pretrain", _LOGGED) as mlflow,
    ):
        start = model.folder
        for plan in _plans(config, model, examples):
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
            encoder = load_pretrained(plans[-1])
            setattr(encoder.config, SEEN_SPLIT, config.split_name)
            name, alias = register(
                mlflow,
                encoder,
                read_tokenizer(model.folder),
                f"{config.model.name}-encoder",
                {"from": model.name, "split": config.split_name, **phases[-1].after},
                task="feature-extraction",
            )
            for plan in plans:
                FileStore(plan.checkpoint_folder).remove()
    return name, alias, phases


def _plans(config: Config, model: Model, examples: PretrainExamples) -> Iterator[PretrainPlan]:
    """Yield the plan of each phase.

    The name of its checkpoint folder depends on everything that decides the weights.
    """
    settings = asdict(config.pretrain)
    train = config.train
    key_parts = [model.fingerprint, examples.run, settings, train.seed, train.group_by_length,
                 train.warmup_ratio, train.weight_decay, train.max_grad_norm]  # fmt: skip
    key = hashlib.sha256(json.dumps(key_parts).encode()).hexdigest()[:12]
    for i, (tokens, count) in enumerate(
        zip(config.pretrain.tokens, config.pretrain.steps, strict=True)
    ):
        yield PretrainPlan(
            start_model=model.folder,
            examples_folder=absolute_path(examples.path),
            tokens=tokens,
            steps=count,
            settings=config.pretrain,
            train=replace(train, learning_rate=config.pretrain.learning_rate),
            scratch=config.pretrain.scratch,
            checkpoint_folder=f"{absolute_path(config.output_root)}/_training/pretrain-{key}-{i}",
        )


@contextmanager
def _watch(mlflow: Any, plan: PretrainPlan, progress: Progress) -> Iterator[tuple[Log, Log]]:
    """Start a nested MLflow run for a phase. Yield a function that logs its values and one that
    prints them."""

    def record(values: dict[str, float], step: int, steps: int) -> None:
        mlflow.log_metrics(values, step=step)

    def say(values: dict[str, float], step: int, steps: int) -> None:
        progress.say(progress_line(values, step, steps))

    with nested_run(mlflow, f"{plan.tokens} tokens"):
        yield record, say


def check_start(config: Config, model: Model) -> None:
    """Check the model to start from, before any work.

    UserError if it is not a BERT, accepts fewer tokens than a phase needs or has seen test
    patients, or if a phase's batch cannot be divided evenly among the processes.
    """
    check_bert(model.folder, max(config.pretrain.tokens))
    if not config.pretrain.scratch:
        check_unseen(model, config.split_name)
    for tokens in config.pretrain.tokens:
        count_phase_lanes(config.pretrain, tokens, config.train.processes)


def _earlier_examples(run: Run) -> PretrainExamples | None:
    """Return the last examples, if any. UserError if they are damaged, unless output.overwrite
    replaces them."""
    root = run.config.output_root
    if run.config.output.overwrite:
        return PretrainExamples.read_if_complete(run.spark, root)
    if not has_result(run.spark, root, PretrainExamples.JOB):
        return None
    return PretrainExamples.read(run.spark, root)


def _note_counts(counts: dict[str, int]) -> str:
    others = counts["notes"] - counts["learnt"] - counts["tested"] - counts["nameless"]
    return (
        f"{counts['notes']:,} notes: {counts['learnt']:,} to learn from, "
        f"{counts['tested']:,} of test patients, {counts['nameless']:,} without ROW_ID or "
        f"SUBJECT_ID, {others:,} of other categories, empty or marked as errors"
    )


def _too_long_line(segments: DataFrame, tokens: int) -> str:
    counts = too_long(segments, tokens)
    return (
        f"{counts.long:,} of {counts.segments:,} segments, {counts.share:.1%} of the tokens, are "
        f"too long for examples of {tokens} tokens"
    )


def _counts(examples: PretrainExamples) -> str:
    return ", ".join(
        f"{examples.tables[examples_name(tokens)].rows:,} examples of {tokens} tokens"
        for tokens in examples.made_of["tokens"]
    )
