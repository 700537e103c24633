"""Pretraining on one process or many: hidden words, next sentences (docs/method.md, section 11)."""

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
from readmit_spark.training.loop import Loop, Share
from readmit_spark.training.optimisation import (
    Log,
    Optimisation,
    fast_cpu_products,
    half_precision,
    quiet_transformers,
    widths,
)
from readmit_spark.training.plan import Checkpoints
from readmit_spark.training.ranks import Ranks
from readmit_spark.training.schedule import deal, lanes_of

_EVAL_TOKENS = 8192  # of a forward pass without gradients
_EVAL_EXAMPLES = 20_000  # held-out examples that are asked: enough for a standard error of 0.4 %


@dataclass(frozen=True)
class PretrainPlan:
    """One phase, as every process is told it.

    model: folder to start from. folder: run of the examples. tokens, steps: of this phase. train:
    the keys that any training has, with pretraining's learning rate. scratch: the folder gives the
    shape alone, and weights are drawn. work: folder of the checkpoints. Every process can read
    `model` and `folder`, and read and write `work`.
    """

    model: str
    folder: str
    tokens: int
    steps: int
    settings: Pretrain
    train: Train
    scratch: bool
    seed: int
    work: str

    @property
    def batch(self) -> int:
        """Examples an optimiser step."""
        return _examples_a_step(self.settings, self.tokens)


@dataclass(frozen=True)
class Pretrained:
    """history: (step, values) as logged; the first and last have the accuracies on held-out notes,
    `mlm_accuracy` over hidden words and `nsp_accuracy` over pairs."""

    history: list[tuple[int, dict[str, float]]]
    steps: int

    @property
    def before(self) -> dict[str, float]:
        return self._accuracies()[0]

    @property
    def after(self) -> dict[str, float]:
        return self._accuracies()[-1]

    def _accuracies(self) -> list[dict[str, float]]:
        return [values for _, values in self.history if "mlm_accuracy" in values]


def pretrain(plan: PretrainPlan, ranks: Ranks, log: Log) -> Pretrained:
    """Trains one phase, or goes on from its last checkpoint; every rank calls it.

    The mean loss over the hidden words of a step plus that over its pairs, as published. Evaluates
    before the first step and after the last. bf16 on a GPU that has it, else fp32. UserError where
    there are too few examples, or where the model is no BERT.
    """
    quiet_transformers()
    with fast_cpu_products():
        phase = _Phase(plan, ranks, log)
        phase.run()
    ranks.gather(None)  # the first rank has written its weights
    return Pretrained(phase.loop.state.history, plan.steps)


def pretrained_model(plan: PretrainPlan) -> Any:
    """The model of a phase that has ended: on the CPU, in eval mode."""
    model = load(plan)
    Checkpoints(plan.work).load({"model": _Exercises(model)}, "cpu")
    return model.eval()


