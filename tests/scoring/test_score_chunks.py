"""From chunks to probabilities to patient scores, with a scorer whose results are known."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
import pytest
from pyspark import TaskContext
from pyspark.sql import DataFrame, SparkSession

from readmit_spark.evaluation.vote import vote_score
from readmit_spark.notes.chunks_table import with_digest
from readmit_spark.scoring.precision_probe import probe, whole_documents
from readmit_spark.scoring.score_chunks import (
    ScorerSettings,
    chunk_facts,
    chunk_scores_table,
    distinct_chunks,
    patient_scores,
    score_chunks,
)
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.scoring.ship_model import ShippedModel
from readmit_spark.scoring.workload import workload
from tests import oracles
from tests.workers import python_workers

pytestmark = pytest.mark.spark4

SETTINGS = ScorerSettings(ShippedModel("nowhere", archived=False), "auto", "fp32", None)
WINDOWS = ["2days", "3days"]


def probability(ids: Iterable[int]) -> float:
    """Return a probability that depends only on the ids and their order."""
    return sum(i * int(token) for i, token in enumerate(ids, start=1)) % 997 / 997


def fake_build(calls: Path) -> Callable[[ScorerSettings], Any]:
    """Return a function that builds fake scorers.

    They write the number of chunks of each batch to a file in `calls`.
    """

    def build(settings: ScorerSettings) -> Any:
        class Fake:
            backend = "fake"

            def stream(self, batches: Iterable[list[np.ndarray]]) -> Iterator[np.ndarray]:
                for chunks in batches:
                    (calls / uuid4().hex).write_text(str(len(chunks)))
                    yield np.array(
                        [sum(i * int(t) for i, t in enumerate(c, 1)) % 997 / 997 for c in chunks]
                    )

        return Fake()

    return build


def chunk_ids() -> dict[tuple[str, int, int], list[int]]:
    """Make token ids by window, admission and chunk.

    All chunks of 2days are also in 3days. The first chunk of an admission is one of three.
    """
    rng = random.Random(2)
    openings = [[2, *(rng.randrange(5, 99) for _ in range(40)), 3] for _ in range(3)]
    ids: dict[tuple[str, int, int], list[int]] = {}
    for hadm in range(60):
        for index in range(rng.choice([1, 2, 5])):
            own = [2, *(rng.randrange(5, 99) for _ in range(rng.randrange(1, 60))), 3]
            for window in WINDOWS[index > 1 :]:
                ids[window, hadm, index] = openings[hadm % 3] if index == 0 else own
    return ids


BY = ("window", "hadm_id")


def chunk_frame(spark: SparkSession, ids: dict[tuple[str, int, int], list[int]]) -> DataFrame:
    rows = [(*key, tokens, len(tokens)) for key, tokens in ids.items()]
    schema = "window string, hadm_id long, chunk_index int, input_ids array<int>, n_tokens int"
    return with_digest(spark.createDataFrame(rows, schema))


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_each_chunk_has_its_own_probability_wherever_it_is_scored(
    spark: SparkSession, tmp_path: Path, partitions: int
) -> None:
    ids = chunk_ids()
    chunks = chunk_frame(spark, ids).repartition(partitions)
    distinct = distinct_chunks(chunks)
    scored = score_chunks(distinct, partitions, SETTINGS, fake_build(tmp_path))
    scores = chunk_scores_table(chunks, scored, "m/1")
    assert scores.columns == ["window", "hadm_id", "chunk_index", "probability", "model"]
    rows = scores.collect()
    by_chunk = {(row.window, row.hadm_id, row.chunk_index): row.probability for row in rows}
    assert len(rows) == len(by_chunk)
    assert by_chunk == {key: probability(tokens) for key, tokens in ids.items()}
    assert {row.model for row in rows} == {"m/1"}


def test_equal_chunks_are_scored_once(spark: SparkSession, tmp_path: Path) -> None:
    ids = chunk_ids()
    distinct = {tuple(tokens) for tokens in ids.values()}
    chunks = distinct_chunks(chunk_frame(spark, ids))
    score_chunks(chunks, 3, SETTINGS, fake_build(tmp_path)).collect()
    assert sum(int(path.read_text()) for path in tmp_path.iterdir()) == len(distinct) < len(ids)
    work = workload(chunks)
    assert work.distinct == len(distinct)
    assert work.tokens == sum(map(len, distinct))
    assert 1 <= work.tasks <= math.ceil(work.distinct / 8)


def test_chunks_that_differ_in_one_token_are_distinct(spark: SparkSession, tmp_path: Path) -> None:
    ids = {("2days", 1, 0): [2, 7, 12, 3], ("2days", 1, 1): [2, 7, 1, 23], ("2days", 1, 2): [27, 3]}
    chunks = chunk_frame(spark, ids)
    scores = score_chunks(distinct_chunks(chunks), 1, SETTINGS, fake_build(tmp_path))
    rows = chunk_scores_table(chunks, scores, "m").collect()
    assert {row.chunk_index: row.probability for row in rows} == {
        index: probability(tokens) for (_, _, index), tokens in ids.items()
    }


def test_an_admission_with_a_hundred_times_the_chunks_makes_no_long_task(
    spark: SparkSession, tmp_path: Path
) -> None:
    rng = random.Random(5)
    ids = {
        ("2days", hadm, index): [2, *(rng.randrange(5, 99) for _ in range(rng.randrange(9, 60)))]
        for hadm in range(150)
        for index in range(500 if hadm < 2 else 5)
    }
    distinct = distinct_chunks(chunk_frame(spark, ids))
    tasks = workload(distinct).tasks
    assert tasks >= 8

    def build(settings: ScorerSettings) -> Any:
        class Counting:
            backend = "fake"

            def stream(self, batches: Iterable[list[np.ndarray]]) -> Iterator[np.ndarray]:
                task = TaskContext.get().partitionId()
                for chunks in batches:
                    tokens = sum(map(len, chunks))
                    (tmp_path / uuid4().hex).write_text(json.dumps([task, tokens]))
                    yield np.zeros(len(chunks))

        return Counting()

    score_chunks(distinct, tasks, SETTINGS, build).collect()
    tokens = [0] * tasks
    for path in tmp_path.iterdir():
        task, n = json.loads(path.read_text())
        tokens[task] += n
    assert sum(tokens) == sum(map(len, ids.values()))
    assert max(tokens) <= 1.5 * statistics.median(tokens)


def test_without_chunks_no_scorer_is_built(spark: SparkSession, tmp_path: Path) -> None:
    nothing = distinct_chunks(chunk_frame(spark, chunk_ids()).limit(0))
    assert workload(nothing).tasks == 1
    assert score_chunks(nothing, 1, SETTINGS, fake_build(tmp_path)).collect() == []
    assert list(tmp_path.iterdir()) == []


def test_the_probe_returns_the_backend(spark: SparkSession, tiny_model: str) -> None:
    settings = ScorerSettings(ShippedModel(tiny_model, archived=False), "auto", "fp32", None)
    result = probe(chunk_frame(spark, chunk_ids()), BY, settings, 8, 0.5, 2.0)
    assert "torch fp32" in result.backend
    assert (result.max_shift, result.n) == (0.0, 0)


def test_the_probe_compares_16_bits_with_fp32_on_the_same_chunks(
    spark: SparkSession, tiny_model: str
) -> None:
    ids = chunk_ids()
    settings = ScorerSettings(ShippedModel(tiny_model, archived=False), "auto", "bf16", None)
    chunks = chunk_frame(spark, ids)
    result = probe(chunks, BY, settings, 8, 0.5, 2.0)
    assert "torch bf16" in result.backend
    whole = whole_documents(chunks, BY, 8)
    assert result.n == whole.count() >= 8
    assert result.patients == whole.select("owner").distinct().count() > 1
    of_patient = {row["owner"]: row["count"] for row in whole.groupBy("owner").count().collect()}
    every = chunks.groupBy("window", "hadm_id").count().collect()
    sizes = {f"{row.window} {row.hadm_id}": row["count"] for row in every}
    assert of_patient == {owner: sizes[owner] for owner in of_patient}  # no part of a document
    assert 0 < result.max_shift < 0.05
    again = probe(chunks.repartition(3), BY, settings, 8, 0.5, 2.0)
    assert (again.max_shift, again.flips) == (result.max_shift, result.flips)
    exact, half = (scores_of_patients(whole, tiny_model, p) for p in ("fp32", "bf16"))
    moved = max(exact, key=lambda owner: abs(exact[owner] - half[owner]))
    threshold = (exact[moved] + half[moved]) / 2
    flips = sum((exact[owner] >= threshold) != (half[owner] >= threshold) for owner in exact)
    assert probe(chunks, BY, settings, 8, threshold, 2.0).flips == flips > 0


def scores_of_patients(whole: DataFrame, model: str, precision: str) -> dict[str, float]:
    """Return owner -> the vote of the owner's chunks, scored in this process."""
    rows = whole.select("owner", "input_ids").collect()
    ids = [np.array(row.input_ids, dtype=np.int32) for row in rows]
    probabilities = Scorer(model, device="cpu", precision=precision).score(ids)
    of_owner: dict[str, list[float]] = {}
    for row, probability in zip(rows, probabilities.tolist(), strict=True):
        of_owner.setdefault(row.owner, []).append(probability)
    return {owner: vote_score(chunks, 2.0) for owner, chunks in of_owner.items()}


