"""Intervals are those of their formulas, and hold what they say how often."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cipherfit.report.intervals import bootstrapped, mean, paired_shares, share


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (437, 450), (3, 7)])
def test_shares_have_wilsons_interval(hits, n):
    found = share(hits, n)
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert found.value == hits / n
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_means_have_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, size=50)
    found = mean(values)
    expected = stats.norm.interval(0.95, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert mean(values[:1]).high == math.inf


def test_the_difference_of_paired_shares_is_found_as_often_as_said():
    random = np.random.default_rng(1)
    truth, hit = 0.05, 0
    for _ in range(2000):
        ours = random.random(300) < 0.85
        others = ours | ((random.random(300) < truth / 0.15) & ~ours)
        found = paired_shares(ours, others)
        assert found.value == pytest.approx(others.mean() - ours.mean())
        hit += found.low <= truth <= found.high
    assert 0.93 < hit / 2000 < 0.985


def test_the_difference_of_paired_shares_is_agrestis_and_mins():
    # By hand: 10 of 100 rows gained, 5 lost, half a row more of either.
    found = paired_shares(np.arange(100) < 85, (np.arange(100) >= 5) & (np.arange(100) < 95))
    assert found.value == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((-0.027251, 0.125290), abs=1e-6)


def test_answers_that_never_differ_still_leave_room_for_a_difference():
    same = paired_shares(np.ones(100, dtype=bool), np.ones(100, dtype=bool))
    assert same.value == 0
    assert same.low < 0 < same.high


def test_the_bootstrap_is_the_percentile_one_and_repeats():
    values = np.random.default_rng(2).exponential(size=200)
    (found,) = bootstrapped(lambda rows: np.array([values[rows].mean()]), 200)
    random = np.random.default_rng(3)
    resampled = random.choice(values, size=(20_000, 200)).mean(axis=1)
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.02)
    assert bootstrapped(lambda rows: np.array([values[rows].mean()]), 200) == [found]


def test_statistics_that_resamples_may_lack_leave_those_out():
    def r2(rows):
        return np.array([1 / np.ptp(rows)])

    (found,) = bootstrapped(r2, 2)  # half of the resamples hold one row twice
    assert (found.low, found.high) == (1, 1)
    (none,) = bootstrapped(lambda rows: np.array([1 / np.zeros(1)[0]]), 3)
    assert math.isnan(none.low)