def lanes_of_phase(settings: Pretrain, tokens: int, processes: int) -> int:
    """Forward passes a step, over all processes; UserError where they do not come out even."""
    micro = max(1, settings.micro_batch_tokens // tokens)
    keys = (
        f"pretrain.batch_tokens (in examples of {tokens} tokens)",
        "pretrain.micro_batch_tokens",
    )
    return lanes_of(_examples_a_step(settings, tokens), micro, processes, keys)


def _examples_a_step(settings: Pretrain, tokens: int) -> int:
    return max(1, settings.batch_tokens // tokens)


def check_bert(folder: str, tokens: int) -> None:
    """UserError where `folder` is no BERT, or takes fewer than `tokens`."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    if config.model_type != "bert":
        raise UserError(
            f"model.path: pretraining takes a BERT, not {config.model_type}: next-sentence "
            "prediction needs its two sentence types"
        )
    if config.max_position_embeddings < tokens:
        raise UserError(
            f"pretrain.tokens: examples of {tokens} tokens, and the model takes "
            f"{config.max_position_embeddings}"
        )


def load(plan: PretrainPlan) -> Any:
    """A BERT with both heads: those of the folder where it has them, else new ones."""
    from transformers import AutoConfig, BertForPreTraining

    config = AutoConfig.from_pretrained(plan.model)
    set_seed(plan.seed)  # for new weights
    return BertForPreTraining(config) if plan.scratch else BertForPreTraining.from_pretrained(
        plan.model
    )  # fmt: skip


class _Exercises(nn.Module):
    """Logits of the hidden words [hidden words, vocabulary] and of the pairs [rows, 2]. Words that
    are not asked for are not projected onto the vocabulary: most of a small BERT's work."""

    def __init__(self, bert: Any) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor, hidden: Tensor) -> Any:
        made = self.bert.bert(input_ids=ids, attention_mask=mask, token_type_ids=types)
        asked = made.last_hidden_state.flatten(0, 1)[hidden]
        return self.bert.cls(asked, made.pooler_output)


class _Phase:
    def __init__(self, plan: PretrainPlan, ranks: Ranks, log: Log) -> None:
        self.plan, self.ranks = plan, ranks
        self.lanes = lanes_of_phase(plan.settings, plan.tokens, ranks.world)
        self.micro = plan.batch // self.lanes
        self._read_data()
        bert = load(plan).to(ranks.device)
        self.pad_id = bert.config.pad_token_id or 0
        self.model = _Exercises(bert)
        optimisation = Optimisation(self.model, ranks, plan.train, plan.steps, plan.seed)
        self.loop = Loop(
            optimisation, self.train.lengths, self.lanes, self.micro, plan.work, log
        )  # fmt: skip

    def _read_data(self) -> None:
        plan = self.plan
        self.train = read_index(plan.folder, plan.tokens, "train")
        self.held_out = read_index(plan.folder, plan.tokens, "validation")
        if len(self.train) < plan.batch:
            raise UserError(
                f"pretrain: {len(self.train)} examples of {plan.tokens} tokens to train on; a step "
                f"takes {plan.batch}: more notes needed, or lower pretrain.batch_tokens"
            )
        mine = deal(self.train.lengths, self.lanes)[self.ranks.rank :: self.ranks.world]
        self.examples = read_examples(plan.folder, plan.tokens, "train", np.concatenate(mine))
        asked = np.arange(min(len(self.held_out), _EVAL_EXAMPLES))
        self.asked = read_examples(
            plan.folder, plan.tokens, "validation", asked[self.ranks.rank :: self.ranks.world]
        )

    def run(self) -> None:
        if not self.loop.state.history:
            self._evaluate()
        self.loop.run(self._share_of, self._look)

    def _look(self) -> bool:
        state = self.loop.state
        if state.step == self.loop.steps:
            self._evaluate()
            state.done = True
        return state.done

    def _share_of(self, lanes: list[Index]) -> Share:
        pairs = sum(map(len, lanes))
        words = sum(int(self.train.n_masked[rows].sum()) for rows in lanes)
        return lambda model, rows: self._share(model, rows, pairs, words)

    def _share(self, model: nn.Module, rows: Index, pairs: int, words: int) -> Tensor:
        weight = 1.0 if len(rows) else 0.0
        rows = rows if len(rows) else np.array([next(iter(self.examples))])
        examples = [self.examples[row] for row in rows.tolist()]
        word_logits, pair_logits = self._logits(model, examples)
        answers, follows = self._answers(examples)
        return weight * (
            F.cross_entropy(word_logits, answers, reduction="sum") / words
            + F.cross_entropy(pair_logits, follows, reduction="sum") / pairs
        )

    def _logits(self, model: nn.Module, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        multiple = widths(self.ranks.device)
        ids, mask = pad([e.input_ids for e in examples], self.pad_id, multiple, self.plan.tokens)
        place = np.arange(ids.shape[1])
        first = np.array([example.n_first for example in examples])
        types = (place >= first[:, None]) & (mask == 1)
        hidden = np.concatenate([e.masked + i * ids.shape[1] for i, e in enumerate(examples)])
        given = (ids, mask, types.astype(np.int64), hidden.astype(np.int64))
        with half_precision(self.ranks.device):
            words, pairs = model(*(torch.from_numpy(g).to(self.ranks.device) for g in given))
        return words.float(), pairs.float()

    def _answers(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
        words = np.concatenate([example.answers for example in examples]).astype(np.int64)
        follows = np.array([0 if example.is_next else 1 for example in examples])  # as BERT has it
        device = self.ranks.device
        return torch.from_numpy(words).to(device), torch.from_numpy(follows).to(device)

    @torch.no_grad()
    def _evaluate(self) -> None:
        """On the held-out notes: the share of hidden words, and of pairs, that are told right."""
        self.model.eval()
        asked = list(self.asked.values())
        right = np.zeros(4)  # words right, words, pairs right, pairs
        for batch in token_batches([len(e.input_ids) for e in asked], _EVAL_TOKENS):
            examples = [asked[i] for i in batch.tolist()]
            for i, (logits, truth) in enumerate(
                zip(self._logits(self.model, examples), self._answers(examples), strict=True)
            ):
                right[2 * i : 2 * i + 2] += (
                    int((logits.argmax(1) == truth).sum()), len(truth)
                )  # fmt: skip
        words_right, words, pairs_right, pairs = sum(self.ranks.gather(right)).tolist()
        self.loop.record(mlm_accuracy=words_right / words, nsp_accuracy=pairs_right / pairs)
