"""The predictions as MEDS reads them: five columns of fixed types, at the end of the window."""

from __future__ import annotations

import io
from datetime import datetime

import pandas as pd
import pyarrow.parquet as pq

from readmit_spark.evaluation.meds_predictions import meds_predictions
from readmit_spark.evaluation.thresholds import operating_points

ROWS = pd.DataFrame(
    {
        "subject_id": [2, 1, 1],
        "admittime": ["2020-01-01 23:50:00", "2020-03-05 00:00:00", "2020-02-01 10:00:00"],
        "dischtime": ["2020-01-09 12:00:00", "2020-03-09 10:00:00", "2020-02-09 10:00:00"],
        "score": [0.9, 0.2, 0.6],
        "risk": [0.4, 0.1, 0.2],
        "label": [1, 0, 0],
    }
)


def test_the_five_columns_of_each_admission() -> None:
    points = operating_points([0.8] * 100 + [0.1] * 100, [1] * 95 + [0] * 105, range(200))
    table = pq.read_table(io.BytesIO(meds_predictions("2days", ROWS, points)))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "subject_id": "int64", "prediction_time": "timestamp[us]", "boolean_value": "bool",
        "predicted_boolean_value": "bool", "predicted_boolean_probability": "double",
    }  # fmt: skip
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (1, datetime(2020, 2, 3), False, False, 0.2),
        (1, datetime(2020, 3, 7), False, False, 0.1),
        (2, datetime(2020, 1, 3), True, True, 0.4),
    ]


def test_scores_and_the_discharge_stand_in_where_there_is_nothing_else() -> None:
    rows = ROWS.assign(risk=float("nan"))[:1]
    (row,) = pq.read_table(io.BytesIO(meds_predictions("discharge", rows, ()))).to_pylist()
    assert row["prediction_time"] == datetime(2020, 1, 9, 12)
    assert (row["predicted_boolean_probability"], row["predicted_boolean_value"]) == (0.9, None)
