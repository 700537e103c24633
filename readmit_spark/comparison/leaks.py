"""Where the answer could leak into the text: looked for in what prepare wrote, not in how it did.

Nothing here returns a text.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from readmit_spark.comparison.shingles import LEAST, Note, shingles, text_out_of_window
from readmit_spark.notes.documents_table import DISCHARGE
from readmit_spark.notes.windows import parse_window

NEAR = 0.8  # share of hashes that near-duplicates have in common: it estimates Jaccard's index
# Of 128 hashes; two chunks that are alike by 0.8 meet in a band with a chance of 0.95.
_BANDS, _ROWS = 16, 8
_MET = 10  # training chunks a band and key that are looked at: templates have thousands
LABEL_WORDS = {
    "readmitted": r"\bre-?\s?admi(t|ssion)",
    "bounce back": r"\bbounced? ?back\b",
    "discharge disposition": r"\bdischarge (disposition|condition|instructions|diagnos)",
    "expired": r"\b(pt|patient) (has )?expired\b",
}


def patients_on_both_sides(cohort: DataFrame) -> int:
    """Subjects with admissions on more than one side of the split."""
    sides = cohort.groupBy("subject_id").agg(F.countDistinct("split").alias("sides"))
    return sides.where("sides > 1").count()


def near_duplicates(chunks: DataFrame) -> tuple[int, int]:
    """Chunks of validation and test that have a near-duplicate among the training chunks, and of
    how many. Equal chunks count once; those of fewer than ten shingles do not.

    MinHash (Broder 1997): chunks that agree in a band of 8 hashes are compared by all 128.
    """
    side = F.when(F.col("split") == "train", "train").otherwise("other").alias("side")
    texts = chunks.select(side, "text").distinct()
    schema = "side string, chunk long, signature array<long>"
    signed = texts.withColumn("chunk", F.xxhash64("text")).mapInPandas(_signatures, schema)
    bands = [
        F.struct(F.lit(b).alias("band"), F.xxhash64(F.slice("signature", b * _ROWS + 1, _ROWS))
                 .alias("key"))
        for b in range(_BANDS)
    ]  # fmt: skip
    met = signed.select("side", "chunk", "signature", F.inline(F.array(*bands)))
    first = Window.partitionBy("band", "key").orderBy("chunk")
    theirs = (
        met.where("side = 'train'")
        .withColumn("place", F.row_number().over(first))
        .where(F.col("place") <= _MET)
        .select("band", "key", F.col("signature").alias("theirs"))
    )
    mine = met.where("side = 'other'")
    same = F.zip_with("signature", "theirs", lambda a, b: (a == b).cast("int"))
    agree = F.aggregate(same, F.lit(0), lambda total, one: total + one)
    near = mine.join(theirs, ["band", "key"]).where(agree >= NEAR * _BANDS * _ROWS)
    return near.select("chunk").distinct().count(), mine.select("chunk").distinct().count()


def _signatures(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    from datasketch import MinHash

    for batch in batches:
        rows = []
        for side, chunk, text in batch[["side", "chunk", "text"]].itertuples(index=False):
            mine = shingles(text)
            if len(mine) >= LEAST:
                hashes = MinHash(num_perm=_BANDS * _ROWS)
                hashes.update_batch([s.encode("utf-8", "surrogatepass") for s in mine])
                rows.append((side, chunk, hashes.hashvalues.tolist()))
        yield pd.DataFrame(rows, columns=["side", "chunk", "signature"])


def out_of_window(
    chunks: DataFrame, notes: DataFrame, cohort: DataFrame, windows: list[str], sample: int
) -> DataFrame:
    """window, hadm_id, discharge, late: for each early document of a sample of admissions, what
    `core.shingles.text_out_of_window` finds.

    notes: of the source, those marked as errors among them. The sample are the admissions whose
    hashes come first: the same ones on every run.
    """
    some = (
        cohort.select("subject_id", "hadm_id", F.to_date("admittime").alias("admitdate"))
        .orderBy(F.xxhash64("hadm_id"))
        .limit(sample)
    )
    note = F.struct(
        F.datediff("chartdate", "admitdate").alias("day"),
        F.coalesce(F.col("category") == DISCHARGE, F.lit(False)).alias("discharge"),
        "text",
    )
    told = (
        notes.where(F.col("text").isNotNull())
        .join(F.broadcast(some), ["subject_id", "hadm_id"])
        .groupBy("hadm_id")
        .agg(F.collect_list(note).alias("notes"))
    )
    piece = F.struct("chunk_index", "text")
    documents = (
        chunks.where(F.col("window").isin(windows))
        .groupBy("window", "hadm_id")
        .agg(F.array_sort(F.collect_list(piece)).alias("pieces"))
        .select("window", "hadm_id", F.transform("pieces", lambda p: p["text"]).alias("document"))
    )
    return documents.join(told, "hadm_id").mapInPandas(_look, _FOUND)


_FOUND = T.StructType(
    [
        T.StructField("window", T.StringType()),
        T.StructField("hadm_id", T.LongType()),
        T.StructField("discharge", T.BooleanType()),
        T.StructField("late", T.BooleanType()),
    ]
)


def _look(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for batch in batches:
        rows = []
        for row in batch.itertuples(index=False):
            days = parse_window(row.window).days
            assert days is not None  # early windows are asked for
            notes = [
                Note(None if pd.isna(n["day"]) else int(n["day"]), n["discharge"], n["text"])
                for n in row.notes
            ]
            found = text_out_of_window(list(row.document), notes, days)
            rows.append((row.window, row.hadm_id, found.discharge, found.late))
        yield pd.DataFrame(rows, columns=_FOUND.names)


def label_words(chunks: DataFrame) -> DataFrame:
    """window, subject_id, hadm_id, label, and for each of LABEL_WORDS 1 where the document has it,
    else 0; of the admissions whose label is known."""
    known = chunks.where(F.col("label").isNotNull())
    return known.groupBy("window", "subject_id", "hadm_id", "label").agg(
        *(F.max(F.col("text").rlike(p).cast("int")).alias(n) for n, p in LABEL_WORDS.items()),
    )


def lengths(documents: DataFrame, chunks: DataFrame) -> DataFrame:
    """window, subject_id, hadm_id, label, notes, chunks, words: how much was written."""
    words = (
        chunks.where(F.col("label").isNotNull())
        .groupBy("window", "subject_id", "hadm_id", "label")
        .agg(F.sum("n_words").alias("words"))
    )
    facts = documents.select(
        "window", "hadm_id", F.col("n_notes").alias("notes"), F.col("n_chunks").alias("chunks")
    )
    return words.join(facts, ["window", "hadm_id"])
