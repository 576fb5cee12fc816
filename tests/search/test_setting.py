"""Rounding read off a graph gives tables that the old graph says, and a graph that is proven."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import fitted, load

from cipherfit import twin
from cipherfit.search.setting import GraphRounder, NetworkRounder, Setting, rounded


def trained():
    return fitted("iris", 3, n_hidden=4, n_a_bits=2, n_accum_bits=7, n_lookup_bits=7)


@given(st.lists(st.tuples(st.integers(1, 7), st.sampled_from(["exact", "approximate"])), min_size=2,
                max_size=2))  # fmt: skip
def test_a_rounded_graph_reads_the_old_tables_in_the_middle_of_each_step(ways):
    old = trained().graph_
    widths = tuple(layer.bits for layer in old.prove().layers[:2])
    bits = tuple(min(bit, width) for (bit, _), width in zip(ways, widths, strict=True))
    setting = Setting(bits, widths, tuple(kind for _, kind in ways))
    new = rounded(old, setting)
    parts, before = new.to_dict(), old.to_dict()
    codes = np.array(list(product(range(2**old.n_bits), repeat=2)), dtype=np.int64)
    codes = np.concatenate([codes, codes[::-1]], axis=1)
    values = codes
    for number in range(2):
        linear, lookup = before["layers"][2 * number : 2 * number + 2]
        sums = values @ linear["weights"].T + linear["offset"]
        made = parts["layers"][2 * number + 1]
        assert made["lsbs"] == widths[number] - bits[number]
        half = 2 ** made["lsbs"] // 2
        # The middle of the step that a sum is rounded to, as far as the old table knows it.
        steps = (sums - made["low"] + half) >> made["lsbs"]
        middles = made["low"] + (steps << made["lsbs"])
        index = np.minimum(middles - lookup["low"], [len(table) - 1 for table in lookup["tables"]])
        values = np.stack(
            [table[i] for table, i in zip(lookup["tables"], index.T, strict=True)], axis=1
        )
    sums = values @ before["layers"][4]["weights"].T + before["layers"][4]["offset"]
    assert np.array_equal(new.simulate(codes.astype(np.uint16)), sums)
    assert np.array_equal(twin.simulate(parts, codes), sums)


def test_reading_all_bits_changes_nothing():
    old = trained().graph_
    same = rounded(old, GraphRounder(trained().predictor_).setting())
    assert same == old


@pytest.mark.parametrize("bits", [3, 5])
def test_a_graph_and_its_network_agree_on_how_they_round_and_nearly_on_the_result(bits):
    model = fitted("breast_cancer", n_hidden=4, n_accum_bits=8, n_lookup_bits=8)
    by_network = NetworkRounder(model, model.module_)
    by_graph = GraphRounder(model.predictor_)
    for rounder in (by_network, by_graph):
        setting = rounder.setting()
        assert setting.kinds == ("none",)
        coarser = Setting((bits,), setting.widths, ("exact",))
        assert coarser.kinds == ("exact",)
        assert all(other.bits != setting.bits for other in setting.variants(0))
        lookup = rounder.lowered(coarser).to_dict()["layers"][1]
        assert lookup["lsbs"] == setting.widths[0] - bits
        assert lookup["exact"]
    X = load("breast_cancer")[0]
    predictions = [
        rounder.applied(Setting((bits,), rounder.setting().widths, ("exact",))).predict(X)
        for rounder in (by_network, by_graph)
    ]
    assert np.mean(predictions[0] == predictions[1]) > 0.97
