"""Schema, key and partitioning of every table that a job publishes. docs/tables.md explains them.

Schemas are values and not DDL texts, because Spark parses a DDL text only in a running session.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import types as T

from readmit_spark.storage.schemas import struct_type

_LONG, _INT, _DOUBLE = T.LongType(), T.IntegerType(), T.DoubleType()
_STRING, _BOOLEAN, _TIME, _DATE = T.StringType(), T.BooleanType(), T.TimestampType(), T.DateType()
_IDS = T.ArrayType(_INT)


@dataclass(frozen=True)
class OutputTable:
    """key: the columns that identify a row. partition_by: the columns whose values are folders."""

    schema: T.StructType
    key: tuple[str, ...]
    partition_by: tuple[str, ...] = ()


# Characters start to end (end excluded) of the text of the note row_id.
PASSAGE = struct_type(row_id=_LONG, category=_STRING, start=_INT, end=_INT)

# With data.ids=text only: the texts for which the numbers in the other tables stand.
_IDS_TABLE = OutputTable(struct_type(id=_LONG, text=_STRING), key=("id",))

# Of formats other than MIMIC-III's. All columns are text, as in a CSV of MIMIC-III.
INGEST = {
    "admissions": OutputTable(
        struct_type(
            SUBJECT_ID=_STRING, HADM_ID=_STRING, ADMITTIME=_STRING, DISCHTIME=_STRING,
            DEATHTIME=_STRING, ADMISSION_TYPE=_STRING, ETHNICITY=_STRING, INSURANCE=_STRING,
            PLANNED=_STRING, NEWBORN=_STRING, STAY=_STRING, DISCHARGE_TO=_STRING, DIED=_STRING,
        ),
        key=(),
    ),
    "notes": OutputTable(
        struct_type(
            ROW_ID=_STRING, SUBJECT_ID=_STRING, HADM_ID=_STRING, CHARTDATE=_STRING,
            CHARTTIME=_STRING, STORETIME=_STRING, CATEGORY=_STRING, DESCRIPTION=_STRING,
            ISERROR=_STRING, TEXT=_STRING,
        ),
        key=(),
    ),
    "patients": OutputTable(
        struct_type(SUBJECT_ID=_STRING, GENDER=_STRING, DOB=_STRING, DOD=_STRING), key=()
    ),
}  # fmt: skip

PREPARE = {
    "ids": _IDS_TABLE,
    "cohort": OutputTable(
        struct_type(
            subject_id=_LONG, hadm_id=_LONG, admittime=_TIME, dischtime=_TIME,
            admission_type=_STRING, next_admittime=_TIME, days_next_admit=_DOUBLE, label=_INT,
            duration_days=_DOUBLE, split=_STRING, fold=_INT, midnights=_INT,
        ),
        key=("hadm_id",),
    ),
    "exclusions": OutputTable(struct_type(hadm_id=_LONG, reason=_STRING), key=("hadm_id",)),
    "unlabelled": OutputTable(struct_type(hadm_id=_LONG, reason=_STRING), key=("hadm_id",)),
    "subgroups": OutputTable(
        struct_type(
            hadm_id=_LONG, sex=_STRING, age_band=_STRING, ethnicity=_STRING, insurance=_STRING,
            admission_type=_STRING, discharge_to=_STRING,
        ),
        key=("hadm_id",),
    ),
    "documents": OutputTable(
        struct_type(
            window=_STRING, subject_id=_LONG, hadm_id=_LONG, n_notes=_INT, n_chunks=_LONG,
        ),
        key=("window", "hadm_id"),
    ),
    "chunks": OutputTable(
        struct_type(
            window=_STRING, subject_id=_LONG, hadm_id=_LONG, chunk_index=_INT, text=_STRING,
            n_words=_INT, input_ids=_IDS, n_tokens=_INT, n_tokens_cut=_INT, label=_INT,
            split=_STRING, digest=_STRING,
        ),
        key=("window", "hadm_id", "chunk_index"),
        partition_by=("window",),
    ),
}  # fmt: skip

SCORE = {
    "chunk_scores": OutputTable(
        struct_type(
            window=_STRING, hadm_id=_LONG, chunk_index=_INT, probability=_DOUBLE, model=_STRING
        ),
        key=("window", "hadm_id", "chunk_index"),
    ),
    "patient_scores": OutputTable(
        struct_type(
            window=_STRING, subject_id=_LONG, hadm_id=_LONG, n_chunks=_INT, max_probability=_DOUBLE,
            mean_probability=_DOUBLE, score=_DOUBLE, label=_INT, split=_STRING, actionable=_BOOLEAN,
            risk=_DOUBLE,
        ),
        key=("window", "hadm_id"),
    ),
    "ledger": OutputTable(
        struct_type(window=_STRING, hadm_id=_LONG, status=_STRING, reason=_STRING),
        key=("window", "hadm_id"),
    ),
}  # fmt: skip

_DRIVER = struct_type(
    chunk_index=_INT, probability=_DOUBLE, share=_DOUBLE, passages=T.ArrayType(PASSAGE)
)
_EARLIER_SCORE = struct_type(as_of=_TIME, score=_DOUBLE, basis=_STRING)

NIGHTLY = {
    "ids": _IDS_TABLE,
    "patient_risk": OutputTable(
        struct_type(
            as_of=_TIME, subject_id=_LONG, hadm_id=_LONG, day_of_stay=_INT, n_notes=_INT,
            n_chunks=_INT, max_probability=_DOUBLE, mean_probability=_DOUBLE, score=_DOUBLE,
            previous_score=_DOUBLE, change=_DOUBLE, rank=_INT, alert=_BOOLEAN, basis=_STRING,
            drivers=T.ArrayType(_DRIVER), history=T.ArrayType(_EARLIER_SCORE), risk=_DOUBLE,
        ),
        key=("hadm_id",),
    ),
    "unscored": OutputTable(
        struct_type(subject_id=_LONG, hadm_id=_LONG, day_of_stay=_INT, reason=_STRING),
        key=("hadm_id",),
    ),
    "notes": OutputTable(
        struct_type(
            subject_id=_LONG, hadm_id=_LONG, row_id=_LONG, category=_STRING, chartdate=_DATE,
            charttime=_TIME, available=_TIME, digest=_STRING,
        ),
        key=("subject_id", "hadm_id", "row_id", "digest"),
    ),
    "chunks": OutputTable(
        struct_type(
            document=_STRING, chunk_index=_INT, n_tokens=_INT, n_tokens_cut=_INT, n_unknown=_INT,
            passages=T.ArrayType(PASSAGE), digest=_STRING, probability=_DOUBLE, preparation=_STRING,
            model=_STRING,
        ),
        key=("document", "chunk_index"),
    ),
    "followed": OutputTable(
        struct_type(
            hadm_id=_LONG, subject_id=_LONG, score=_DOUBLE, alerted=_BOOLEAN, basis=_STRING,
            as_of=_TIME,
        ),
        key=("hadm_id",),
    ),
}  # fmt: skip

COMPARE = {
    "model_scores": OutputTable(
        struct_type(
            model=_STRING, fold=_INT, window=_STRING, subject_id=_LONG, hadm_id=_LONG,
            score=_DOUBLE, label=_INT,
        ),
        key=("model", "fold", "window", "hadm_id"),
    ),
}  # fmt: skip

# adds: the part of the patient score that comes from the chunk.
_EXPLAINED_CHUNK = struct_type(probability=_DOUBLE, adds=_DOUBLE)
# read: whether a token of the word is within the model's limit; if not, its attribution is 0 and
# means nothing.
_WORD = struct_type(
    attribution=_DOUBLE, read=_BOOLEAN, segment=_INT, places=T.ArrayType(PASSAGE), text=_STRING
)
_DELETION = struct_type(removed=_INT, strongest=_DOUBLE, random=_DOUBLE, beaten=_DOUBLE)
# One row per admission, as the executors compute it. input_ids, of the driving chunk, and the text
# of the words (null unless explain.include_text is true) are not published.
EXPLAINED = struct_type(
    subject_id=_LONG, hadm_id=_LONG, score=_DOUBLE, chunks=T.ArrayType(_EXPLAINED_CHUNK),
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
        struct_type(
            subject_id=_LONG, hadm_id=_LONG, day=_INT, n_chunks=_INT, score=_DOUBLE,
            change=_DOUBLE, label=_INT, split=_STRING, actionable=_BOOLEAN,
        ),
        key=("hadm_id", "day"),
    ),
}  # fmt: skip

# One table for each length of `pretrain.tokens`: examples_128, examples_512.
EXAMPLES = OutputTable(
    struct_type(
        split=_STRING, input_ids=_IDS, masked=_IDS, answers=_IDS, n_first=_INT, is_next=_BOOLEAN
    ),
    key=(),
    partition_by=("split",),
)

# Tables by job. With data.format=mimic3, ingest gives its tables the columns of their sources.
OUTPUT_TABLES = {
    "ingest": INGEST,
    "prepare": PREPARE,
    "score": SCORE,
    "nightly": NIGHTLY,
    "compare": COMPARE,
    "explain": EXPLAIN,
    "over_time": OVER_TIME,
}


def examples_name(tokens: int) -> str:
    """Return the name of the table of pretraining examples of at most `tokens` tokens."""
    return f"examples_{tokens}"


def output_table(job: str, name: str) -> OutputTable:
    """Return the table `name` of `job`; raise a KeyError if the job does not publish it."""
    if job == "pretrain" and name.startswith("examples_"):
        return EXAMPLES
    return OUTPUT_TABLES[job][name]


def check_schema(schema: T.StructType, table: OutputTable, name: str) -> None:
    """Raise a RuntimeError unless `schema` has the table's columns, in order, with its types.

    Whether a column is nullable does not count.
    """
    columns = [(field.name, field.dataType.simpleString()) for field in schema]
    expected = [(field.name, field.dataType.simpleString()) for field in table.schema]
    if columns != expected:
        raise RuntimeError(f"{name} has the columns {columns}, and readers expect {expected}")
