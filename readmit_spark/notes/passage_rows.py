"""Passages as the tables hold them: with the ROW_ID and category of their note."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from readmit_spark.notes.provenance import Passage


def passage_rows(
    passages: Iterable[Passage], notes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return rows of `output_tables.PASSAGE`.

    notes: the document's notes (row_id, category), in order.
    """
    return [
        {
            "row_id": notes[passage.note]["row_id"],
            "category": notes[passage.note]["category"],
            "start": passage.start,
            "end": passage.end,
        }
        for passage in passages
    ]
