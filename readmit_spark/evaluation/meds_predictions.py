"""Measured scores in the five columns that the evaluation tools of MEDS read.

MEDS is the Medical Event Data Standard; the columns are those of the package meds-evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from readmit_spark.evaluation.evaluate import listed
from readmit_spark.evaluation.thresholds import Threshold, pick
from readmit_spark.notes.windows import parse_window

_SCHEMA = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("prediction_time", pa.timestamp("us")),
        ("boolean_value", pa.bool_()),
        ("predicted_boolean_value", pa.bool_()),
        ("predicted_boolean_probability", pa.float64()),
    ]
)
_PRECISION = 0.80  # of the threshold from which a prediction is true


def meds_predictions(window: str, rows: pd.DataFrame, points: Sequence[Threshold]) -> bytes:
    """Return a Parquet file with one row for each measured admission, by subject and time.

    rows: subject_id, admittime, dischtime, score, risk, label. points: the model's thresholds of
    this window from validation. prediction_time: the end of the window, which is the midnight
    after its last day, or the discharge. predicted_boolean_probability: the risk, or the score
    where the model has no risks. predicted_boolean_value: whether the score reaches the threshold
    that surely had a precision of 0.80 on validation; null where there is none.
    """
    days = parse_window(window).days
    admitted = pd.to_datetime(rows.admittime)
    end = (
        pd.to_datetime(rows.dischtime)
        if days is None
        else admitted.dt.normalize() + pd.Timedelta(days=days)
    )
    point = pick(points, _PRECISION)
    table = pd.DataFrame(
        {
            "subject_id": rows.subject_id,
            "prediction_time": end,
            "boolean_value": rows.label == 1,
            "predicted_boolean_value": None if point is None else rows.score >= point.threshold,
            "predicted_boolean_probability": listed(rows),
        }
    ).sort_values(["subject_id", "prediction_time"])
    out = BytesIO()
    pq.write_table(pa.Table.from_pandas(table, _SCHEMA, preserve_index=False), out)
    return out.getvalue()
