"""Search the tables of `prepare` for leaks: text that gives away the outcome or the future.

No function returns note text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from functools import partial

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.comparison.shingles import MIN_SHINGLES, Note, find_out_of_window, shingles
from readmit_spark.notes.note_rule import available_from
from readmit_spark.notes.outcome import DAY
from readmit_spark.notes.windows import parse_window
from readmit_spark.storage.codes import is_one_of
from readmit_spark.text_rules import Cleaning

MIN_SHARED = 0.8  # share of equal hashes of near-duplicates; it estimates Jaccard's index
# 128 hashes. Two chunks with a Jaccard index of 0.8 share a band with probability 0.95.
_BANDS, _ROWS = 16, 8
_MAX_MATCHES = 10  # training chunks compared for each band and key; templates have thousands
LABEL_WORDS = {
    "readmitted": r"\bre-?\s?admi(t|ssion)",
    "bounce back": r"\bbounced? ?back\b",
    "discharge disposition": r"\bdischarge (disposition|condition|instructions|diagnos)",
    "expired": r"\b(pt|patient) (has )?expired\b",
}


def patients_on_both_sides(cohort: DataFrame) -> int:
    """Count patients with admissions in more than one part of the split."""
    side = F.when(F.col("split") != "gap", F.col("split"))
    sides = cohort.groupBy("subject_id").agg(F.countDistinct(side).alias("sides"))
    return sides.where("sides > 1").count()


def near_duplicates(chunks: DataFrame) -> tuple[int, int]:
    """Count validation and test chunks with a near-duplicate among the training chunks.

    Returns (chunks with a near-duplicate, chunks compared). Equal chunks count once, and chunks
    with fewer than ten shingles do not count. Uses MinHash (Broder 1997): chunks that share a
    band of 8 hashes are compared by all 128.
    """
    side = F.when(F.col("split") == "train", "train").otherwise("other").alias("side")
    texts = chunks.select(side, "text").distinct()
    schema = "side string, chunk long, signature array<long>"
    hashed = texts.withColumn("chunk", F.xxhash64("text")).mapInPandas(_signatures, schema)
    bands = [
        F.struct(F.lit(b).alias("band"), F.xxhash64(F.slice("signature", b * _ROWS + 1, _ROWS))
                 .alias("key"))
        for b in range(_BANDS)
    ]  # fmt: skip
    banded = hashed.select("side", "chunk", "signature", F.inline(F.array(*bands)))
    first = Window.partitionBy("band", "key").orderBy("chunk")
    training = (
        banded.where("side = 'train'")
        .withColumn("place", F.row_number().over(first))
        .where(F.col("place") <= _MAX_MATCHES)
        .select("band", "key", F.col("signature").alias("training_signature"))
    )
    other = banded.where("side = 'other'")
    same = F.zip_with("signature", "training_signature", lambda a, b: (a == b).cast("int"))
    agree = F.aggregate(same, F.lit(0), lambda total, equal: total + equal)
    near = other.join(training, ["band", "key"]).where(agree >= MIN_SHARED * _BANDS * _ROWS)
    return near.select("chunk").distinct().count(), other.select("chunk").distinct().count()


def _signatures(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    from datasketch import MinHash

    for batch in batches:
        rows = []
        for side, chunk, text in batch[["side", "chunk", "text"]].itertuples(index=False):
            own = shingles(text)
            if len(own) >= MIN_SHINGLES:
                hashes = MinHash(num_perm=_BANDS * _ROWS)
                hashes.update_batch([s.encode("utf-8", "surrogatepass") for s in own])
                rows.append((side, chunk, hashes.hashvalues.tolist()))
        yield pd.DataFrame(rows, columns=["side", "chunk", "signature"])


def out_of_window(
    chunks: DataFrame,
    notes: DataFrame,
    cohort: DataFrame,
    windows: list[str],
    sample: int,
    summaries: Sequence[str],
    cleaning: Cleaning,
) -> DataFrame:
    """Apply `find_out_of_window` to the early documents of a sample of admissions.

    notes: the source table, including notes marked as errors. The sample: the `sample` admissions
    with the smallest hashes, the same in every run. summaries: the categories of discharge
    summaries. cleaning: of the chunks. Returns window, hadm_id, and whether the document holds text
    of a discharge summary (discharge), of a note of a later CHARTDATE (charted_late) or of one that
    nobody could read by the end of the window (read_late).
    """
    sampled = (
        cohort.select("subject_id", "hadm_id", "admittime")
        .orderBy(F.xxhash64("hadm_id"))
        .limit(sample)
    )
    admitted = F.to_date("admittime")
    # What could be read by the midnight that ends a day is of that day.
    since = F.unix_micros(available_from()) - F.unix_micros(admitted.cast("timestamp"))
    note = F.struct(
        F.datediff("chartdate", admitted).alias("charted"),
        (F.ceil(since / DAY) - 1).alias("read"),
        is_one_of("category", summaries).alias("discharge"),
        "text",
    )
    notes_by_admission = (
        notes.where(F.col("text").isNotNull())
        .join(F.broadcast(sampled), ["subject_id", "hadm_id"])
        .groupBy("hadm_id")
        .agg(F.collect_list(note).alias("notes"))
    )
    indexed = F.struct("chunk_index", "text")
    documents = (
        chunks.where(F.col("window").isin(windows))
        .groupBy("window", "hadm_id")
        .agg(F.array_sort(F.collect_list(indexed)).alias("indexed"))
        .select("window", "hadm_id", F.transform("indexed", lambda c: c["text"]).alias("document"))
    )
    search = partial(_search, cleaning)
    return documents.join(notes_by_admission, "hadm_id").mapInPandas(search, _OUT_OF_WINDOW)


_OUT_OF_WINDOW = T.StructType(
    [
        T.StructField("window", T.StringType()),
        T.StructField("hadm_id", T.LongType()),
        T.StructField("discharge", T.BooleanType()),
        T.StructField("charted_late", T.BooleanType()),
        T.StructField("read_late", T.BooleanType()),
    ]
)


def _search(cleaning: Cleaning, batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for batch in batches:
        rows = []
        for row in batch.itertuples(index=False):
            days = parse_window(row.window).days
            assert days is not None  # windows are early ones
            notes = [
                Note(_day(n["charted"]), _day(n["read"]), n["discharge"], n["text"])
                for n in row.notes
            ]
            result = find_out_of_window(list(row.document), notes, days, cleaning)
            rows.append((row.window, row.hadm_id, *astuple(result)))
        yield pd.DataFrame(rows, columns=_OUT_OF_WINDOW.names)


def _day(number: float | None) -> int | None:
    return None if pd.isna(number) else int(number)


def label_words(chunks: DataFrame) -> DataFrame:
    """Search documents with a known label for LABEL_WORDS.

    Returns window, subject_id, hadm_id, label, and a column for each expression: 1 if the document
    has it, else 0.
    """
    labelled = chunks.where(F.col("label").isNotNull())
    return labelled.groupBy("window", "subject_id", "hadm_id", "label").agg(
        *(F.max(F.col("text").rlike(p).cast("int")).alias(n) for n, p in LABEL_WORDS.items()),
    )


def lengths(documents: DataFrame, chunks: DataFrame) -> DataFrame:
    """Return the amount of text: window, subject_id, hadm_id, label, notes, chunks and words."""
    words = (
        chunks.where(F.col("label").isNotNull())
        .groupBy("window", "subject_id", "hadm_id", "label")
        .agg(F.sum("n_words").alias("words"))
    )
    facts = documents.select(
        "window", "hadm_id", F.col("n_notes").alias("notes"), F.col("n_chunks").alias("chunks")
    )
    return words.join(facts, ["window", "hadm_id"])
