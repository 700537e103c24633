"""Scores of an index that a hospital uses already, from a CSV: LACE, HOSPITAL, or a vendor's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from readmit_spark.errors import UserError
from readmit_spark.notes.windows import parse_window
from readmit_spark.storage.input_tables import read_scores
from readmit_spark.storage.run import Run


def incumbent_scores(run: Run, cohort: DataFrame, measured: DataFrame) -> dict[str, DataFrame]:
    """Return the scores of each of `compare.incumbents`, by the name of its file.

    The score of an admission is the last one that was there at the end of the window: at ADMITTIME
    plus the days of the window, or at DISCHTIME. cohort: of prepare. measured: fold, window,
    subject_id, hadm_id, label of the admissions to score. Says how many of them have no score.
    """
    scores = {}
    for path in run.config.compare.incumbents or ():
        name = _name(path)
        rows = _last_scores(run, path, cohort, measured)
        kept = run.write_temp(rows, f"incumbent-{name}")
        n, total = kept.count(), measured.count()
        if not n:
            raise UserError(
                f"compare.incumbents: {path} has no score of a measured admission by the end of "
                "its window; look at its HADM_ID, SCORE and TIME"
            )
        run.say(f"{name}: {n:,} of {total:,} measured admissions have a score")
        scores[name] = kept
    return scores


def check_incumbents(run: Run, taken: Sequence[str]) -> None:
    """UserError where a file cannot be read, or two models of the table would have one name."""
    paths = run.config.compare.incumbents or ()
    check_names(paths, taken)
    for path in paths:
        read_scores(run.spark, run.config, path)


def check_names(paths: Sequence[str], taken: Sequence[str]) -> None:
    """UserError where two incumbents, or an incumbent and a model, have one name."""
    names = [_name(path) for path in paths]
    for name in names:
        if name in taken or names.count(name) > 1:
            raise UserError(
                f"compare.incumbents: {name} names two models of the table; rename the file"
            )


def _name(path: str) -> str:
    return PurePath(path).name.split(".")[0]


def _last_scores(run: Run, path: str, cohort: DataFrame, measured: DataFrame) -> DataFrame:
    raw = read_scores(run.spark, run.config, path)
    times = cohort.select("hadm_id", "admittime", "dischtime")
    known = raw.join(measured, "hadm_id").join(times, "hadm_id")
    latest = Window.partitionBy("window", "hadm_id").orderBy(F.desc("time"), F.desc("score"))
    last = (
        known.where(F.col("time") <= _end_of_window(measured))
        .withColumn("place", F.row_number().over(latest))
        .where("place = 1")
    )
    return _to_unit_interval(last).select(
        "fold", "window", "subject_id", "hadm_id", "score", "label"
    )


def _end_of_window(measured: DataFrame) -> Column:
    end = F.lit(None).cast("timestamp")
    for row in measured.select("window").distinct().collect():
        days = parse_window(row["window"]).days
        ends = (
            F.col("dischtime")
            if days is None
            else F.col("admittime") + F.expr(f"INTERVAL {days} DAYS")
        )
        end = F.when(F.col("window") == row["window"], ends).otherwise(end)
    return end


def _to_unit_interval(rows: DataFrame) -> DataFrame:
    """Stretch points, such as LACE's 0 to 19, to 0 to 1, which keeps their order."""
    low, high = rows.agg(F.min("score"), F.max("score")).collect()[0]
    if low is None or (low >= 0 and high <= 1):
        return rows
    span = high - low if high > low else 1.0
    return rows.withColumn("score", (F.col("score") - F.lit(low)) / F.lit(span))
