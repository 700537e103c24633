"""The AUROC's interval by DeLong's method, for patients with several admissions.

DeLong, DeLong and Clarke-Pearson 1988, doi 10.2307/2531595, with the sums over patients of
Obuchowski 1997, doi 10.2307/2533958. The interval is symmetric on the logit scale (Pepe 2003, The
Statistical Evaluation of Medical Tests, 5.2.5) and uses Student's t. So it holds with three
readmitted patients as well, where percentiles of a bootstrap cover the truth in 8 of 10 cases only.

With few patients that rank almost perfectly, the observed variance is often near 0 by chance. So it
is averaged with the variance that is usual for such an AUROC, which weighs as much as `_PRIOR`
patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from readmit_spark.evaluation.intervals import Floats, t_quantile

_PRIOR = 3


@dataclass(frozen=True)
class Components:
    """DeLong's structural components. Their mean is the AUROC in each class.

    positive: [positives] the share of the negatives that each positive scores above; a tie counts
    one half. negative: [negatives] the share of the positives that score above each negative.
    """

    positive: Floats
    negative: Floats

    @property
    def auroc(self) -> float:
        return float(self.positive.mean())


def components(scores: ArrayLike, labels: ArrayLike) -> Components:
    """Return the components, in the order of the rows. Needs one of each class.

    >>> components([0.9, 0.6, 0.7, 0.2], [1, 1, 0, 0]).auroc
    0.75
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    positives, negatives = s[y == 1], s[y == 0]
    return Components(_share_below(positives, negatives), 1 - _share_below(negatives, positives))


def auroc_interval(
    scores: Floats, labels: Floats, patients: NDArray[np.intp], df: int
) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC. patients: [n] codes from 0. df: see `t_quantile`.

    Needs two patients with each outcome. An AUROC close to 0 or 1 is moved inside by half a patient
    of the rarer outcome, because its logit would be infinite.
    """
    parts = components(scores, labels)
    edge = 0.5 / (df + 2)
    inside = min(max(parts.auroc, edge), 1 - edge)
    expected = _expected_variance(
        inside, *(len(np.unique(patients[labels == label])) for label in (1, 0))
    )
    observed = clustered_variance(parts, labels, patients)
    sd = math.sqrt((df * observed + _PRIOR * expected) / (df + _PRIOR))
    spread = t_quantile(df) * sd / (inside * (1 - inside))
    centre = math.log(inside / (1 - inside))
    return min(_expit(centre - spread), parts.auroc), max(_expit(centre + spread), parts.auroc)


def clustered_variance(parts: Components, labels: Floats, patients: NDArray[np.intp]) -> float:
    """Return the variance of the AUROC where admissions of one patient may be alike.

    With one admission for each patient it is DeLong's variance. Needs two patients with each
    outcome. labels, patients: [n] in the order in which `parts` were computed.
    """
    n_patients = int(patients.max()) + 1
    sums, sizes = [], []
    for label, values in ((1, parts.positive), (0, parts.negative)):
        own = patients[labels == label]
        of_patient = np.bincount(own, weights=values - parts.auroc, minlength=n_patients)
        sums.append(of_patient / len(values))
        sizes.append(len(np.unique(own)))
    positive, negative = sums
    variance = (
        sizes[0] / (sizes[0] - 1) * positive @ positive
        + sizes[1] / (sizes[1] - 1) * negative @ negative
        + 2 * n_patients / (n_patients - 1) * positive @ negative
    )
    return max(float(variance), 0.0)


def _expected_variance(auroc: float, positives: int, negatives: int) -> float:
    """Return the variance for scores with an exponential distribution in both classes.

    Hanley and McNeil 1982, doi 10.1148/radiology.143.1.7063747.
    """
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    return (
        auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    ) / (positives * negatives)


def _share_below(values: Floats, others: Floats) -> Floats:
    """Return for each value the share of `others` below it; equal ones count half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2 * len(ordered))


def _expit(x: float) -> float:
    """Return the inverse of the logit, without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
