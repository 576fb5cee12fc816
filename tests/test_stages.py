"""Stages hold a graph's layers in order, each with its proof and the lookup that reads it."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_features, random_parts

from cipherfit import IntegerGraph, twin
from cipherfit.stages import stages_of, up_to


@pytest.mark.parametrize("seed", range(8))
def test_stages_are_the_layers_of_the_graph(seed):
    graph = IntegerGraph.from_layers(**random_parts(seed, sizes=(6, 5, 4, 3), lsbs=seed % 3))
    found = stages_of(graph)
    layers, proofs = graph.to_dict()["layers"], graph.prove().layers
    assert len(found) == len(proofs)
    assert [stage.lookup is None for stage in found] == [False] * (len(found) - 1) + [True]
    for number, stage in enumerate(found):
        assert np.array_equal(stage.weights, layers[2 * number]["weights"])
        assert np.array_equal(stage.offset, layers[2 * number]["offset"])
        assert np.array_equal(stage.proof.high, proofs[number].high)
        assert stage.n_neurons == len(proofs[number].low)
        if stage.lookup is not None:
            lookup = layers[2 * number + 1]
            assert stage.lookup.lsbs == lookup["lsbs"]
            assert np.array_equal(stage.lookup.low, lookup["low"])
            assert list(map(list, stage.lookup.tables)) == list(map(list, lookup["tables"]))
            kind = "exact" if lookup["exact"] else "approximate"
            assert stage.lookup.rounding == (kind if lookup["lsbs"] else "none")


@pytest.mark.parametrize("seed", range(4))
def test_a_graph_up_to_a_layer_gives_the_accumulators_of_that_layer(seed):
    parts = random_parts(seed, sizes=(6, 5, 4, 3), lsbs=seed % 3, n_client_layers=seed % 2)
    graph = IntegerGraph.from_layers(**parts)
    codes = graph.quantize(random_features(parts, 30))
    for number in range(3):
        until = {**parts, "layers": parts["layers"][: 2 * number + 1]}
        assert np.array_equal(up_to(graph, number).simulate(codes), twin.simulate(until, codes))
