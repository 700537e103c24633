"""Nights without change raise no alarm; a planted change raises one on its first night."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from sklearn.metrics import roc_auc_score

from readmit_spark.nightly.control_charts import SPLIT, Chart, Rules, drift_charts, quantities
from readmit_spark.nightly.drift import NumberBins, chance_limit, dispersion, widening_factor
from readmit_spark.nightly.outcome_charts import (
    _auroc_limits,
    _count_limits,
    auroc,
    outcome_charts,
)
from tests.quiet_nights import night_times, quiet_nights

REFERENCE = 28
RULES = Rules(REFERENCE, false_alarm_rate=0.05)
NIGHTS = night_times(REFERENCE + 100)
BREAK = NIGHTS[60]


@pytest.fixture(scope="module")
def quiet() -> tuple[pd.DataFrame, pd.DataFrame]:
    return quiet_nights(len(NIGHTS))


def first_alarms(charts: list[Chart]) -> dict[tuple[str, int], datetime]:
    return {
        (c.name, c.span): c.nights[int(np.flatnonzero(c.alarms)[0])]
        for c in charts
        if c.alarms.any()
    }


@pytest.mark.slow
def test_a_hundred_quiet_nights_of_the_demo_hospital_raise_no_alarm(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    admissions, outcomes = quiet
    assert len(admissions) > 2000 and len(outcomes) > 1500
    charts = drift_charts(admissions, NIGHTS, RULES)
    charts += outcome_charts(outcomes, NIGHTS, RULES, 30)
    assert first_alarms(charts) == {}
    tested = {(c.name, c.span): int((~np.isnan(c.high)).sum()) for c in charts}
    assert all(tested[c.name, c.span] == 100 for c in charts if c.span in (1, 7))
    assert all(tested[name, REFERENCE] > 30 for name in ("auroc", "calibration", "alert_precision"))


def planted(admissions: pd.DataFrame, what: str, share: float = 1.0) -> pd.DataFrame:
    """Change `share` of the admissions that are new from BREAK on."""
    changed = admissions.copy()
    rng = np.random.default_rng(3)
    hit = (admissions.night >= BREAK) & (rng.random(len(admissions)) < share)
    if what == "unknown_words":  # another language, or a broken encoding
        changed.loc[hit, "n_unknown"] = (0.1 * admissions.n_tokens).round()
    elif what == "token_loss":  # longer words
        changed.loc[hit, "n_tokens_cut"] = (0.05 * admissions.n_tokens).round()
    elif what == "categories":  # a system renames one
        changed.loc[hit, "categories"] = admissions.categories.str.replace(
            "Nursing", "Nursing note"
        )
    elif what == "notes":  # notes arrive twice
        changed.loc[hit, "n_notes"] = 2 * admissions.n_notes
    elif what == "unscored":  # the notes' feed is down
        changed.loc[hit, ["score", "n_tokens", "n_tokens_cut", "n_unknown"]] = np.nan
    elif what == "score":  # a sicker house
        logit = np.log(admissions.score / (1 - admissions.score))
        changed.loc[hit, "score"] = 1 / (1 + np.exp(-(logit + 3)))
    return changed


@pytest.mark.parametrize(
    "what", ["unknown_words", "token_loss", "categories", "notes", "unscored", "score"]
)
def test_a_break_is_flagged_on_its_first_night(
    quiet: tuple[pd.DataFrame, pd.DataFrame], what: str
) -> None:
    result = first_alarms(drift_charts(planted(quiet[0], what), NIGHTS, RULES))
    assert result.pop((what, 1)) == BREAK
    assert all(night >= BREAK for night in result.values())
    others = {name for name, _ in result} - {what}
    assert others <= {"categories", "notes"} if what == "unscored" else not others


def chance(nights: Any, tonight: Any, draws: int = 250_000) -> float:
    """Simulate how often units of the reference distribution are as far from it as `tonight`.

    The larger of two probabilities: by chance alone, and with the estimated dispersion of `nights`.
    """
    reference, spread = nights.sum(axis=0), dispersion(nights)
    p = (reference + 0.5) / (reference + 0.5).sum()
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(tonight.sum(), rng.dirichlet(reference + 0.5, size=draws))

    def distance(counts: Any) -> Any:
        q = (counts + 0.5) / (counts + 0.5).sum(axis=-1, keepdims=True)
        return scipy_stats.entropy(q, p, axis=-1) + scipy_stats.entropy(p, q, axis=-1)

    freedom = (len(nights) - 1) * ((reference > 0).sum() - 1)
    error = rng.chisquare(freedom, draws) / freedom if freedom else 1.0
    result = distance(drawn)
    as_far = [(d >= distance(tonight)).mean() for d in (result, spread * result / error)]
    return float(max(as_far))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "share"), [("unknown_words", 0.2), ("score", 0.3), ("token_loss", 0.1)]
)
def test_a_smaller_shift_is_flagged_without_delay(
    quiet: tuple[pd.DataFrame, pd.DataFrame], what: str, share: float
) -> None:
    """Compared with a second simulation of the same counts for each night."""
    admissions = planted(quiet[0], what, share)
    result = first_alarms(drift_charts(admissions, NIGHTS, RULES))
    at = NIGHTS.index(min(night for (name, _), night in result.items() if name == what))
    assert at > 60  # too small for one night
    values, night = quantities(admissions)[what], admissions.night
    before = values[night < NIGHTS[REFERENCE]].to_numpy()
    a_night = int(np.median([(night == t).sum() for t in NIGHTS[:REFERENCE]]))
    bins = NumberBins.of(
        before, min(10, max(2, a_night // 5)), 0, np.inf if what == "unknown_words" else 1
    )
    by_night = [bins.count(values[night == t].to_numpy()) for t in NIGHTS]
    nights = np.array(by_night[:REFERENCE])
    assert dispersion(nights) < 1.3

    def smallest(t: int) -> float:
        spans = (by_night[t : t + 1], by_night[t - 6 : t + 1])
        return min(chance(nights, np.sum(span, axis=0)) for span in spans)

    assert smallest(at) < 2 * RULES.level
    # The ten nights before were not clearly beyond chance.
    assert all(smallest(t) > RULES.level / 15 for t in range(max(60, at - 10), at))


def test_a_worse_model_is_flagged_once_its_outcomes_are_known(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    outcomes = quiet[1].copy()
    late = outcomes.dischtime >= NIGHTS[REFERENCE + 1]
    rng = np.random.default_rng(0)
    outcomes.loc[late, "score"] = rng.permutation(outcomes.score[late].to_numpy())
    outcomes["alerted"] = outcomes.score > 0.6
    charts = {c.name: c for c in outcome_charts(outcomes, NIGHTS, RULES, 30)}
    assert charts["auroc"].alarms.any() and charts["alert_precision"].alarms.any()
    first = charts["auroc"].nights[int(np.flatnonzero(charts["auroc"].alarms)[0])]
    assert first >= NIGHTS[REFERENCE] + timedelta(days=30)


def test_more_readmissions_at_equal_scores_are_flagged(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    outcomes = quiet[1].copy()
    late = (outcomes.dischtime >= NIGHTS[REFERENCE + 1]) & (outcomes.label == 0)
    extra = late & (np.random.default_rng(0).random(len(outcomes)) < 0.25)
    outcomes.loc[extra, "label"] = 1
    charts = {c.name: c for c in outcome_charts(outcomes, NIGHTS, RULES, 30)}
    high = charts["calibration"]
    assert (high.values > high.high).any()


def test_with_risks_the_expected_readmissions_are_those_that_the_risks_announce(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    outcomes = quiet[1].assign(risk=lambda rows: 0.1 + 0.2 * rows.score)
    half = outcomes.assign(risk=outcomes.risk / 2)
    charts = [
        {c.name: c for c in outcome_charts(rows, NIGHTS, RULES, 30)}["calibration"]
        for rows in (outcomes, half)
    ]
    settled_at = np.searchsorted(
        np.array(NIGHTS, dtype="datetime64[us]"),
        (outcomes.dischtime + timedelta(days=30)).to_numpy(),
    )
    last = len(NIGHTS) - 1
    later = outcomes.dischtime > NIGHTS[REFERENCE - 1]
    block = outcomes[later & (settled_at <= last) & (settled_at > last - REFERENCE)]
    assert charts[0].values[last] == pytest.approx(block.label.sum() / block.risk.sum())
    # Risks that are half as high say so, and are no alarm: they were so in the reference too.
    assert charts[1].values[last] == pytest.approx(2 * charts[0].values[last])
    assert (charts[0].alarms == charts[1].alarms).all()


def test_alert_precision_is_split_by_what_the_ward_did(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    acted = np.arange(len(quiet[1])) % 2 == 0
    charts = {c.name: c for c in outcome_charts(quiet[1].assign(acted=acted), NIGHTS, RULES, 30)}
    whole, *parts = (charts[name] for name in ("alert_precision", *SPLIT))
    last = len(NIGHTS) - 1
    hits = sum(part.values[last] * part.n[last] for part in parts)
    alerted = sum(part.n[last] for part in parts)
    assert whole.values[last] == pytest.approx(hits / alerted)
    assert not any(part.alarms.any() for part in parts)
    assert len(outcome_charts(quiet[1], NIGHTS, RULES, 30)) == 3


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated() -> None:
    """Fifteen synthetic hospitals at a rate of three each: 1 to 45 alarms."""
    rules = Rules(REFERENCE, false_alarm_rate=3)
    nights = NIGHTS
    alarms = 0
    for seed in range(15):
        rng = np.random.default_rng([9, seed])
        sizes = rng.poisson(25, len(nights))
        n = int(sizes.sum())
        tokens = rng.integers(80, 400, n)
        admissions = pd.DataFrame(
            {
                "night": np.repeat(np.array(nights, dtype="datetime64[us]"), sizes),
                "score": np.where(rng.random(n) < 0.02, np.nan, rng.beta(2, 5, n)),
                "n_notes": rng.poisson(3, n),
                "n_tokens": tokens,
                "n_tokens_cut": np.where(rng.random(n) < 0.02, tokens // 10, 0),
                "n_unknown": rng.binomial(tokens, 0.01),
                "categories": rng.choice(["a", "a + b", "b + c", "c"], n, p=[0.6, 0.3, 0.09, 0.01]),
            }
        )
        alarms += sum(int(c.alarms.sum()) for c in drift_charts(admissions, nights, rules))
    assert 0 < alarms <= 45


@pytest.mark.parametrize(("n", "m"), [(10, 10), (10, 40), (60, 30)])
def test_a_share_exceeds_its_limits_with_the_stated_probability(n: int, m: int) -> None:
    """Exact probabilities, averaged over Jeffreys' prior and at each rate."""
    level = 0.01
    rates = np.linspace(0.01, 0.99, 99)
    beyond = np.zeros(len(rates))
    for hits in range(n + 1):
        low, high = _count_limits([hits], [n], [m], level)
        outside = scipy_stats.binom.cdf(low - 1, m, rates) + scipy_stats.binom.sf(high, m, rates)
        beyond += scipy_stats.binom.pmf(hits, n, rates) * outside
    weights = scipy_stats.beta.pdf(rates, 0.5, 0.5)
    assert 0 < (beyond * weights).sum() / weights.sum() <= level
    assert beyond.max() <= 2 * level


