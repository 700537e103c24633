"""What a ward did after alerts: a table of HADM_ID, TIME and ACTION."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from readmit_spark.config import Config, required
from readmit_spark.errors import UserError
from readmit_spark.storage.column_values import Kind, code, parse_columns
from readmit_spark.storage.parquet_columns import Reading
from readmit_spark.storage.table_source import read_columns

KEY = "nightly.actions"
ACTED = "acted"
# seen: somebody looked at the patient. acted: something was done against a readmission. wrong: the
# alert was of no use.
ACTIONS = ("seen", ACTED, "wrong")


def read_actions(spark: SparkSession, config: Config) -> DataFrame:
    """Read hadm_id, time and action of `nightly.actions`, one row for each row of the table.

    Raise a UserError if a row has no HADM_ID or TIME that is understood, or another ACTION than
    `ACTIONS`: outcomes would be split by it.
    """
    path, reading = required(config.nightly.actions, KEY), Reading.of(config)
    raw = read_columns(spark, path, KEY, ("HADM_ID", "TIME", "ACTION"), reading=reading)
    id_kind: Kind = "text_id" if reading.text_ids else "id"
    kinds: dict[str, Kind] = {"HADM_ID": id_kind, "TIME": "time"}
    action = F.lower(code(raw, "ACTION")).alias("action")
    rows = parse_columns(raw, kinds, action, time_zone=reading.time_zone).drop("unread")
    known = F.coalesce(F.col("action").isin(*ACTIONS), F.lit(False))
    wrong = rows.where(~known | F.col("hadm_id").isNull() | F.col("time").isNull()).count()
    if wrong:
        raise UserError(
            f"{KEY}: {wrong:,} rows of {path} have no HADM_ID or TIME that is understood, or an "
            f"ACTION other than {', '.join(ACTIONS)}"
        )
    return rows


def acted_on_line(acted: int, of: int, kind: str) -> str:
    """Say how many of these admissions a ward acted on, and what a fit makes of them."""
    return (
        f"{KEY}: {acted:,} of {of:,} {kind} admissions were acted on; they count with the outcome "
        "that came, so such patients look less likely to come back than without the ward: use "
        "times before the ward used the list if there are enough"
    )


def acted_on(spark: SparkSession, config: Config) -> DataFrame:
    """Build hadm_id: the admissions with an action `acted`, each once."""
    return read_actions(spark, config).where(F.col("action") == ACTED).select("hadm_id").distinct()
