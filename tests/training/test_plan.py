"""A plan can be sent to other processes and changed only by copying."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from tests.prepared import WINDOW, plan


def test_a_plan_survives_pickling(tmp_path: Path) -> None:
    sent = plan("models/tiny", "runs/prepare", tmp_path, fold=3)
    received = pickle.loads(pickle.dumps(sent))
    assert received == sent
    assert (received.start_model, received.prepared_folder) == ("models/tiny", "runs/prepare")
    assert (received.fold, received.scored_windows) == (3, (WINDOW,))
    assert received.checkpoint_folder == str(tmp_path)


def test_a_plan_is_changed_by_copying(tmp_path: Path) -> None:
    first = plan("models/tiny", "runs/prepare", tmp_path)
    second = replace(first, start_model="models/copy")
    assert (first.start_model, second.start_model) == ("models/tiny", "models/copy")
    with pytest.raises(FrozenInstanceError):
        first.fold = 2  # type: ignore[misc]
