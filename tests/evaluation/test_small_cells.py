"""What a reader can compute from the visible cells is never a small count."""

from __future__ import annotations

from itertools import permutations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readmit_spark.evaluation.small_cells import hidden_cells, rounded, shown_count


def rows(sizes: dict[str, tuple[int, int]], first: int = 0) -> pd.DataFrame:
    """Return the admissions of a window. sizes: group -> (readmitted, others)."""
    labels, names = [], []
    for name, (readmitted, others) in sizes.items():
        labels += [1] * readmitted + [0] * others
        names += [name] * (readmitted + others)
    ids = range(first, first + len(labels))
    return pd.DataFrame({"hadm_id": ids, "label": labels, "sex": names})


def hidden(**windows: pd.DataFrame) -> set[tuple[str, str]]:
    return hidden_cells(windows, "sex")


def is_small(part: pd.DataFrame) -> bool:
    n, readmitted = len(part), int(part.label.sum())
    return any(0 < count < 11 for count in (n, readmitted, n - readmitted))


def difference(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    return a[~a.hadm_id.isin(b.hadm_id)]


def test_a_window_is_hidden_whose_difference_to_a_larger_one_is_small() -> None:
    """99 admissions with 16 readmitted in one window, 83 and 14 in the other: 2 readmitted."""
    early = rows({"a": (16, 83), "b": (40, 60)})
    gone = pd.concat([early[(early.sex == "a") & (early.label == 1)][:2],
                      early[(early.sex == "a") & (early.label == 0)][:14]])  # fmt: skip
    late = difference(early, gone)
    assert ("3days", "a") in hidden(**{"2days": early, "3days": late})
    assert not {key for key in hidden(**{"2days": early, "3days": late}) if key[0] == "2days"}


def test_equal_windows_and_large_differences_are_shown() -> None:
    early = rows({"a": (40, 80), "b": (40, 60)})
    assert hidden(**{"2days": early, "3days": early}) == set()
    late = pd.concat([part[:20] for _, part in early.groupby(["sex", "label"])])
    assert hidden(**{"2days": early, "3days": late}) == set()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 3)), max_size=30)
)
def test_no_difference_of_published_cells_is_small(blocks: list[tuple[str, int, int]]) -> None:
    """blocks: 8 admissions of one group and label, in the first windows of three, nested."""
    table = pd.DataFrame(
        [(8 * i + k, label, sex, last) for i, (sex, label, last) in enumerate(blocks)
         for k in range(8)],
        columns=["hadm_id", "label", "sex", "last"],
    )  # fmt: skip
    windows = {f"{n}days": table[table["last"] >= n] for n in (1, 2, 3)}
    concealed = hidden_cells(windows, "sex")
    visible = {
        (window, name): part
        for window, own in windows.items()
        for name, part in own.groupby("sex")
        if (window, name) not in concealed
    }
    for part in visible.values():
        assert not is_small(part)
    for (one, two), (a, b) in zip(
        permutations(visible, 2), permutations(visible.values(), 2), strict=True
    ):
        if one[1] == two[1]:
            assert not is_small(difference(a, b))
    for window, own in windows.items():
        names = {name for w, name in concealed if w == window}
        if visible_here := [key for key in visible if key[0] == window]:
            assert len(names) != 1, visible_here
            assert not is_small(own[own.sex.isin(names)])


def test_counts_are_rounded_to_5_and_small_ones_not_shown() -> None:
    assert [rounded(n) for n in (0, 2, 3, 7, 8, 100)] == [0, 0, 5, 5, 10, 100]
    assert [shown_count(n) for n in (0, 1, 10, 11, 13, 2998)] == [
        "0", "1 to 10", "1 to 10", "10", "15", "3,000",
    ]  # fmt: skip


@pytest.mark.parametrize("sex", ["a", "b"])
def test_a_group_in_one_window_only_is_judged_by_its_own_size(sex: str) -> None:
    other = {"a": "b", "b": "a"}[sex]
    sizes = {sex: (20, 30), other: (30, 40)}
    shown = hidden(**{"2days": rows(sizes), "3days": rows({sex: (20, 30)}, first=500)})
    assert ("2days", sex) not in shown
