"""Every table that a job publishes: its name, columns, types and key. docs/tables.md explains them.

Schemas are values, not DDL texts: parsing a DDL text needs a live Spark session.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import types as T

_LONG, _INT, _DOUBLE = T.LongType(), T.IntegerType(), T.DoubleType()
_STRING, _BOOLEAN, _TIME, _DATE = T.StringType(), T.BooleanType(), T.TimestampType(), T.DateType()
_IDS = T.ArrayType(_INT)


def columns(**types: T.DataType) -> T.StructType:
    """A schema from name=type pairs, in their order."""
    return T.StructType([T.StructField(name, kind) for name, kind in types.items()])


@dataclass(frozen=True)
class OutputTable:
    """key: the columns that identify a row. partition_by: the columns that become folders."""

    schema: T.StructType
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()


# Characters `start` to `end` (excluded) of the text of note `row_id`.
PASSAGE = columns(row_id=_LONG, category=_STRING, start=_INT, end=_INT)

PREPARE = {
    "cohort": OutputTable(
        columns(
            subject_id=_LONG, hadm_id=_LONG, admittime=_TIME, dischtime=_TIME,
            admission_type=_STRING, next_admittime=_TIME, days_next_admit=_DOUBLE, label=_INT,
            duration_days=_DOUBLE, split=_STRING, fold=_INT,
        ),
        key=("hadm_id",),
    ),
    "exclusions": OutputTable(columns(hadm_id=_LONG, reason=_STRING), key=("hadm_id",)),
    "subgroups": OutputTable(
        columns(
            hadm_id=_LONG, sex=_STRING, age_band=_STRING, ethnicity=_STRING, insurance=_STRING,
            admission_type=_STRING,
        ),
        key=("hadm_id",),
    ),
    "documents": OutputTable(
        columns(
            window=_STRING, subject_id=_LONG, hadm_id=_LONG, n_notes=_INT, n_chunks=_LONG,
        ),
        key=("window", "hadm_id"),
    ),
    "chunks": OutputTable(
        columns(
            window=_STRING, subject_id=_LONG, hadm_id=_LONG, chunk_index=_INT, text=_STRING,
            n_words=_INT, input_ids=_IDS, n_tokens=_INT, n_tokens_cut=_INT, label=_INT,
            split=_STRING,
        ),
        key=("window", "hadm_id", "chunk_index"),
        partition_by=("window",),
    ),
}  # fmt: skip

SCORE = {
    "chunk_scores": OutputTable(
        columns(
            window=_STRING, hadm_id=_LONG, chunk_index=_INT, probability=_DOUBLE, model=_STRING
        ),
        key=("window", "hadm_id", "chunk_index"),
    ),
    "patient_scores": OutputTable(
        columns(
            window=_STRING, subject_id=_LONG, hadm_id=_LONG, n_chunks=_INT, max_probability=_DOUBLE,
            mean_probability=_DOUBLE, score=_DOUBLE, label=_INT, split=_STRING, actionable=_BOOLEAN,
        ),
        key=("window", "hadm_id"),
    ),
    "ledger": OutputTable(
        columns(window=_STRING, hadm_id=_LONG, status=_STRING, reason=_STRING),
        key=("window", "hadm_id"),
    ),
}  # fmt: skip

_DRIVER = columns(
    chunk_index=_INT, probability=_DOUBLE, share=_DOUBLE, passages=T.ArrayType(PASSAGE)
)
_EARLIER_SCORE = columns(as_of=_TIME, score=_DOUBLE, basis=_STRING)

NIGHTLY = {
    "patient_risk": OutputTable(
        columns(
            as_of=_TIME, subject_id=_LONG, hadm_id=_LONG, day_of_stay=_INT, n_notes=_INT,
            n_chunks=_INT, max_probability=_DOUBLE, mean_probability=_DOUBLE, score=_DOUBLE,
            previous_score=_DOUBLE, change=_DOUBLE, rank=_INT, alert=_BOOLEAN, basis=_STRING,
            drivers=T.ArrayType(_DRIVER), history=T.ArrayType(_EARLIER_SCORE),
        ),
        key=("hadm_id",),
    ),
    "unscored": OutputTable(
        columns(subject_id=_LONG, hadm_id=_LONG, day_of_stay=_INT, reason=_STRING),
        key=("hadm_id",),
    ),
    "notes": OutputTable(
        columns(
            subject_id=_LONG, hadm_id=_LONG, row_id=_LONG, category=_STRING, chartdate=_DATE,
            charttime=_TIME, available=_TIME, digest=_STRING,
        ),
        key=("subject_id", "hadm_id", "row_id", "digest"),
    ),
    "chunks": OutputTable(
        columns(
            document=_STRING, chunk_index=_INT, n_tokens=_INT, n_tokens_cut=_INT, n_unknown=_INT,
            passages=T.ArrayType(PASSAGE), digest=_STRING, probability=_DOUBLE, preparation=_STRING,
            model=_STRING,
        ),
        key=("document", "chunk_index"),
    ),
    "followed": OutputTable(
        columns(
            hadm_id=_LONG, subject_id=_LONG, score=_DOUBLE, alerted=_BOOLEAN, basis=_STRING,
            as_of=_TIME,
        ),
        key=("hadm_id",),
    ),
}  # fmt: skip

COMPARE = {
    "model_scores": OutputTable(
        columns(
            model=_STRING, fold=_INT, window=_STRING, subject_id=_LONG, hadm_id=_LONG,
            score=_DOUBLE, label=_INT,
        ),
        key=("model", "fold", "window", "hadm_id"),
    ),
}  # fmt: skip

_CHUNK_OF_SCORE = columns(probability=_DOUBLE, adds=_DOUBLE)
_WORD = columns(
    attribution=_DOUBLE, read=_BOOLEAN, segment=_INT, places=T.ArrayType(PASSAGE), text=_STRING
)
_DELETION = columns(removed=_INT, strongest=_DOUBLE, random=_DOUBLE, beaten=_DOUBLE)
# One row an admission, as the executors compute it: with the words' texts where a key asks for
# them, and the token ids of the driving chunk. Neither is published.
EXPLAINED = columns(
    subject_id=_LONG, hadm_id=_LONG, score=_DOUBLE, chunks=T.ArrayType(_CHUNK_OF_SCORE),
    driving_chunk=_INT, logit=_DOUBLE, baseline=_DOUBLE, error=_DOUBLE, steps=_INT,
    complete=_BOOLEAN, deletion=_DELETION, words=T.ArrayType(_WORD), input_ids=_IDS,
)  # fmt: skip
_PUBLISHED_WORD = T.StructType([field for field in _WORD if field.name != "text"])

EXPLAIN = {
    "explanations": OutputTable(
        T.StructType([
            T.StructField("words", T.ArrayType(_PUBLISHED_WORD)) if field.name == "words" else field
            for field in EXPLAINED
            if field.name != "input_ids"
        ]),
        key=("hadm_id",),
    ),
}  # fmt: skip

OVER_TIME = {
    "risk_by_day": OutputTable(
        columns(
            subject_id=_LONG, hadm_id=_LONG, day=_INT, n_chunks=_INT, score=_DOUBLE,
            change=_DOUBLE, label=_INT, split=_STRING, actionable=_BOOLEAN,
        ),
        key=("hadm_id", "day"),
    ),
}  # fmt: skip

# One table for each length of `pretrain.tokens`: examples_128, examples_512.
EXAMPLES = OutputTable(
    columns(
        split=_STRING, input_ids=_IDS, masked=_IDS, answers=_IDS, n_first=_INT, is_next=_BOOLEAN
    ),
    key=(),
    partition_by=("split",),
)

# By job. ingest publishes its sources' own columns, as text.
OUTPUT_TABLES = {
    "prepare": PREPARE,
    "score": SCORE,
    "nightly": NIGHTLY,
    "compare": COMPARE,
    "explain": EXPLAIN,
    "over_time": OVER_TIME,
}


def examples_name(tokens: int) -> str:
    """The name of the pretraining examples of at most `tokens` tokens."""
    return f"examples_{tokens}"


def output_table(job: str, name: str) -> OutputTable:
    """The table `name` that `job` publishes; KeyError where it publishes none."""
    if job == "pretrain" and name.startswith("examples_"):
        return EXAMPLES
    return OUTPUT_TABLES[job][name]


def check_schema(found: T.StructType, table: OutputTable, name: str) -> None:
    """RuntimeError unless the columns, their order and types are the table's own. Whether Spark
    takes a column for nullable says nothing here."""
    expected = [(f.name, _bare(f.dataType)) for f in table.schema]
    given = [(f.name, _bare(f.dataType)) for f in found]
    if given != expected:
        raise RuntimeError(f"{name} has the columns {given}, and readers expect {expected}")


def _bare(kind: T.DataType) -> str:
    return kind.simpleString()
