"""Compare a night that was computed again with the published one."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.storage.manifests import Night
from readmit_spark.storage.run import Run


def differences(published: Night, run: Run) -> str:
    """Return lines that say whether `run` computed the same tables as the published night.

    If they differ, the lines count the patients that differ and the notes that changed since.
    """
    head = f"night of {published.as_of.isoformat()}: published before, and computed again"
    computed = {
        name: run.spark.read.parquet(f"{run.path}/{name}") for name in ("patient_risk", "notes")
    }
    changes = _changed_notes(published.table("notes"), computed["notes"])
    risks = _differing(published.table("patient_risk"), computed["patient_risk"])
    if not risks and not any(changes.values()):
        return f"{head}: identical; nothing was changed"
    counted = ", ".join(f"{n:,} notes {change}" for change, n in changes.items() if n)
    reason = (
        counted or "its notes are the same: the model, the settings or the night before changed"
    )
    return (
        f"{head}: it differs in {risks:,} patients; since then {reason}\n"
        "the published night is kept; output.overwrite=true replaces it"
    )


def _changed_notes(old: DataFrame, new: DataFrame) -> dict[str, int]:
    """Count the notes by kind of change."""
    ids = ["subject_id", "hadm_id", "row_id"]
    both = old.select(*ids, F.col("digest").alias("old")).join(
        new.select(*ids, F.col("digest").alias("new")), ids, "full"
    )
    counts = both.agg(
        F.count(F.when(F.col("new").isNull(), 1)).alias("removed or no longer readable"),
        F.count(F.when(F.col("old").isNull(), 1)).alias("added under a time before the night"),
        F.count(F.when(F.col("old") != F.col("new"), 1)).alias("edited"),
    ).first()
    assert counts is not None  # an aggregate without groups always has one row
    return counts.asDict()


def _differing(old: DataFrame, new: DataFrame) -> int:
    """Count the patients whose rows differ in any column, even in the last bit."""
    as_json = [
        frame.select("hadm_id", F.to_json(F.struct(*sorted(frame.columns))).alias(name))
        for frame, name in ((old, "old"), (new, "new"))
    ]
    both = as_json[0].join(as_json[1], "hadm_id", "full")
    return both.where(~F.col("old").eqNullSafe(F.col("new"))).count()
