"""What is shown of the proof is what is proven, and what rows reach is what they reach."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_parts
from samples import fitted, load

from cipherfit import IntegerGraph, twin
from cipherfit.report.proof import MOST_BARS, MOST_NEURONS, proof_of
from cipherfit.stages import encrypted_part


def accumulators(parts, codes):
    """What each linear layer gives, by the readable twin."""
    return [
        twin.simulate({**parts, "layers": parts["layers"][: 2 * index + 1]}, codes)
        for index in range(len(parts["layers"]) // 2 + 1)
    ]


@pytest.mark.parametrize("n_client_layers", [0, 1])
def test_every_neuron_has_its_interval_and_what_rows_reach(n_client_layers):
    parts = random_parts(3, (6, 7, 5, 3), n_client_layers=n_client_layers)
    graph = IntegerGraph.from_layers(**parts)
    codes = np.random.default_rng(0).integers(0, 8, size=(50, 6)).astype(np.uint16)
    found = proof_of(graph, codes)
    assert (found.n_layers, found.n_rows) == (3, 50)
    assert (found.graph, found.digest) == (graph.digest, encrypted_part(graph).digest)
    assert [layer.side for layer in found.layers].count("client") == n_client_layers
    layers = zip(found.layers, twin.prove(parts), accumulators(parts, codes), strict=True)
    for layer, (low, high), reached in layers:
        assert [neuron.low for neuron in layer.neurons] == low.tolist()
        assert [neuron.high for neuron in layer.neurons] == high.tolist()
        assert [neuron.seen_low for neuron in layer.neurons] == reached.min(axis=0).tolist()
        assert [neuron.seen_high for neuron in layer.neurons] == reached.max(axis=0).tolist()
        assert [bar.width for bar in layer.bars] == (high - low).tolist()
        seen = [(bar.seen[0], bar.seen[1]) for bar in layer.bars]
        from_minimum = reached - low
        expected = zip(from_minimum.min(axis=0), from_minimum.max(axis=0), strict=True)
        assert seen == [(int(a), int(b)) for a, b in expected]
        assert layer.seen_share == max(b - a for a, b in seen) / max(high - low)


def test_what_rows_reach_doesnt_hang_on_how_many_are_computed_at_once(monkeypatch):
    graph = IntegerGraph.from_layers(**random_parts(5))
    codes = np.random.default_rng(1).integers(0, 8, size=(100, 6)).astype(np.uint16)
    whole = proof_of(graph, codes)
    monkeypatch.setattr("cipherfit.report.proof._BATCH", 7)
    assert proof_of(graph, codes) == whole


def test_wide_layers_are_shown_in_groups_that_leave_no_neuron_out():
    X, _ = load("iris")
    graph = fitted("iris", n_client_layers=1, n_hidden=500, epochs=1).graph_
    first = proof_of(graph, graph.quantize(X)).layers[0]
    assert first.n_neurons == 500
    assert len(first.bars) <= MOST_BARS
    assert len(first.neurons) == MOST_NEURONS
    assert [bar.first for bar in first.bars[1:]] == [bar.last + 1 for bar in first.bars[:-1]]
    assert (first.bars[0].first, first.bars[-1].last) == (0, 499)
    proof = graph.prove().layers[0]
    for bar in first.bars:
        group = slice(bar.first, bar.last + 1)
        assert bar.width == (proof.high - proof.low)[group].max()
        assert 0 <= bar.seen[0] <= bar.seen[1] <= bar.width
    shown = {neuron.number for neuron in first.neurons}
    hidden = set(range(500)) - shown
    assert max(proof.headroom[[*shown]]) <= min(proof.headroom[[*hidden]])


def test_without_rows_only_what_is_proven_is_shown():
    graph = IntegerGraph.from_layers(**random_parts(5))
    found = proof_of(graph)
    assert found.n_rows == 0
    assert all(bar.seen is None for layer in found.layers for bar in layer.bars)
    assert found.layers[0].neurons[0].seen_low is None
    assert found.layers[0].seen_share is None
