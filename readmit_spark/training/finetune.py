"""Fine-tune a model, in one process or several; keep the epoch with the best validation AUROC."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import set_seed

from readmit_spark.errors import UserError
from readmit_spark.scoring.batching import Ids, Index, pad, token_batches
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.load_tokenizer import position_limit
from readmit_spark.training.loop import Log, TrainingLoop
from readmit_spark.training.optimisation import (
    LaneLoss,
    Optimisation,
    autocast_bf16,
    exact_cpu_matmul,
    fast_cpu_matmul,
    padding_multiple,
    quiet_transformers,
)
from readmit_spark.training.plan import Trained, TrainingPlan
from readmit_spark.training.ranks import Ranks
from readmit_spark.training.schedule import count_lanes, rows_of_rank, steps_per_epoch
from readmit_spark.training.shards import ChunkIndex, Part, read_part, read_tokens
from readmit_spark.training.validation_scores import ChunkScores

_EVALUATION_TOKENS = 8192  # in a forward pass without gradients


def finetune(plan: TrainingPlan, ranks: Ranks, log: Log) -> Trained:
    """Train as `plan` says, or resume from its last checkpoint; every rank calls this.

    Evaluates after each epoch and keeps the epoch with the best patient-level AUROC. Computes in
    bf16 on a GPU that supports it, else in fp32. Only the first rank calls `log`; after a restart
    it repeats what was logged before. UserError if a split has admissions of one outcome only, or
    if the train split has fewer chunks than one batch.
    """
    quiet_transformers()
    with fast_cpu_matmul():
        training = _FineTuning(plan, ranks, log)
        training.run()
        return training.result()


class _FineTuning:
    """The data, the loss and the evaluation of one fine-tuning."""

    def __init__(self, plan: TrainingPlan, ranks: Ranks, log: Log) -> None:
        self.plan, self.settings, self.ranks = plan, plan.settings, ranks
        batch = self.settings.batch_size
        lanes = count_lanes(batch, self.settings.micro_batch_size, ranks.world)
        self._read_data(lanes)
        epoch_length = steps_per_epoch(len(self.train), lanes, batch // lanes)
        steps = math.ceil(epoch_length * self.settings.epochs)

        set_seed(self.settings.seed)  # for the weights of a new head
        self.model = load_for_training(plan.start_model).to(ranks.device)
        self.pad_id = self.model.config.pad_token_id or 0
        self.longest = position_limit(self.model.config)
        self.loop = TrainingLoop(
            Optimisation(self.model, ranks, self.settings, steps),
            self.train.lengths,
            lanes,
            batch // lanes,
            plan.checkpoint_folder,
            log,
        )
        self.state = self.loop.state

    def _read_data(self, lanes: int) -> None:
        windows = self.plan.train_windows
        index = self._read_index("train", windows)
        _check_classes("train", index)
        self.train = index.balanced_sample(self.settings.seed)
        if len(self.train) < self.settings.batch_size:
            raise UserError(
                f"the train split has {len(self.train)} chunks, fewer than train.batch_size "
                f"{self.settings.batch_size}: more patients needed"
            )
        self.validation = _longest_first(self._read_index("validation", windows))
        _check_classes("validation", self.validation)
        our_rows = rows_of_rank(self.train.lengths, lanes, self.ranks.rank, self.ranks.world)
        self.tokens = self._read_tokens(windows, self.train, our_rows)
        self.validation_tokens = self._read_part(windows, self.validation)

    def _read_index(self, part: Part, windows: Sequence[str]) -> ChunkIndex:
        return read_part(self.plan.prepared_folder, part, self.plan.fold, windows)

    def _read_tokens(
        self, windows: Sequence[str], index: ChunkIndex, rows: Index
    ) -> dict[int, Ids]:
        """Return the token ids of these rows of `index`, by row."""
        tokens = read_tokens(self.plan.prepared_folder, windows, index.take(rows))
        return dict(zip(rows.tolist(), tokens, strict=True))

    def _read_part(self, windows: Sequence[str], index: ChunkIndex) -> dict[int, Ids]:
        """Return the token ids of the rows that this rank scores, by row: equal chunks once."""
        rows = np.unique(index.first_equal())[self.ranks.rank :: self.ranks.world]
        return self._read_tokens(windows, index, rows)

    def run(self) -> None:
        self.loop.run(self._step_loss, self._evaluate_epoch)

    def result(self) -> Trained:
        """Score validation, and in cross-validation the test part, with the best weights."""
        self.ranks.gather(None)  # wait until the first rank has written its weights
        self.loop.checkpoints.load_best(self.state, self.model, self.ranks.device)
        parts: list[Part] = ["validation"] if self.plan.fold is None else ["validation", "test"]
        scores: dict[str, dict[str, ChunkScores]] = {part: {} for part in parts}
        for part in parts:
            for window in self.plan.scored_windows:
                index = _longest_first(self._read_index(part, [window]))
                scores[part][window] = self._score(index, self._read_part([window], index))
        return Trained(self.state.history, self.loop.steps, self.state.best_step, scores)

    def _step_loss(self, lanes: list[Index]) -> LaneLoss:
        """Return the function that computes what some rows add to the step's mean loss."""
        weight = 1.0 / sum(map(len, lanes))

        def lane_loss(model: nn.Module, rows: Index) -> Tensor:
            logits = self._logits(model, [self.tokens[row] for row in rows.tolist()])
            labels = torch.from_numpy(self.train.labels[rows]).to(logits)
            return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") * weight

        return lane_loss

    def _logits(self, model: nn.Module, chunks: Sequence[Ids]) -> Tensor:
        device = self.ranks.device
        padded = pad(chunks, self.pad_id, padding_multiple(device), self.longest)
        ids, mask = (torch.from_numpy(array).to(device) for array in padded)
        with autocast_bf16(device):
            logits: Tensor = model(input_ids=ids, attention_mask=mask).logits[:, 0]
        return logits.float()

    def _evaluate_epoch(self) -> bool:
        """At the end of an epoch: evaluate, keep the best weights, decide whether to stop.

        Returns whether it evaluated.
        """
        if not self.loop.epoch_ended:
            return False
        scores, state = self._score(self.validation, self.validation_tokens), self.state
        auroc = self._mean_auroc(scores)
        self.loop.record(validation_auroc=auroc, validation_loss=scores.loss())
        state.stale += 1
        if auroc > state.best_auroc:
            state.best_auroc, state.best_step, state.stale = auroc, state.step, 0
            if self.ranks.first:
                self.loop.checkpoints.save_best(state, self.model)
        state.done = state.step == self.loop.steps or state.stale >= self.settings.patience
        return True

    def _mean_auroc(self, scores: ChunkScores) -> float:
        """Return the mean over the validated windows of the patient-level AUROC."""
        of_window = (
            scores.take(self.validation.days == d) for d in np.unique(self.validation.days)
        )
        aurocs = [window.vote(self.plan.vote_c).auroc() for window in of_window]
        # A window may lack an outcome; _check_classes found both in all of them together.
        known = [auroc for auroc in aurocs if auroc is not None]
        return float(np.mean(known)) if known else 0.5

    @torch.no_grad()
    def _score(self, index: ChunkIndex, tokens: dict[int, Ids]) -> ChunkScores:
        """Return the probability of every chunk; each rank computes those in its `tokens`.

        `tokens` has the first of equal chunks only.
        """
        self.model.eval()
        our_rows = np.fromiter(tokens, dtype=np.int64)
        our_probabilities = np.empty(len(our_rows))
        for batch in token_batches(index.lengths[our_rows], _EVALUATION_TOKENS):
            with exact_cpu_matmul():
                logits = self._logits(self.model, [tokens[row] for row in our_rows[batch].tolist()])
            our_probabilities[batch] = torch.sigmoid(logits.double()).cpu().numpy()
        by_row = np.empty(len(index))
        for rows, values in self.ranks.gather((our_rows, our_probabilities)):
            by_row[rows] = values
        probabilities = by_row[index.first_equal()]
        return ChunkScores(index.subject_ids, index.hadm_ids, index.labels, probabilities)


def _longest_first(index: ChunkIndex) -> ChunkIndex:
    """Sort for scoring: ranks then have equal work and pad little."""
    return index.take(np.argsort(-index.lengths, kind="stable"))


def _check_classes(part: str, index: ChunkIndex) -> None:
    """UserError unless the part has admissions of both classes."""
    labels = set(index.labels.tolist())
    if labels != {0, 1}:
        missing = "readmitted" if 1 not in labels else "other"
        raise UserError(
            f"the {part} split has no {missing} admissions with chunks: more patients needed"
        )