def test_the_limits_of_groups_are_limits_of_the_sum() -> None:
    hits, size, now = [3, 9], [12, 20], [6, 9]
    each = [
        scipy_stats.betabinom(m, a + 0.5, n - a + 0.5)
        for a, n, m in zip(hits, size, now, strict=True)
    ]
    result = np.zeros(sum(now) + 1)
    for i in range(now[0] + 1):
        for j in range(now[1] + 1):
            result[i + j] += each[0].pmf(i) * each[1].pmf(j)
    for level in (0.2, 0.01):
        low, high = _count_limits(hits, size, now, level)
        assert result[:low].sum() <= level / 2 < result[: low + 1].sum()
        assert result[high + 1 :].sum() <= level / 2 < result[high:].sum()


def test_the_auroc_of_few_admissions_exceeds_its_limits_with_the_stated_probability() -> None:
    """Ten readmitted and thirty others."""
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [10, 30])
    alarms = 0
    for _ in range(3000):
        reference, block = (
            pd.DataFrame({"score": rng.normal(size=40) + 0.36 * label, "label": label})
            for _ in range(2)
        )
        value, low, high = _auroc_limits(reference, block, 0.005)
        alarms += not low <= value <= high
    assert 0 < alarms <= scipy_stats.binom.isf(0.01, 3000, 0.005)


