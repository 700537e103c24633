"""Fine-tuning, chosen by the patient-level AUROC on validation: by one process or by many."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from readmit_spark.errors import UserError
from readmit_spark.evaluation.balance import training_sample
from readmit_spark.scoring.batching import Ids, Index, pad, token_batches
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.load_tokenizer import positions
from readmit_spark.training.loop import Loop, Share
from readmit_spark.training.optimisation import (
    Log,
    Optimisation,
    fast_cpu_products,
    half_precision,
    quiet_transformers,
    widths,
)
from readmit_spark.training.plan import Plan, Trained
from readmit_spark.training.ranks import Ranks
from readmit_spark.training.schedule import deal, lanes_of, steps_an_epoch
from readmit_spark.training.shards import ChunkIndex, Part, admissions_of, read_index, read_tokens
from readmit_spark.training.validation_scores import ChunkScores

_EVAL_TOKENS = 8192  # of a forward pass without gradients


def finetune(plan: Plan, ranks: Ranks, log: Log) -> Trained:
    """Trains `plan`, or goes on from its last checkpoint; every rank calls it.

    Evaluates after each epoch and keeps the epoch with the best AUROC. bf16 on a GPU that has it,
    else fp32. `log` is called on the first rank alone, and for what was before a restart as well.
    UserError where a set lacks a class.
    """
    quiet_transformers()
    with fast_cpu_products():
        training = _Training(plan, ranks, log)
        training.run()
        return training.result()


class _Training:
    def __init__(self, plan: Plan, ranks: Ranks, log: Log) -> None:
        self.plan, self.settings, self.ranks = plan, plan.settings, ranks
        self.lanes = lanes_of(self.settings.batch_size, self.settings.micro_batch_size, ranks.world)
        self.micro = self.settings.batch_size // self.lanes
        self._read_data()
        an_epoch = steps_an_epoch(len(self.train), self.lanes, self.micro)
        steps = math.ceil(an_epoch * self.settings.epochs)

        set_seed(plan.seed)  # for the new head
        self.model = load_for_training(plan.model).to(ranks.device)
        self.pad_id = self.model.config.pad_token_id or 0
        self.positions = positions(self.model.config)
        optimisation = Optimisation(self.model, ranks, self.settings, steps, plan.seed)
        self.loop = Loop(
            optimisation, self.train.lengths, self.lanes, self.micro, plan.work, log
        )  # fmt: skip
        self.state = self.loop.state

    def _read_data(self) -> None:
        plan, window = self.plan, self.settings.window
        index = read_index(plan.folder, window, admissions_of(plan.folder, "train", plan.fold))
        _check_classes("train", index)
        self.train = balanced(index, plan.seed)
        if len(self.train) < self.settings.batch_size:
            raise UserError(
                f"the train split has {len(self.train)} chunks, fewer than train.batch_size "
                f"{self.settings.batch_size}: more patients needed"
            )
        self.validation = self._index("validation", window)
        _check_classes("validation", self.validation)
        mine = deal(self.train.lengths, self.lanes)[self.ranks.rank :: self.ranks.world]
        self.tokens = self._tokens(window, self.train, np.concatenate(mine))
        self.validation_tokens = self._tokens(window, self.validation)

    def _index(self, part: Part, window: str) -> ChunkIndex:
        """What is scored, longest chunks first: ranks share it out evenly, and pad little."""
        plan = self.plan
        index = read_index(plan.folder, window, admissions_of(plan.folder, part, plan.fold))
        return index.take(np.argsort(-index.lengths, kind="stable"))

    def _tokens(self, window: str, index: ChunkIndex, rows: Index | None = None) -> dict[int, Ids]:
        """Token ids by row of `index`: of `rows`, or of this rank's share of all."""
        if rows is None:
            rows = np.arange(self.ranks.rank, len(index), self.ranks.world)
        ids = read_tokens(self.plan.folder, window, index.take(rows))
        return dict(zip(rows.tolist(), ids, strict=True))

    def run(self) -> None:
        self.loop.run(self._share_of, self._evaluate)

    def result(self) -> Trained:
        """Scores what is to be scored, with the model of the best epoch."""
        self.ranks.gather(None)  # the first rank has written its weights
        self.loop.checkpoints.load_best(self.state, self.model, self.ranks.device)
        parts: list[Part] = ["validation"] if self.plan.fold is None else ["validation", "test"]
        scores: dict[str, dict[str, ChunkScores]] = {part: {} for part in parts}
        for part in parts:
            for window in self.plan.windows:
                index = self._index(part, window)
                scores[part][window] = self._score(index, self._tokens(window, index))
        return Trained(self.state.history, self.loop.steps, self.state.best_step, scores)

    def _share_of(self, lanes: list[Index]) -> Share:
        total = sum(map(len, lanes))
        return lambda model, rows: self._share(model, rows, total)

    def _share(self, model: nn.Module, rows: Index, total: int) -> Tensor:
        """What these rows add to the mean loss over `total`."""
        weight = 1.0 / total if len(rows) else 0.0
        rows = rows if len(rows) else np.array([next(iter(self.tokens))])
        logits = self._logits(model, [self.tokens[row] for row in rows.tolist()])
        labels = torch.from_numpy(self.train.labels[rows]).to(logits)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") * weight

    def _logits(self, model: nn.Module, chunks: Sequence[Ids]) -> Tensor:
        device = self.ranks.device
        padded = pad(chunks, self.pad_id, widths(device), self.positions)
        ids, mask = (torch.from_numpy(part).to(device) for part in padded)
        with half_precision(device):
            logits: Tensor = model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return logits.float()

    def _evaluate(self) -> bool:
        """The validation set after an epoch: whether it is the best yet, and whether to stop."""
        if not self.loop.epoch_ended:
            return False
        scored, state = self._score(self.validation, self.validation_tokens), self.state
        auroc = scored.votes(self.plan.vote_c).auroc()
        assert auroc is not None  # both classes are there
        self.loop.record(validation_auroc=auroc, validation_loss=scored.loss())
        state.stale += 1
        if auroc > state.best_auroc:
            state.best_auroc, state.best_step, state.stale = auroc, state.step, 0
            if self.ranks.first:
                self.loop.checkpoints.save_best(state, self.model)
        state.done = state.step == self.loop.steps or state.stale >= self.settings.patience
        return True

    @torch.no_grad()
    def _score(self, index: ChunkIndex, tokens: dict[int, Ids]) -> ChunkScores:
        """P(readmit) of every chunk; each rank computes those whose tokens it has."""
        self.model.eval()
        rows = np.fromiter(tokens, dtype=np.int64)
        mine = np.empty(len(rows))
        for batch in token_batches(index.lengths[rows], _EVAL_TOKENS):
            logits = self._logits(self.model, [tokens[row] for row in rows[batch].tolist()])
            mine[batch] = torch.sigmoid(logits.double()).cpu().numpy()
        probabilities = np.empty(len(index))
        for theirs, values in self.ranks.gather((rows, mine)):
            probabilities[theirs] = values
        return ChunkScores(index.subject_ids, index.hadm_ids, index.labels, probabilities)


def balanced(index: ChunkIndex, seed: int) -> ChunkIndex:
    """The training sample of docs/method.md, section 9: balanced by admissions, then by chunks."""
    ids, labels, counts = index.admissions()
    kept = ids[training_sample(ids, labels, counts, seed)]
    return index.take(np.isin(index.hadm_ids, kept))


def _check_classes(part: str, index: ChunkIndex) -> None:
    labels = set(index.labels.tolist())
    if labels != {0, 1}:
        missing = "readmitted" if 1 not in labels else "other"
        raise UserError(
            f"the {part} split has no {missing} admissions with chunks: more patients needed"
        )
