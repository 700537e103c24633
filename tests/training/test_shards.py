from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from readmit_spark.errors import UserError
from readmit_spark.training.shards import admissions_of, read_index, read_part, read_tokens
from tests.prepared import WINDOW, Row, rows, write_prepared


def row(hadm: int, chunk: int, ids: list[int], label: int | None, **more: object) -> Row:
    return {
        "subject_id": hadm // 10, "hadm_id": hadm, "chunk_index": chunk, "input_ids": ids,
        "n_tokens": len(ids), "label": label, "split": "train", "fold": 0, "midnights": 5,
        "admission_type": "EMERGENCY",
        **more,
    }  # fmt: skip


def test_the_index_is_sorted_and_has_only_labelled_chunks_of_the_part(tmp_path: Path) -> None:
    folder = write_prepared(
        tmp_path,
        [
            row(12, 1, [2, 9, 3], 1),
            row(12, 0, [2, 8, 8, 3], 1),
            row(11, 0, [2, 3], 0),
            row(13, 0, [2, 3], None),  # the outcome is unknown
            row(14, 0, [2, 3], 1, split="test"),
        ],
    )
    index = read_index(folder, WINDOW, admissions_of(folder, "train", None))
    assert index.hadm_ids.tolist() == [11, 12, 12]
    assert index.chunk_indexes.tolist() == [0, 0, 1]
    assert index.lengths.tolist() == [2, 4, 3]
    backwards = index.take(np.array([2, 0]))
    tokens = read_tokens(folder, [WINDOW], backwards)
    assert [ids.tolist() for ids in tokens] == [[2, 9, 3], [2, 3]]
    assert index.fingerprint() != backwards.fingerprint()


def test_the_parts_of_all_ranks_are_all_chunks(tmp_path: Path) -> None:
    expected = rows(50, seed=1)
    folder = write_prepared(tmp_path, expected)
    index = read_index(folder, WINDOW, admissions_of(folder, "train", None))
    tokens: dict[tuple[int, int], list[int]] = {}
    for rank in range(3):
        part = index.take(np.arange(rank, len(index), 3))
        for hadm, chunk, ids in zip(
            part.hadm_ids, part.chunk_indexes, read_tokens(folder, [WINDOW], part), strict=True
        ):
            tokens[hadm, chunk] = ids.tolist()
    assert tokens == {(r["hadm_id"], r["chunk_index"]): r["input_ids"] for r in expected}


def test_a_fold_is_held_out_and_no_admission_has_two_parts(tmp_path: Path) -> None:
    folder = write_prepared(
        tmp_path,
        rows(60, 1) + rows(20, 2, "validation", first=1000) + rows(20, 3, "test", first=2000),
    )
    everybody = set(range(60)) | set(range(1000, 1020)) | set(range(2000, 2020))
    held_out: list[int] = []
    for fold in range(5):
        train, validation, test = (
            set(admissions_of(folder, part, fold).tolist())
            for part in ("train", "validation", "test")  # type: ignore[arg-type]
        )
        assert train | validation | test == everybody
        assert len(train) + len(validation) + len(test) == len(everybody)
        assert {hadm // 2 % 5 for hadm in test} == {fold}
        assert {hadm // 1000 for hadm in validation} == {1}
        held_out += test
    assert sorted(held_out) == sorted(everybody)  # each admission is tested once


def test_with_a_window_only_actionable_admissions_are_read(tmp_path: Path) -> None:
    folder = write_prepared(
        tmp_path,
        [
            row(11, 0, [2, 3], 1, midnights=2),
            row(12, 0, [2, 3], 1, midnights=3),
            row(13, 0, [2, 3], 1, midnights=None),
        ],
    )
    assert admissions_of(folder, "train", None).tolist() == [11, 12, 13]
    assert admissions_of(folder, "train", None, "3days").tolist() == [12, 13]
    assert admissions_of(folder, "train", None, "discharge").tolist() == [11, 12, 13]


def test_snapshots_are_read_while_the_patient_is_in_the_house(tmp_path: Path) -> None:
    one = [row(11, 0, [2, 5, 3], 1, midnights=1), row(12, 0, [2, 6, 3], 0, midnights=2),
           row(13, 0, [2, 7, 3], 0, midnights=0)]  # fmt: skip
    folder = write_prepared(tmp_path / "1", one, "1days")
    two = [row(11, 0, [2, 5, 3], 1), row(12, 0, [2, 6, 3], 0), row(12, 1, [2, 8, 3], 0)]
    other = write_prepared(tmp_path / "2", two, "2days")
    Path(other, "chunks/window=2days").rename(Path(folder, "chunks/window=2days"))
    index = read_part(folder, "train", None, ["1days", "2days"])
    snapshots = list(zip(index.hadm_ids, index.days, index.chunk_indexes, strict=True))
    # 11 left before the second midnight and 13 before the first.
    assert snapshots == [(11, 1, 0), (12, 1, 0), (12, 2, 0), (12, 2, 1)]
    tokens = read_tokens(folder, ["1days", "2days"], index.take(np.array([3, 0, 2, 1])))
    assert [ids[1] for ids in tokens] == [8, 5, 6, 6]
    everybody = read_part(folder, "train", None, ["1days"])
    assert everybody.hadm_ids.tolist() == [11, 12, 13]


def test_equal_chunks_of_one_admission_are_trained_on_once(tmp_path: Path) -> None:
    chunks = [row(11, 0, [2, 5, 3], 1), row(11, 1, [2, 6, 3], 1), row(11, 2, [2, 5, 3], 1),
              row(12, 0, [2, 5, 3], 0), row(12, 1, [2, 7, 3], 0)]  # fmt: skip
    folder = write_prepared(tmp_path, chunks)
    sample = read_index(folder, WINDOW, np.array([11, 12])).balanced_sample(seed=1)
    kept = list(zip(sample.hadm_ids.tolist(), sample.chunk_indexes.tolist(), strict=True))
    assert kept == [(11, 0), (11, 1), (12, 0), (12, 1)]


def test_training_is_balanced_by_admissions_and_then_chunks(tmp_path: Path) -> None:
    chunks = [r for r in rows(40, seed=5) if r["label"] == 0 or r["hadm_id"] < 11]
    folder = write_prepared(tmp_path, chunks)
    index = read_index(folder, WINDOW, admissions_of(folder, "train", None))
    _, labels, counts = index.balanced_sample(seed=3).admissions()
    assert (labels == 0).sum() >= (labels == 1).sum() == 5
    assert counts[labels == 0].sum() >= counts[labels == 1].sum()


def test_a_window_that_was_not_prepared_is_refused(tmp_path: Path) -> None:
    folder = write_prepared(tmp_path, rows(4, 1))
    with pytest.raises(UserError, match="no chunks of 9days"):
        read_index(folder, "9days", np.array([1]))
