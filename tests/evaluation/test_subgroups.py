from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from readmit_spark.evaluation.subgroups import Group, by_subgroup


def cohort(sizes: dict[str, tuple[int, int]]) -> tuple[list[float], list[int], list[str]]:
    """Return scores, labels and group names. sizes: name -> (readmitted, others)."""
    rng = np.random.default_rng(0)
    labels, names = [], []
    for name, (readmitted, others) in sizes.items():
        labels += [1] * readmitted + [0] * others
        names += [name] * (readmitted + others)
    return rng.random(len(labels)).tolist(), labels, names


def groups_of(sizes: dict[str, tuple[int, int]]) -> dict[str, Group]:
    scores, labels, names = cohort(sizes)
    ids = range(len(labels))
    columns = {"hadm_id": ids, "subject_id": ids, "score": scores, "label": labels, "sex": names}
    groups = by_subgroup({"2days": pd.DataFrame(columns)}, ["sex"])["2days"]
    assert [group.factor for group in groups] == ["sex"] * len(sizes)
    return {group.name: group for group in groups}


def test_a_group_is_measured_on_its_own_rows() -> None:
    sizes = {"a": (20, 30), "b": (40, 60)}
    groups = groups_of(sizes)
    scores, labels, names = map(np.array, cohort(sizes))
    rows = names == "a"
    assert (groups["a"].n, groups["a"].readmitted) == (50, 20)
    assert groups["a"].measures is not None
    assert groups["a"].measures["auroc"]["value"] == pytest.approx(
        roc_auc_score(labels[rows], scores[rows])
    )
    # Wilson 1927: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = 0.4, n = 50.
    assert groups["a"].rate_low == pytest.approx(0.27608, abs=1e-5)
    assert groups["a"].rate_high == pytest.approx(0.53819, abs=1e-5)


@pytest.mark.parametrize("cell", [(10, 40), (40, 10), (0, 10), (5, 5)])
def test_small_cells_are_hidden(cell: tuple[int, int]) -> None:
    groups = groups_of({"a": cell, "b": (5, 60), "c": (30, 40), "d": (10, 90)})
    for name in "abd":
        assert groups[name] == Group("sex", name)
    assert groups["c"].n == 70


def test_published_counts_and_rates_are_rounded() -> None:
    group = groups_of({"a": (18, 33), "b": (40, 60)})["a"]
    assert (group.n, group.readmitted) == (50, 20)  # of 51 and 18
    assert group.measures is not None and "positives" not in group.measures


def test_counts_of_eleven_and_of_zero_are_shown() -> None:
    groups = groups_of({"a": (11, 11), "b": (0, 11)})
    assert groups["a"].n == 20  # 22, rounded
    assert groups["b"].measures is not None
    assert groups["b"].measures["auroc"]["value"] is None


def test_one_hidden_group_hides_the_smallest_of_the_others() -> None:
    groups = groups_of({"a": (1, 2), "b": (30, 60), "c": (20, 40), "d": (50, 50)})
    assert {name for name, group in groups.items() if group.n is None} == {"a", "c"}


@pytest.mark.parametrize(
    ("sizes", "hidden"),
    [
        ({"a": (1, 2), "b": (2, 2), "c": (30, 60), "d": (20, 40)}, {"a", "b", "d"}),
        ({"a": (5, 0), "b": (0, 30), "c": (3, 30), "d": (40, 60)}, {"a", "b", "c", "d"}),
        ({"a": (9, 30), "b": (9, 30), "c": (30, 60), "d": (20, 40)}, {"a", "b"}),
    ],
)
def test_the_sum_of_the_hidden_groups_is_not_small(
    sizes: dict[str, tuple[int, int]], hidden: set[str]
) -> None:
    """A reader can subtract the visible groups from the total."""
    assert {name for name, group in groups_of(sizes).items() if group.n is None} == hidden


def test_a_single_small_group_is_hidden() -> None:
    assert groups_of({"a": (1, 2)})["a"].n is None
