"""A night computed again: the same, or why it is not."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.nightly.published_nights import PublishedNight


def differences(spark: SparkSession, published: PublishedNight, again: str) -> str:
    """The lines that say whether the folder `again` holds what was published.

    Where it does not, the notes and patients are counted that the source has changed since.
    """
    said = f"night of {published.as_of.isoformat()}: published before, and computed again"
    old, new = (
        {name: spark.read.parquet(f"{path}/{name}") for name in ("patient_risk", "notes")}
        for path in (published.facts["path"], again)
    )
    changes = _changed_notes(old["notes"], new["notes"])
    risks = _differing(old["patient_risk"], new["patient_risk"])
    if not risks and not any(changes.values()):
        return f"{said}: identical; nothing was changed"
    counted = ", ".join(f"{n:,} notes {what}" for what, n in changes.items() if n)
    why = counted or "its notes are the same: the model, the settings or the night before changed"
    return (
        f"{said}: it differs in {risks:,} patients; since then {why}\n"
        "the published night is kept; output.overwrite=true replaces it"
    )


def _changed_notes(old: DataFrame, new: DataFrame) -> dict[str, int]:
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
    """Patients whose rows are not the same in every column, to the last bit."""
    marked = [
        frame.select("hadm_id", F.to_json(F.struct(*sorted(frame.columns))).alias(name))
        for frame, name in ((old, "was"), (new, "now"))
    ]
    both = marked[0].join(marked[1], "hadm_id", "full")
    return both.where(~F.col("was").eqNullSafe(F.col("now"))).count()
