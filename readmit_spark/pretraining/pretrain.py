"""Pretrain a BERT on masked words and next sentences, in one process or several.

docs/method.md, section 11; Devlin et al. 2019, arXiv 1810.04805.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from readmit_spark.config import Pretrain, Train
from readmit_spark.errors import UserError
from readmit_spark.pretraining.read_examples import Example, read_examples, read_index
from readmit_spark.scoring.batching import Index, pad, token_batches
from readmit_spark.scoring.classifier import read_settings
from readmit_spark.training.checkpoints import Checkpoints
from readmit_spark.training.loop import Log, TrainingLoop
from readmit_spark.training.optimisation import (
    LaneLoss,
    Optimisation,
    autocast_bf16,
    fast_cpu_matmul,
    padding_multiple,
    quiet_transformers,
)
from readmit_spark.training.plan import History
from readmit_spark.training.ranks import Ranks
from readmit_spark.training.schedule import count_lanes, rows_of_rank

_EVALUATION_TOKENS = 8192  # in a forward pass without gradients
_EVALUATION_EXAMPLES = 20_000  # held-out examples at most: a standard error of 0.4 %


@dataclass(frozen=True)
class PretrainPlan:
    """Settings of one pretraining phase, the same in every process.

    start_model: folder of the model to start from. examples_folder: run folder of the examples.
    tokens, steps: of this phase. settings: the `pretrain` section of the configuration. train: the
    `train` section, with pretraining's learning rate. scratch: take only the shape of the start
    model, with random weights. checkpoint_folder: unique to this phase. Every process must be able
    to read all three folders and write the last one.
    """

    start_model: str
    examples_folder: str
    tokens: int
    steps: int
    settings: Pretrain
    train: Train
    scratch: bool
    checkpoint_folder: str

    @property
    def batch_size(self) -> int:
        """Examples in an optimiser step."""
        return _batch_size(self.settings, self.tokens)


@dataclass(frozen=True)
class Pretrained:
    """Result of a phase: everything logged, and the number of optimiser steps.

    The first and last evaluation hold the accuracies on held-out notes: `mlm_accuracy` over masked
    words and `nsp_accuracy` over sentence pairs.
    """

    history: History
    steps: int

    @property
    def before(self) -> dict[str, float]:
        """Accuracies before the first step."""
        return self._accuracies()[0]

    @property
    def after(self) -> dict[str, float]:
        """Accuracies after the last step."""
        return self._accuracies()[-1]

    def _accuracies(self) -> list[dict[str, float]]:
        return [values for _, values in self.history if "mlm_accuracy" in values]


def pretrain(plan: PretrainPlan, ranks: Ranks, log: Log) -> Pretrained:
    """Train one phase, or resume from its last checkpoint; every rank calls this.

    The loss of a step is the mean over its masked words plus the mean over its sentence pairs.
    Evaluates before the first step and after the last. Computes in bf16 on a GPU that supports it,
    else in fp32. UserError if there are too few examples or the model is not a BERT.
    """
    quiet_transformers()
    with fast_cpu_matmul():
        phase = _PretrainingPhase(plan, ranks, log)
        phase.run()
    ranks.gather(None)  # wait until the first rank has written its weights
    return Pretrained(phase.loop.state.history, plan.steps)


def load_pretrained(plan: PretrainPlan) -> Any:
    """Return the model of a finished phase: on the CPU, in eval mode."""
    model = load_start_model(plan)
    Checkpoints(plan.checkpoint_folder).load({"model": _BertLogits(model)}, "cpu")
    return model.eval()


def count_phase_lanes(settings: Pretrain, tokens: int, processes: int) -> int:
    """Return how many forward passes a step has; UserError if they do not divide evenly."""
    micro_batch = max(1, settings.micro_batch_tokens // tokens)
    keys = (
        f"pretrain.batch_tokens (in examples of {tokens} tokens)",
        "pretrain.micro_batch_tokens",
    )
    return count_lanes(_batch_size(settings, tokens), micro_batch, processes, keys)


def _batch_size(settings: Pretrain, tokens: int) -> int:
    return max(1, settings.batch_tokens // tokens)


def check_bert(folder: str, tokens: int) -> None:
    """UserError if `folder` is not a BERT, or accepts fewer than `tokens` tokens."""
    config = read_settings(folder)
    if config.model_type != "bert":
        raise UserError(
            f"model.path: pretraining needs a BERT, not {config.model_type}: next-sentence "
            "prediction uses its two sentence types"
        )
    if config.max_position_embeddings < tokens:
        raise UserError(
            f"pretrain.tokens: examples have {tokens} tokens, but the model accepts "
            f"{config.max_position_embeddings}"
        )


def load_start_model(plan: PretrainPlan) -> Any:
    """Return the start model with both pretraining heads; missing heads get random weights.

    UserError if any other weight is missing.
    """
    from transformers import AutoModelForPreTraining, BertForPreTraining

    from readmit_spark.scoring.whole_model import load_whole

    config = read_settings(plan.start_model)
    set_seed(plan.train.seed)  # for random weights
    if plan.scratch:
        return BertForPreTraining(config)
    return load_whole(AutoModelForPreTraining, plan.start_model, config, other_head=True)


class _BertLogits(nn.Module):
    """Logits of the masked words [masked words, vocabulary] and of the pairs [rows, 2].

    Only masked words are projected onto the vocabulary: in a small BERT, projecting all tokens
    would be most of the work.
    """

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor, masked: Tensor) -> Any:
        """ids, mask, types: [rows, width]. masked: positions in the flattened ids."""
        output = self.bert.bert(input_ids=ids, attention_mask=mask, token_type_ids=types)
        masked_outputs = output.last_hidden_state.flatten(0, 1)[masked]
        return self.bert.cls(masked_outputs, output.pooler_output)


class _PretrainingPhase:
    """The data, the loss and the evaluation of one phase."""

    def __init__(self, plan: PretrainPlan, ranks: Ranks, log: Log) -> None:
        self.plan, self.ranks = plan, ranks
        lanes = count_phase_lanes(plan.settings, plan.tokens, ranks.world)
        self._read_data(lanes)
        bert = load_start_model(plan).to(ranks.device)
        self.pad_id = bert.config.pad_token_id or 0
        self.model = _BertLogits(bert)
        self.loop = TrainingLoop(
            Optimisation(self.model, ranks, plan.train, plan.steps),
            self.train.lengths,
            lanes,
            plan.batch_size // lanes,
            plan.checkpoint_folder,
            log,
        )

    def _read_data(self, lanes: int) -> None:
        plan, rank, world = self.plan, self.ranks.rank, self.ranks.world
        self.train = read_index(plan.examples_folder, plan.tokens, "train")
        held_out = read_index(plan.examples_folder, plan.tokens, "validation")
        if len(self.train) < plan.batch_size:
            raise UserError(
                f"pretrain: {len(self.train)} training examples of {plan.tokens} tokens, but a "
                f"step takes {plan.batch_size}: more notes needed, or lower pretrain.batch_tokens"
            )
        our_rows = rows_of_rank(self.train.lengths, lanes, rank, world)
        self.examples = read_examples(plan.examples_folder, plan.tokens, "train", our_rows)
        our_held_out = np.arange(rank, min(len(held_out), _EVALUATION_EXAMPLES), world)
        self.held_out = read_examples(plan.examples_folder, plan.tokens, "validation", our_held_out)

    def run(self) -> None:
        if not self.loop.state.history:
            self._evaluate()
        self.loop.run(self._step_loss, self._evaluate_at_end)

    def _step_loss(self, lanes: list[Index]) -> LaneLoss:
        """Return a function of rows: their part of the loss of the step."""
        pairs = sum(map(len, lanes))
        words = sum(int(self.train.n_masked[rows].sum()) for rows in lanes)

        def lane_loss(model: nn.Module, rows: Index) -> Tensor:
            examples = [self.examples[row] for row in rows.tolist()]
            word_logits, pair_logits = self._logits(model, examples)
            word_answers, pair_answers = self._answers(examples)
            return (
                F.cross_entropy(word_logits, word_answers, reduction="sum") / words
                + F.cross_entropy(pair_logits, pair_answers, reduction="sum") / pairs
            )

        return lane_loss

    def _logits(self, model: nn.Module, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        multiple = padding_multiple(self.ranks.device)
        ids, mask = pad([e.input_ids for e in examples], self.pad_id, multiple, self.plan.tokens)
        n_first = np.array([example.n_first for example in examples])
        types = (np.arange(ids.shape[1]) >= n_first[:, None]) & (mask == 1)
        masked = np.concatenate([e.masked + i * ids.shape[1] for i, e in enumerate(examples)])
        arrays = (ids, mask, types.astype(np.int64), masked.astype(np.int64))
        with autocast_bf16(self.ranks.device):
            words, pairs = model(*(torch.from_numpy(a).to(self.ranks.device) for a in arrays))
        return words.float(), pairs.float()

    def _answers(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        words = np.concatenate([example.answers for example in examples]).astype(np.int64)
        # BERT's class 0 means that the second half follows the first.
        pairs = np.array([0 if example.is_next else 1 for example in examples])
        device = self.ranks.device
        return torch.from_numpy(words).to(device), torch.from_numpy(pairs).to(device)

    def _evaluate_at_end(self) -> bool:
        """After the last step: evaluate and end the training. Returns whether it evaluated."""
        state = self.loop.state
        if state.step == self.loop.steps:
            self._evaluate()
            state.done = True
        return state.done

    @torch.no_grad()
    def _evaluate(self) -> None:
        """Record the accuracies on held-out notes over masked words and over pairs."""
        self.model.eval()
        held_out = list(self.held_out.values())
        counts = np.zeros(4)  # words right, words, pairs right, pairs
        lengths = [len(example.input_ids) for example in held_out]
        for batch in token_batches(lengths, _EVALUATION_TOKENS):
            examples = [held_out[i] for i in batch.tolist()]
            for i, (logits, answers) in enumerate(
                zip(self._logits(self.model, examples), self._answers(examples), strict=True)
            ):
                counts[2 * i] += int((logits.argmax(1) == answers).sum())
                counts[2 * i + 1] += len(answers)
        words_right, words, pairs_right, pairs = sum(self.ranks.gather(counts)).tolist()
        self.loop.record(mlm_accuracy=words_right / words, nsp_accuracy=pairs_right / pairs)