def test_weekdays_widen_the_limits() -> None:
    """Other patients are admitted on weekends; that is no drift."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for night in NIGHTS:
        weekend = night.weekday() >= 5
        for _ in range(40):
            rows.append({"night": night, "score": rng.beta(4 if weekend else 2, 4)})
    admissions = pd.DataFrame(rows).assign(
        n_notes=2, n_tokens=100, n_tokens_cut=0, n_unknown=0, categories="a"
    )
    assert first_alarms(drift_charts(admissions, NIGHTS, RULES)) == {}


@pytest.mark.parametrize("intake", [1, 400])
def test_later_nights_do_not_change_earlier_results(
    quiet: tuple[pd.DataFrame, pd.DataFrame], intake: int
) -> None:
    """The later nights have far fewer or far more admissions."""
    rules = Rules(REFERENCE, false_alarm_rate=1)
    n = REFERENCE + 6
    early = quiet[0][quiet[0].night < NIGHTS[n]]
    early = early.assign(score=early.score.where(early.night < NIGHTS[n - 2], 0.97))
    later = [early[:intake].assign(night=night) for night in NIGHTS[n : 3 * n]]
    before = drift_charts(early, NIGHTS[:n], rules)
    after = drift_charts(pd.concat([early, *later]), NIGHTS[: 3 * n], rules)
    assert sum(int(chart.alarms.sum()) for chart in before) > 1
    for then, now in zip(before, after, strict=True):
        assert now.reference == then.reference
        for figure in ("values", "high", "shown", "n", "alarms"):
            np.testing.assert_array_equal(getattr(now, figure)[:n], getattr(then, figure))


def test_limits_depend_on_the_variation_of_the_reference_nights() -> None:
    rng = np.random.default_rng(6)
    hits = rng.binomial(12, rng.beta(8, 5, REFERENCE + 1))
    admissions = pd.DataFrame(
        {
            "night": np.repeat(np.array(NIGHTS[: REFERENCE + 1], dtype="datetime64[us]"), 12),
            "categories": [name for n in hits for name in ["a"] * n + ["b"] * (12 - n)],
        }
    ).assign(score=0.5, n_notes=1, n_tokens=100, n_tokens_cut=0, n_unknown=0)
    charts = drift_charts(admissions, NIGHTS[: REFERENCE + 1], RULES)
    one = next(c for c in charts if (c.name, c.span) == ("categories", 1))
    nights = np.stack([hits, 12 - hits], axis=1)[:REFERENCE]
    spread = widening_factor(nights, RULES.level)
    assert spread > 1.3 * dispersion(nights) > 1.5
    limit = chance_limit(nights.sum(axis=0), 12, RULES.level)
    assert one.high[REFERENCE] == pytest.approx(spread * limit)


def test_a_larger_loss_in_equally_many_admissions_is_flagged() -> None:
    """A fifth of the admissions lose tokens; after the reference each loses ten times as many."""
    rng = np.random.default_rng(8)
    nights = NIGHTS[: REFERENCE + 7]
    loses = np.tile(np.arange(25) < 5, len(nights))
    night = np.repeat(np.array(nights, dtype="datetime64[us]"), 25)
    size = rng.integers(1, 10, len(night)) * np.where(night < night[25 * REFERENCE], 1, 10)
    admissions = pd.DataFrame({"night": night, "n_tokens_cut": np.where(loses, size, 0)}).assign(
        n_tokens=100, n_unknown=0, n_notes=1, score=0.5, categories="a"
    )
    result = first_alarms(drift_charts(admissions, nights, RULES))
    assert {name for name, _ in result} == {"token_loss"}


def test_nothing_is_tested_before_the_reference_is_complete(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    for n in (1, 10, REFERENCE):
        few = NIGHTS[:n]
        admissions = quiet[0][quiet[0].night <= few[-1]]
        for chart in drift_charts(admissions, few, RULES):
            assert np.isnan(chart.high).all() and not chart.alarms.any()
    empty = quiet[1][:0]
    for chart in outcome_charts(empty, NIGHTS, RULES, 30):
        assert not chart.alarms.any()


def test_a_night_without_a_new_admission_has_no_index(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    admissions = quiet[0][quiet[0].night != BREAK]
    one = next(
        c for c in drift_charts(admissions, NIGHTS, RULES) if (c.name, c.span) == ("score", 1)
    )
    assert np.isnan(one.values[60]) and not np.isnan(one.values[61]) and one.n[60] == 0


def test_auroc_and_its_variance() -> None:
    rng = np.random.default_rng(2)
    labels = rng.random(300) < 0.3
    scores = np.round(rng.normal(size=300) + labels, 1)  # ties
    result = auroc(scores, labels)
    assert result.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    # DeLong's components, pair by pair.
    pos, neg = scores[labels], scores[~labels]
    wins = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)
    v10, v01 = wins.mean(axis=1), wins.mean(axis=0)
    expected = v10.var(ddof=1) / len(pos) + v01.var(ddof=1) / len(neg)
    assert result.variance == pytest.approx(expected, rel=1e-12)


def test_only_settled_outcomes_of_the_right_nights_are_in_a_block(
    quiet: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    outcomes = quiet[1]
    chart = next(c for c in outcome_charts(outcomes, NIGHTS, RULES, 30) if c.name == "calibration")
    t = 90
    settled = outcomes.dischtime + timedelta(days=30)
    block = outcomes[
        (settled <= NIGHTS[t])
        & (settled > NIGHTS[t - REFERENCE])
        & (outcomes.dischtime > NIGHTS[REFERENCE - 1])
    ]
    assert chart.n[t] == len(block) > 100
    # By hand: tenths of the reference, their rates, and what they make of the block.
    then = outcomes[outcomes.dischtime <= NIGHTS[REFERENCE - 1]]
    edges = np.unique(np.quantile(then.score, np.arange(1, 10) / 10, method="inverted_cdf"))
    group, block_group = (np.searchsorted(edges, s.score) for s in (then, block))
    rate = [(then.label[group == g].sum() + 0.5) / ((group == g).sum() + 1) for g in range(10)]
    assert chart.values[t] == pytest.approx(block.label.sum() / sum(rate[g] for g in block_group))
