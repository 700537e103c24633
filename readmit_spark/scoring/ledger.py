"""The ledger: what became of every admission, in every window."""

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
    """window, hadm_id, status, reason: each admission of `cohort` and `exclusions` once a window.

    status `scored` (no reason); `unscored` with `no_notes` (none that the window may read),
    `document_too_short` (no chunk comes of it) or `other_split` (not asked for); `excluded` with
    the reason that prepare gave.
    """
    key = ["window", "hadm_id"]
    every_window = F.explode(F.array(*(F.lit(name) for name in windows))).alias("window")
    facts = documents.select(*key, "n_chunks")
    scored = patients.select(*key, F.lit(True).alias("scored"))
    reason = (
        F.when(F.lit(split != "all") & (F.col("split") != split), "other_split")
        .when(F.col("n_chunks").isNull(), "no_notes")
        .when(F.col("n_chunks") == 0, "document_too_short")
    )
    kept = (
        cohort.select(every_window, "hadm_id", "split")
        .join(facts, key, "left")
        .join(scored, key, "left")
        .select(
            *key,
            F.when(F.col("scored"), "scored").otherwise("unscored").alias("status"),
            F.when(F.col("scored").isNull(), reason).alias("reason"),
        )
    )
    left_out = exclusions.select(every_window, "hadm_id", "reason").select(
        *key, F.lit("excluded").alias("status"), "reason"
    )
    return kept.unionByName(left_out)
