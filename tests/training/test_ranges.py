"""Ranges hold the bulk, and tails that tell targets apart, no others and no further than needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import load

from cipherfit.training.quantizers import InputQuantizer
from cipherfit.training.ranges import Relevance, value_ranges
from cipherfit.training.widths import default_in_bits

MAX_CODE = 31


def ranges(x, by=None, max_code=MAX_CODE, tail=0.01):
    columns = torch.as_tensor(np.asarray(x, dtype=np.float64).reshape(len(x), -1))
    return [end.numpy() for end in value_ranges(columns, max_code, tail, by or Relevance())]


def codes(x, by, n_bits=5):
    quantizer = InputQuantizer(1, n_bits)
    quantizer.calibrate(torch.as_tensor(x[:, None]), by=by)
    return quantizer.eval()(torch.as_tensor(x[:, None])).numpy()[:, 0]


def told_apart(codes, rare):
    """Return the share of rare rows on codes that they hold the most of."""
    theirs = [code for code in np.unique(codes) if rare[codes == code].mean() > 0.5]
    return np.isin(codes[rare == 1], theirs).mean()


def with_rare(shift, share=0.008, n=3000, seed=0):
    """Return a normal feature, and which rows of a rare class lie elsewhere."""
    rng = np.random.default_rng(seed)
    rare = np.arange(n) < share * n
    return rng.normal(size=n) + np.where(rare, shift, 0.0), rare.astype(int)


@pytest.mark.parametrize("n_bits", [2, 3, 5, 7])
@pytest.mark.parametrize("shift", [8.0, -8.0, 30.0, 1e6])
def test_a_rare_class_in_a_tail_has_codes_of_its_own_and_the_bulk_keeps_its(shift, n_bits):
    x, y = with_rare(shift)
    got = codes(x, Relevance.of_classes(y), n_bits)
    assert told_apart(got, y) > 0.95
    assert len(np.unique(got[y == 0])) >= 2 ** (n_bits - 2), "the tail took nearly all codes"
    gap = np.median(got[y == 1]) - np.quantile(got[y == 0], 0.998 if shift > 0 else 0.002)
    assert np.sign(shift) * gap >= 2 ** (n_bits - 2), "the class hugs the bulk"


def test_two_rare_classes_in_one_tail_are_told_apart():
    x, y = with_rare(8.0, 0.016)
    y[(y == 1) & (np.arange(len(x)) % 2 == 0)] = 2
    x[y == 2] += 8.0
    got = codes(x, Relevance.of_classes(y))
    assert told_apart(got, y == 1) > 0.95
    assert told_apart(got, y == 2) > 0.95


def test_a_rare_class_at_both_ends_is_kept_at_both():
    x, y = with_rare(8.0)
    x[:12] -= 16.0
    low, high = ranges(x, Relevance.of_classes(y))
    assert low[0] < -4
    assert high[0] > 4


def test_rare_values_that_tell_nothing_stay_clamped():
    x, rare = with_rare(8.0)
    rng = np.random.default_rng(1)
    for by in (
        Relevance.of_classes(rng.integers(0, 3, len(x))),
        Relevance.of_classes(np.arange(len(x)) < len(x) // 2),
        Relevance.of_targets(rng.normal(size=(len(x), 2))),
        Relevance.of_classes(np.zeros(len(x), dtype=int)),
    ):
        np.testing.assert_array_equal(ranges(x, by), ranges(x))
    np.testing.assert_array_equal(ranges(x, Relevance()), ranges(x))
    one = np.arange(len(x)) == x.argmax()
    assert rare[one].all()
    four = one | np.isin(np.arange(len(x)), [1000, 1001, 1002])  # and one of them in the tail
    assert not rare[1000:1003].any()
    for by in (
        Relevance.of_classes(one),
        Relevance.of_classes(four),
        Relevance.of_targets(1e6 * one),
    ):
        np.testing.assert_array_equal(ranges(x, by), ranges(x))


def test_a_tail_that_holds_much_of_a_targets_variance_is_kept():
    x, rare = with_rare(8.0)
    y = np.random.default_rng(1).normal(size=(len(x), 2))
    y[:, 1] += 10.0 * rare
    assert ranges(x, Relevance.of_targets(y))[1][0] > 4 > ranges(x)[1][0]


def test_weights_decide_how_much_lies_in_a_tail():
    x, rare = with_rare(8.0)
    y = np.arange(len(x)) % 2
    heavy = np.where(rare, 30.0, 1.0)
    assert ranges(x, Relevance(None, heavy))[1][0] > 8
    assert ranges(x, Relevance.of_classes(rare, class_weight=[1.0, 30.0]))[1][0] > 8
    assert ranges(x, Relevance.of_classes(y, 7.5 * np.ones(len(x))))[1][0] == ranges(x)[1][0]
    far = np.where(rare, 1e6, x)
    assert 8 < ranges(far, Relevance(None, heavy))[1][0] < 20, "the bulk lost its codes"


@pytest.mark.parametrize("n", [2, 5, 101, 150, 998])
def test_weights_that_make_no_tail_heavy_change_nothing(n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    for weights in (np.full(n, 3.0), rng.uniform(0.5, 1.0, n), np.where(np.abs(x[:, 0]) < 1, 2, 1)):
        for tail in (0.0, 0.01, 0.1):
            weighted = ranges(x, Relevance(None, weights * 1.0), tail=tail)
            np.testing.assert_array_equal(weighted, ranges(x, tail=tail))


@pytest.mark.parametrize("name", ["iris", "wine", "digits", "breast_cancer", "diabetes"])
def test_ordinary_tables_keep_the_range_of_their_bulk(name):
    X, y = load(name)
    by = Relevance.of_targets(y) if name == "diabetes" else Relevance.of_classes(y)
    max_code = 2 ** default_in_bits(X.shape[1], 3, 3, 8) - 1
    np.testing.assert_array_equal(ranges(X, by, max_code), ranges(X, None, max_code))


@pytest.mark.parametrize("n", range(1, 8))
def test_few_rows_of_unequal_weights_have_a_range(n):
    by = Relevance.of_classes(np.arange(n) % 2, np.logspace(-3, 0, n))
    low, high = ranges(np.arange(n), by)
    assert low[0] <= high[0]
