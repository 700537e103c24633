"""Passages as the tables hold them: with the ROW_ID and category of their note."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyspark.sql import types as T

from readmit_spark.notes.provenance import Passage
from readmit_spark.storage.schemas import struct_type

# Characters start to end (end excluded) of the text of the note row_id.
PASSAGE = struct_type(
    row_id=T.LongType(), category=T.StringType(), start=T.IntegerType(), end=T.IntegerType()
)


def passage_rows(
    passages: Iterable[Passage], notes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return `PASSAGE` rows. notes: the document's notes (row_id, category), in order."""
    return [
        {
            "row_id": notes[passage.note]["row_id"],
            "category": notes[passage.note]["category"],
            "start": passage.start,
            "end": passage.end,
        }
        for passage in passages
    ]
