"""The ledger: the status of each admission in each window, with the reason."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def ledger_table(
    cohort: DataFrame,
    exclusions: DataFrame,
    documents: DataFrame,
    patients: DataFrame,
    windows: Sequence[str],
    split: str,
) -> DataFrame:
    """Build window, hadm_id, status, reason: one row for each window and admission of `cohort` and
    `exclusions`.

    status is `scored` (reason null), `unscored` or `excluded` (with the reason from `exclusions`).
    An admission is unscored because of `no_notes` in the window, `document_too_short` for a chunk,
    or `other_split` than the one to score (`split`, or all).
    """
    keys = ["window", "hadm_id"]
    every_window = F.explode(F.array(*(F.lit(name) for name in windows))).alias("window")
    chunk_counts = documents.select(*keys, "n_chunks")
    scored = patients.select(*keys, F.lit(True).alias("scored"))
    reason = (
        F.when(F.lit(split != "all") & (F.col("split") != split), "other_split")
        .when(F.col("n_chunks").isNull(), "no_notes")
        .when(F.col("n_chunks") == 0, "document_too_short")
    )
    in_cohort = (
        cohort.select(every_window, "hadm_id", "split")
        .join(chunk_counts, keys, "left")
        .join(scored, keys, "left")
        .select(
            *keys,
            F.when(F.col("scored"), "scored").otherwise("unscored").alias("status"),
            F.when(F.col("scored").isNull(), reason).alias("reason"),
        )
    )
    excluded = exclusions.select(every_window, "hadm_id", "reason").select(
        *keys, F.lit("excluded").alias("status"), "reason"
    )
    return in_cohort.unionByName(excluded)
