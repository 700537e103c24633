"""Explanations of many admissions, on the executors that score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from readmit_spark.config import Chunk
from readmit_spark.evaluation.vote import contributions, vote_score
from readmit_spark.insight.attribution import by_word, chunk_words, deletion_test
from readmit_spark.nightly.night_chunks import PASSAGE
from readmit_spark.notes.chunks_table import cut
from readmit_spark.notes.clean import clean
from readmit_spark.notes.provenance import document
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.score_chunks import ScorerSettings, task_device

_TASKS_A_SLOT = 4


def _fields(**kinds: T.DataType) -> list[T.StructField]:
    return [T.StructField(name, kind) for name, kind in kinds.items()]


_CHUNK = T.StructType(
    _fields(probability=T.DoubleType(), adds=T.DoubleType())  # adds: its part of the score
)
_WORD = T.StructType(
    _fields(
        attribution=T.DoubleType(), read=T.BooleanType(), segment=T.IntegerType(),
        places=T.ArrayType(PASSAGE), text=T.StringType(),
    )
)  # fmt: skip
_DELETION = T.StructType(
    _fields(
        removed=T.IntegerType(), strongest=T.DoubleType(), random=T.DoubleType(),
        beaten=T.DoubleType(),
    )
)  # fmt: skip
# One row an admission. A word that is not read has no token within the model's limit, and an
# attribution of 0 that says nothing of it. input_ids are the driving chunk's, and text is in the
# words where asked for: both are for the run's own use, see `published`.
EXPLAINED = T.StructType(
    _fields(
        subject_id=T.LongType(), hadm_id=T.LongType(), score=T.DoubleType(),
        chunks=T.ArrayType(_CHUNK), driving_chunk=T.IntegerType(), logit=T.DoubleType(),
        baseline=T.DoubleType(), error=T.DoubleType(), steps=T.IntegerType(),
        complete=T.BooleanType(), deletion=_DELETION, words=T.ArrayType(_WORD),
        input_ids=T.ArrayType(T.IntegerType()),
    )
)  # fmt: skip


class ExplainSettings(NamedTuple):
    """What is asked of each admission. See the keys under `explain`."""

    chunk: Chunk
    tokenizer: ChunkTokenizer
    c: float
    steps: int
    deletion: float
    include_text: bool
    seed: int


def explain(admissions: DataFrame, ask: ExplainSettings, settings: ScorerSettings) -> DataFrame:
    """`EXPLAINED` of subject_id, hadm_id, notes (row_id, category, text; in the document's order).

    The score is the vote of the chunks of the notes, and the explained chunk the one with the
    highest probability: it alone has the maximum's part of the vote. A document of too few words
    for a chunk is one chunk of its own here; one without a word has no row.
    """

    def apply(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(EXPLAINED)
        for batch in batches:
            for row in batch.to_pylist():
                found = _explain(row, ask, settings)
                yield pa.RecordBatch.from_pylist([found] if found else [], schema)

    # An explanation takes seconds: many small tasks tell how far the job is, and lose little.
    tasks = _TASKS_A_SLOT * admissions.sparkSession.sparkContext.defaultParallelism
    spread = admissions.repartition(tasks, "hadm_id")
    return spread.select("subject_id", "hadm_id", "notes").mapInArrow(apply, EXPLAINED)


def published(explained: DataFrame) -> DataFrame:
    """The table without what a note's text could be made of again."""
    bare = F.transform("words", lambda word: word.dropFields("text"))
    return explained.withColumn("words", bare).drop("input_ids")


def _explain(
    row: dict[str, Any], ask: ExplainSettings, settings: ScorerSettings
) -> dict[str, Any] | None:
    texts = [note["text"] for note in row["notes"]]
    cleaned = clean(document(texts))
    chunks = cut(cleaned, ask.chunk, ask.tokenizer) or [" ".join(cleaned.split())]
    if not chunks[0]:
        return None
    explainer = _explainer(settings)
    ids = [np.array(one.input_ids, dtype=np.int32) for one in ask.tokenizer.encode(chunks)]
    probabilities = (1 / (1 + np.exp(-explainer.logits(ids)))).tolist()
    top = int(np.argmax(probabilities))
    word_of = ask.tokenizer.word_of(chunks[top])
    specials = np.array(word_of) < 0
    found = explainer.attribute(ids[top], specials, ask.steps)
    words = chunk_words(texts, chunks, top)
    values = by_word(found.tokens, word_of, len(words))
    read = set(word_of)
    deletion = deletion_test(
        values, word_of, lambda keep: explainer.logits([ids[top][mask] for mask in keep]),
        found.logit, ask.deletion, ask.seed,
    )  # fmt: skip
    return {
        "subject_id": row["subject_id"],
        "hadm_id": row["hadm_id"],
        "score": vote_score(probabilities, ask.c),
        "chunks": [
            {"probability": p, "adds": part}
            for p, part in zip(probabilities, contributions(probabilities, ask.c), strict=True)
        ],
        "driving_chunk": top,
        "logit": found.logit,
        "baseline": found.baseline,
        "error": found.error,
        "steps": found.points,
        "complete": found.complete,
        "deletion": asdict(deletion) if deletion else None,
        "words": [
            {
                "attribution": float(value),
                "read": number in read,
                "segment": word.segment,
                "places": [
                    {
                        "row_id": row["notes"][place.note]["row_id"],
                        "category": row["notes"][place.note]["category"],
                        "start": place.start,
                        "end": place.end,
                    }
                    for place in word.places
                ],
                "text": word.text if ask.include_text else None,
            }
            for number, (word, value) in enumerate(zip(words, values, strict=True))
        ],
        "input_ids": ids[top].tolist(),
    }


@lru_cache(maxsize=1)
def _explainer(settings: ScorerSettings) -> Any:
    """Built once a worker process, on the device that scoring would take there."""
    device = task_device(settings)
    from readmit_spark.insight.explainer import Explainer

    return Explainer(settings.model.folder(), device)
