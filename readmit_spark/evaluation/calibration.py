"""Whether scores agree with observed rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from readmit_spark.evaluation.curves import checked
from readmit_spark.evaluation.intervals import wilson

_MIN_PER_BIN = 10  # smaller calibration bins are noise and could reveal a patient's outcome


@dataclass(frozen=True)
class Bin:
    """Admissions of similar score: predicted and observed rate, with the observed rate's interval.

    low, high: Wilson's 95 % interval of ``observed``.
    """

    n: int
    mean_score: float
    observed: float
    low: float
    high: float


def calibration(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> list[Bin]:
    """Return mean score and observed rate in ``bins`` groups of equal size, by rising score.

    Equal scores are in the same bin (their middle rank decides which), so the bins do not depend
    on the order of the rows. Empty bins are left out. The number of bins is reduced until each
    would have at least 10 admissions.
    """
    s, y, _, _ = checked(scores, labels, np.zeros(np.size(np.asarray(scores))))
    n = len(s)
    bins = max(1, min(bins, n // _MIN_PER_BIN))
    _, group, size = np.unique(s, return_inverse=True, return_counts=True)
    end = np.cumsum(size)
    # Equal scores with ranks start..end-1 have the middle rank (start + end) / 2; in integers:
    bin_of = (((2 * end - size) * bins) // (2 * n))[group] if n else group
    return [
        Bin(
            int(in_bin.sum()),
            float(s[in_bin].mean()),
            float(y[in_bin].mean()),
            *wilson(int(y[in_bin].sum()), int(in_bin.sum())),
        )
        for in_bin in (bin_of == b for b in np.unique(bin_of))
    ]
