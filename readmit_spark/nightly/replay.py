"""Compare a night that was computed again with the published one."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from readmit_spark.storage.manifests import Night
from readmit_spark.storage.run import Run


def differences(published: Night, run: Run) -> str:
    """The lines that say whether `run` computed what was published.

    Where it did not, they count the patients that differ and the notes that changed since.
    """
    head = f"night of {published.as_of.isoformat()}: published before, and computed again"
    again = {
        name: run.spark.read.parquet(f"{run.path}/{name}") for name in ("patient_risk", "notes")
    }
    changes = _changed_notes(published.table("notes"), again["notes"])
    risks = _differing(published.table("patient_risk"), again["patient_risk"])
    if not risks and not any(changes.values()):
        return f"{head}: identical; nothing was changed"
    counted = ", ".join(f"{n:,} notes {what}" for what, n in changes.items() if n)
    why = counted or "its notes are the same: the model, the settings or the night before changed"
    return (
        f"{head}: it differs in {risks:,} patients; since then {why}\n"
        "the published night is kept; output.overwrite=true replaces it"
    )


def _changed_notes(old: DataFrame, new: DataFrame) -> dict[str, int]:
    """What happened to the notes -> number of notes."""
    ids = ["subject_id", "hadm_id", "row_id"]
    both = old.select(*ids, F.col("digest").alias("was")).join(
        new.select(*ids, F.col("digest").alias("now")), ids, "full"
    )
    counts = both.agg(
        F.count(F.when(F.col("now").isNull(), 1)).alias("removed or no longer readable"),
        F.count(F.when(F.col("was").isNull(), 1)).alias("added under a time before the night"),
        F.count(F.when(F.col("was") != F.col("now"), 1)).alias("edited"),
    ).first()
    assert counts is not None  # an aggregate without groups always has one row
    return counts.asDict()


def _differing(old: DataFrame, new: DataFrame) -> int:
    """The number of patients whose rows differ in any column, even in the last bit."""
    marked = [
        frame.select("hadm_id", F.to_json(F.struct(*sorted(frame.columns))).alias(name))
        for frame, name in ((old, "was"), (new, "now"))
    ]
    both = marked[0].join(marked[1], "hadm_id", "full")
    return both.where(~F.col("was").eqNullSafe(F.col("now"))).count()
