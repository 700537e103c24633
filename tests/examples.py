"""Pretraining examples that a two-layer BERT can learn.

Each half repeats one letter; a second half that does not follow the first repeats a digit instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from readmit_spark.pretraining.examples import Pair, Vocabulary, masked_example
from tests.tiny import VOCABULARY

TOKENS = 32
LETTERS = [VOCABULARY.index(c) for c in "abcdef"]
DIGITS = [VOCABULARY.index(c) for c in "012345"]
_SCHEMA = pa.schema(
    {
        "input_ids": pa.list_(pa.int32()),
        "n_first": pa.int32(),
        "masked": pa.list_(pa.int32()),
        "answers": pa.list_(pa.int32()),
        "is_next": pa.bool_(),
    }
)


def vocabulary() -> Vocabulary:
    cls, sep, mask = (VOCABULARY.index(t) for t in ("[CLS]", "[SEP]", "[MASK]"))
    pieces = np.array([t.startswith("##") for t in VOCABULARY])
    return Vocabulary(cls, sep, mask, np.arange(5, len(VOCABULARY)), pieces)


def examples(n: int, seed: int) -> list[dict[str, Any]]:
    random, rows = np.random.default_rng(seed), []
    for _ in range(n):
        words = [int(w) for w in random.choice(LETTERS, 2)]
        follows = bool(random.random() < 0.5)
        if not follows:
            words[1] = int(random.choice(DIGITS))
        halves = [[w] * int(random.integers(4, 12)) for w in words]
        example = masked_example(Pair(0, *halves, follows), vocabulary(), random)
        rows.append({**example._asdict(), "is_next": follows})
    return rows


def write_examples(folder: Path, train: int, held_out: int, tokens: int = TOKENS) -> str:
    """Write examples as `make_examples` does, two files for each split."""
    for split, n in (("train", train), ("validation", held_out)):
        rows = examples(n, seed=n)
        path = folder / f"examples_{tokens}" / f"split={split}"
        path.mkdir(parents=True)
        for i in range(2):
            part = rows[i * n // 2 : (i + 1) * n // 2]
            pq.write_table(pa.Table.from_pylist(part, _SCHEMA), path / f"part-{i}.parquet")
    return str(folder)
