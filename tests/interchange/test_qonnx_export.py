"""QONNX's executor computes a graph's own integers with its export."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import graph_parts, random_features
from hypothesis import given, settings
from samples import fitted, load

from cipherfit import IntegerGraph, from_qonnx, to_qonnx
from cipherfit.exceptions import ProofError
from cipherfit.interchange.qonnx_chain import read
from cipherfit.interchange.qonnx_nodes import run_all

pytest.importorskip("qonnx")

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx


def executed(graph, codes):
    model = ModelWrapper(to_qonnx(graph))
    rows = [
        execute_onnx(model, {"codes": row[None].astype(np.float32)})["accumulators"]
        for row in codes
    ]
    return np.concatenate(rows)


@settings(max_examples=15)
@given(parts=graph_parts())
def test_qonnxs_executor_gives_the_graphs_integers(parts):
    graph = IntegerGraph.from_layers(**parts)
    codes = graph.quantize(random_features(parts, 3))
    assert np.array_equal(executed(graph, codes), graph.simulate(codes))


@pytest.mark.parametrize("name", ["iris", "digits", "diabetes"])
def test_what_is_exported_is_imported_as_the_same_integers(name):
    X, _ = load(name)
    model = fitted(name)
    graph = model.graph_
    again = from_qonnx(to_qonnx(graph)).graph
    codes = graph.quantize(X)
    sums, found = graph.simulate(codes), again.run(codes.astype(np.float32))
    assert np.array_equal(np.rint(found), sums)
    chain = read(to_qonnx(graph))
    rows = run_all(chain.nodes, codes.astype(np.float32), chain.shape)
    assert np.array_equal(rows, sums)


@pytest.mark.parametrize("table", [[3, 2, 2, 0], [1, 1, 1, 1], [0, 2, 3, 3], [1, 3, 0, 2]])
def test_tables_that_rise_fall_stay_or_do_both(table):
    ones = np.ones((1, 1), dtype=np.int64)
    linear = {"kind": "linear", "weights": ones, "offset": np.zeros(1, dtype=np.int64)}
    lookup = {"kind": "lookup", "low": np.zeros(1, dtype=np.int64), "lsbs": 0, "exact": True}
    graph = IntegerGraph.from_layers(
        {"scale": np.ones(1), "zero_point": np.zeros(1, dtype=np.int64), "n_bits": 2},
        [linear, {**lookup, "tables": [np.array(table)]}, linear],
        {"scale": np.ones(1), "offset": np.zeros(1)},
    )
    assert executed(graph, np.arange(4)[:, None])[:, 0].tolist() == table


def test_sums_that_float32_does_not_hold_are_refused():
    graph = IntegerGraph.from_layers(
        {"scale": np.ones(2), "zero_point": np.zeros(2, dtype=np.int64), "n_bits": 16},
        [{"kind": "linear", "weights": np.array([[200, 200]]), "offset": np.zeros(1, np.int64)}],
        {"scale": np.ones(1), "offset": np.zeros(1)},
    )
    with pytest.raises(ProofError, match="layer 0, neuron 0: sums can have 25 bits"):
        to_qonnx(graph)
