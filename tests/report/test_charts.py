"""Places of marks are within their picture and in order, and labels are round."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import fitted, load

from cipherfit.report import charts
from cipherfit.report.proof import proof_of

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)


@given(NUMBERS, NUMBERS, st.integers(2, 8))
def test_labels_of_a_linear_axis_are_few_round_and_where_they_say(low, high, n):
    axis = charts.linear(low, high, n)
    assert len(axis.ticks) <= n + 2
    places = [tick.place for tick in axis.ticks]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert axis.place(axis.low) == 0
    assert axis.place(axis.high) == 100


def test_known_labels():
    axis = charts.linear(0, 1, 4)
    assert [(tick.label, tick.place) for tick in axis.ticks] == [
        ("0", 0), ("0.25", 25), ("0.5", 50), ("0.75", 75), ("1", 100),
    ]  # fmt: skip
    assert [tick.label for tick in charts.linear(0, 262143, 2).ticks] == ["0", "200k"]
    assert [tick.label for tick in charts.logarithmic([0.002, 3]).ticks] == [
        "10 ms", "100 ms", "1 s",
    ]  # fmt: skip
    assert [tick.label for tick in charts.logarithmic([0.2, 0.3]).ticks] == ["200 ms", "300 ms"]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_values_on_a_logarithmic_axis_are_in_order(values):
    axis = charts.logarithmic(values)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert 0 < min(places) <= max(places) < 100


def test_an_axis_of_one_value_or_none_has_a_width():
    for values in ([3.0], [], [math.nan, math.inf]):
        axis = charts.padded(values)
        assert axis.low < axis.high


def test_bars_of_a_proof_are_in_its_picture_and_seen_ones_within_proven_ones():
    X, _ = load("digits")
    graph = fitted("digits").graph_
    layer = proof_of(graph, graph.quantize(X)).layers[0]
    picture = charts.proof_picture(layer)
    assert len(picture.proven) == len(picture.seen) == layer.n_neurons
    for outer, inner, bar in zip(picture.proven, picture.seen, layer.bars, strict=True):
        assert outer.x < inner.x
        assert inner.x + inner.width < outer.x + outer.width <= 100
        assert outer.y <= inner.y + 0.01
        assert outer.y + outer.height == pytest.approx(100, abs=0.01)
        assert outer.height == pytest.approx(100 * bar.width / 255, abs=0.01)
        assert inner.height == pytest.approx(100 * (bar.seen[1] - bar.seen[0]) / 255, abs=0.01)
        assert f"proven 0 to {bar.width}" in outer.title
