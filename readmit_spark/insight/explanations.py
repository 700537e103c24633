"""Explain the scores of many admissions on the executors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import asdict
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from readmit_spark.evaluation.vote import contributions, vote_score
from readmit_spark.insight.attribution import Word, by_word, chunk_words, deletion_test
from readmit_spark.notes.passage_rows import passage_rows
from readmit_spark.notes.preparation import Preparation
from readmit_spark.notes.provenance import document
from readmit_spark.scoring.score_chunks import ScorerSettings, task_device
from readmit_spark.storage.output_tables import EXPLAINED

_TASKS_PER_SLOT = 4


class ExplainSettings(NamedTuple):
    """Settings of all explanations: the keys under `explain`, and c of the vote."""

    preparation: Preparation
    c: float
    steps: int
    deletion: float
    include_text: bool
    seed: int


def explain(admissions: DataFrame, options: ExplainSettings, settings: ScorerSettings) -> DataFrame:
    """Explain each admission: one row with the columns of `EXPLAINED`.

    admissions: subject_id, hadm_id, notes (row_id, category, text; in the document's order).
    The score is the vote of all chunks. The explained chunk is the one with the highest
    probability, because only this chunk adds the maximum to the vote. A document too short for a
    chunk is explained as one chunk; a document without a word has no row.
    """

    def explain_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(EXPLAINED)
        for batch in batches:
            for row in batch.to_pylist():
                explained = _explain(row, options, settings)
                yield pa.RecordBatch.from_pylist([explained] if explained else [], schema)

    # An explanation takes seconds: many small tasks show progress, and little is lost with one.
    tasks = _TASKS_PER_SLOT * admissions.sparkSession.sparkContext.defaultParallelism
    spread = admissions.repartition(tasks, "hadm_id")
    return spread.select("subject_id", "hadm_id", "notes").mapInArrow(explain_batches, EXPLAINED)


def published(explained: DataFrame) -> DataFrame:
    """Drop the columns from which a note's text could be rebuilt."""
    without_text = F.transform("words", lambda word: word.dropFields("text"))
    return explained.withColumn("words", without_text).drop("input_ids")


def _explain(
    row: dict[str, Any], options: ExplainSettings, settings: ScorerSettings
) -> dict[str, Any] | None:
    """Return the row of `EXPLAINED` of one admission; None if no word is left after cleaning."""
    texts = [note["text"] for note in row["notes"]]
    preparation = options.preparation
    cleaned = preparation.clean(document(texts))
    chunks = preparation.cut(cleaned) or [" ".join(cleaned.split())]
    if not chunks[0]:
        return None
    explainer = _explainer(settings)
    ids = [np.array(one.input_ids, dtype=np.int32) for one in preparation.tokenizer.encode(chunks)]
    probabilities = (1 / (1 + np.exp(-explainer.logits(ids)))).tolist()
    top = int(np.argmax(probabilities))
    word_of = preparation.tokenizer.word_of(chunks[top])
    attributed = explainer.attribute(ids[top], np.array(word_of) < 0, options.steps)
    words = chunk_words(texts, chunks, top, preparation.rules.cleaning)
    values = by_word(attributed.tokens, word_of, len(words))
    deletion = deletion_test(
        values, word_of, lambda masks: explainer.logits([ids[top][mask] for mask in masks]),
        attributed.logit, options.deletion, options.seed,
    )  # fmt: skip
    parts = contributions(probabilities, options.c)
    return {
        "subject_id": row["subject_id"],
        "hadm_id": row["hadm_id"],
        "score": vote_score(probabilities, options.c),
        "chunks": [
            {"probability": p, "adds": part} for p, part in zip(probabilities, parts, strict=True)
        ],
        "driving_chunk": top,
        "logit": attributed.logit,
        "baseline": attributed.baseline,
        "error": attributed.error,
        "steps": attributed.points,
        "complete": attributed.complete,
        "deletion": asdict(deletion) if deletion else None,
        "words": _word_rows(words, values, set(word_of), row["notes"], options.include_text),
        "input_ids": ids[top].tolist(),
    }


def _word_rows(
    words: Sequence[Word],
    attributions: Iterable[float],
    read: Set[int],
    notes: Sequence[dict[str, Any]],
    include_text: bool,
) -> list[dict[str, Any]]:
    """Return the `words` of `EXPLAINED`. read: numbers of the words with a token that was read."""
    return [
        {
            "attribution": float(attribution),
            "read": number in read,
            "segment": word.segment,
            "places": passage_rows(word.places, notes),
            "text": word.text if include_text else None,
        }
        for number, (word, attribution) in enumerate(zip(words, attributions, strict=True))
    ]


@lru_cache(maxsize=1)
def _explainer(settings: ScorerSettings) -> Any:
    """Build the explainer once in each worker process, on the device that scoring would use."""
    device = task_device(settings)
    from readmit_spark.insight.explainer import Explainer

    return Explainer(settings.model.folder(), device)
