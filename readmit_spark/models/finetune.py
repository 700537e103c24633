"""Fine-tuning, chosen by the patient-level AUROC on validation: by one process or by many."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from readmit_spark.core.balance import training_sample
from readmit_spark.errors import UserError
from readmit_spark.models.batching import Ids, Index, pad, token_batches
from readmit_spark.models.classifier import load_for_training
from readmit_spark.models.optimisation import (
    Log,
    Optimisation,
    fast_cpu_products,
    half_precision,
    quiet_transformers,
)
from readmit_spark.models.patients import ChunkScores
from readmit_spark.models.plan import Checkpoints, Plan, Trained
from readmit_spark.models.ranks import Ranks
from readmit_spark.models.schedule import deal, epoch_steps, lanes_of
from readmit_spark.models.shards import ChunkIndex, Part, admissions_of, read_index, read_tokens

_EVAL_TOKENS = 8192  # of a forward pass without gradients


def finetune(plan: Plan, ranks: Ranks, log: Log) -> Trained:
    """Trains `plan`, or goes on from its last checkpoint; every rank calls it.

    Evaluates after each epoch and keeps the epoch with the best AUROC. bf16 on a GPU that has it,
    else fp32. `log` is called on the first rank alone, and for what was before a restart as well.
    UserError where a set lacks a class.
    """
    quiet_transformers()
    with fast_cpu_products():
        training = _Training(plan, ranks, log if ranks.first else lambda *_: None)
        training.run()
        return training.result()


class _Training:
    def __init__(self, plan: Plan, ranks: Ranks, log: Log) -> None:
        self.plan, self.settings, self.ranks, self.log = plan, plan.settings, ranks, log
        self.lanes = lanes_of(self.settings.batch_size, self.settings.micro_batch_size, ranks.world)
        self.micro = self.settings.batch_size // self.lanes
        self._read_data()
        self.per_epoch = math.ceil(math.ceil(len(self.train) / self.lanes) / self.micro)
        self.steps = math.ceil(self.per_epoch * self.settings.epochs)

        set_seed(plan.seed)  # for the new head
        self.model = load_for_training(plan.model).to(ranks.device)
        self.pad_id = self.model.config.pad_token_id or 0
        self.optimisation = Optimisation(
            self.model,
            ranks,
            steps=self.steps,
            learning_rate=self.settings.learning_rate,
            warmup_ratio=self.settings.warmup_ratio,
            weight_decay=self.settings.weight_decay,
            max_grad_norm=self.settings.max_grad_norm,
            seed=plan.seed,
        )
        self.checkpoints = Checkpoints(plan.work)
        self.state = self.checkpoints.load(self.optimisation.parts, ranks.device)
        self.loss = torch.tensor(self.state.loss, dtype=torch.float64, device=ranks.device)
        self.optimisation.connect()

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
        for step, values in self.state.history:
            self.log(values, step, self.steps)
        saved = time.monotonic()
        while not self.state.done:
            epoch, done = divmod(self.state.step, self.per_epoch)
            lengths, seed = self.train.lengths, self.plan.seed
            for rows in epoch_steps(lengths, self.lanes, self.micro, seed, epoch)[done:]:
                self._step(rows)
                ended = self.state.step in ((epoch + 1) * self.per_epoch, self.steps)
                if ended:
                    self._evaluate()
                minutes = (time.monotonic() - saved) / 60
                if self.ranks.first and (ended or minutes >= self.settings.checkpoint_minutes):
                    self.state.loss = self.loss.item()
                    self.checkpoints.save(self.state, self.optimisation.parts)
                    saved = time.monotonic()
                if self.state.done:
                    break

    def result(self) -> Trained:
        """Scores what is to be scored, with the model of the best epoch."""
        self.ranks.gather(None)  # the first rank has written its weights
        self.checkpoints.load_best(self.state, self.model, self.ranks.device)
        parts: list[Part] = ["validation"] if self.plan.fold is None else ["validation", "test"]
        scores: dict[str, dict[str, ChunkScores]] = {part: {} for part in parts}
        for part in parts:
            for window in self.plan.windows:
                index = self._index(part, window)
                scores[part][window] = self._score(index, self._tokens(window, index))
        return Trained(self.state.history, self.steps, self.state.best_step, scores)

    def _step(self, lanes: list[Index]) -> None:
        total = sum(map(len, lanes))
        self.loss += self.optimisation.step(
            self.state.step, lanes, lambda model, rows: self._share(model, rows, total)
        )
        self.state.step += 1
        if self.state.step % self.settings.log_every == 0 or self.state.step == self.steps:
            steps = (self.state.step - 1) % self.settings.log_every + 1
            self._record(
                train_loss=self.loss.item() / steps,
                learning_rate=self.optimisation.rate,
                grad_norm=self.optimisation.norm.item(),
            )
            self.loss.zero_()

    def _share(self, model: nn.Module, rows: Index, total: int) -> Tensor:
        """What these rows add to the mean loss over `total`."""
        weight = 1.0 / total if len(rows) else 0.0
        rows = rows if len(rows) else np.array([next(iter(self.tokens))])
        logits = self._logits(model, [self.tokens[row] for row in rows.tolist()])
        labels = torch.from_numpy(self.train.labels[rows]).to(logits)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") * weight

    def _logits(self, model: nn.Module, chunks: Sequence[Ids]) -> Tensor:
        device = self.ranks.device
        ids, mask = (torch.from_numpy(part).to(device) for part in pad(chunks, self.pad_id))
        with half_precision(device):
            logits: Tensor = model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return logits.float()

    def _evaluate(self) -> None:
        """The validation set after an epoch: whether it is the best yet, and whether to stop."""
        scored, state = self._score(self.validation, self.validation_tokens), self.state
        auroc = scored.votes(self.plan.vote_c).auroc()
        assert auroc is not None  # both classes are there
        self._record(validation_auroc=auroc, validation_loss=scored.loss())
        state.stale += 1
        if auroc > state.best_auroc:
            state.best_auroc, state.best_step, state.stale = auroc, state.step, 0
            if self.ranks.first:
                self.checkpoints.save_best(state, self.model)
        state.done = state.step == self.steps or state.stale >= self.settings.patience

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

    def _record(self, **values: float) -> None:
        self.state.history.append((self.state.step, values))
        self.log(values, self.state.step, self.steps)


def balanced(index: ChunkIndex, seed: int) -> ChunkIndex:
    """The training sample of method section 9: balanced by admissions, then by chunks."""
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