def test_the_workers_of_the_probe_are_used_for_scoring(
    spark: SparkSession, tiny_model: str
) -> None:
    settings = ScorerSettings(ShippedModel(tiny_model, archived=False), "auto", "fp32", None)
    distinct = distinct_chunks(chunk_frame(spark, chunk_ids()))
    chunks = chunk_frame(spark, chunk_ids())
    score_chunks(distinct, 4, settings).collect()  # starts the workers
    before = python_workers(psutil.Process())
    assert before
    for _ in before:
        probe(chunks, BY, settings, 8, 0.5, 2.0)
    assert set(before) <= set(python_workers(psutil.Process()))


def test_a_probe_without_chunks_is_no_error(spark: SparkSession, tiny_model: str) -> None:
    settings = ScorerSettings(ShippedModel(tiny_model, archived=False), "auto", "fp32", None)
    nothing = chunk_frame(spark, chunk_ids()).where("hadm_id < 0")
    assert probe(nothing, BY, settings, 8, 0.5, 2.0).n == 0


# --- the vote -------------------------------------------------------------------------------------


def cohort_frame(spark: SparkSession, hadms: Iterable[int]) -> DataFrame:
    """Make a cohort with hadm_id // 2 midnights, and null for hadm_id 7."""
    rows = [(h + 1000, h, None if h == 7 else h // 2, None if h == 7 else h % 2, "test")
            for h in hadms]  # fmt: skip
    return spark.createDataFrame(
        rows, "subject_id long, hadm_id long, midnights int, label int, split string"
    )


def probabilities() -> dict[tuple[str, int, int], float]:
    rng = random.Random(3)
    return {
        (window, hadm, index): rng.choice([rng.random(), 0.0, 1.0, 1e-9])
        for window in [*WINDOWS, "discharge"]
        for hadm in range(12)
        for index in range(1 + hadm * 3)
    }


def score_frame(spark: SparkSession, probabilities: dict[tuple[str, int, int], float]) -> DataFrame:
    rows = [(*key, p, "m") for key, p in probabilities.items()]
    random.Random(4).shuffle(rows)
    schema = "window string, hadm_id long, chunk_index int, probability double, model string"
    return spark.createDataFrame(rows, schema)


@pytest.mark.parametrize("c", [2.0, 0.5])
def test_the_vote_is_the_formula(spark: SparkSession, c: float) -> None:
    values = probabilities()
    rows = patient_scores(
        score_frame(spark, values), cohort_frame(spark, range(12)), [*WINDOWS, "discharge"], c
    ).collect()
    assert len(rows) == 36
    for row in rows:
        chunks = [p for (w, h, _), p in values.items() if (w, h) == (row.window, row.hadm_id)]
        assert row.score == pytest.approx(vote_score(chunks, c), abs=1e-12)
        assert row.score == pytest.approx(oracles.vote(chunks, c), abs=1e-12)
        assert (row.n_chunks, row.max_probability) == (len(chunks), max(chunks))
        assert row.mean_probability == pytest.approx(sum(chunks) / len(chunks), abs=1e-12)
        assert row.subject_id == row.hadm_id + 1000


def test_scores_have_the_same_bits_from_any_partitioning(spark: SparkSession) -> None:
    scores, cohort = score_frame(spark, probabilities()), cohort_frame(spark, range(12))
    runs = [
        {
            (r.window, r.hadm_id): r.score
            for r in patient_scores(frame, cohort, WINDOWS, 2).collect()
        }
        for frame in (scores.coalesce(1), scores.repartition(5), scores.orderBy("probability"))
    ]
    assert runs[0] == runs[1] == runs[2]


def test_a_patient_in_the_house_at_the_end_of_the_window_is_actionable(spark: SparkSession) -> None:
    windows = [*WINDOWS, "discharge"]
    values = {(window, hadm, 0): 0.5 for window in windows for hadm in range(3, 9)}
    rows = patient_scores(
        score_frame(spark, values), cohort_frame(spark, range(3, 9)), windows, 2
    ).collect()
    actionable = {(row.window, row.hadm_id): row.actionable for row in rows}
    # Stays of 1, 2, 2, 3, unknown and 4 midnights.
    assert [actionable["2days", h] for h in range(3, 9)] == [False, True, True, True, True, True]
    assert [actionable["3days", h] for h in range(3, 9)] == [False, False, False, True, True, True]
    assert all(actionable["discharge", h] for h in range(3, 9))


def test_chunk_level_accuracy_and_loss(spark: SparkSession) -> None:
    values = {key: p for key, p in probabilities().items() if key[0] != "discharge" and key[1] != 7}
    scores = score_frame(spark, values)
    patients = patient_scores(scores, cohort_frame(spark, range(12)), WINDOWS, 2)
    facts = {row.window: row for row in chunk_facts(scores, patients).collect()}
    for window in WINDOWS:
        pairs = [(p, h % 2) for (w, h, _), p in values.items() if w == window]
        clipped = [(min(max(p, 1e-15), 1 - 1e-15), y) for p, y in pairs]
        hits = [(p >= 0.5) == bool(y) for p, y in pairs]
        loss = [-math.log(p if y else 1 - p) for p, y in clipped]
        assert facts[window].accuracy == pytest.approx(sum(hits) / len(hits), abs=1e-12)
        assert facts[window].loss == pytest.approx(sum(loss) / len(loss), abs=1e-9)
