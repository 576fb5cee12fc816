from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from core_graphs import graph_parts, random_parts
from hypothesis import given

from cipherfit import IntegerGraph, twin
from cipherfit.exceptions import InvalidParameterError, ProofError

PARTS = random_parts(0)
GRAPH = IntegerGraph.from_layers(**PARTS)


@given(graph_parts())
def test_bounds_equal_the_twin(parts):
    certificate = IntegerGraph.from_layers(**parts).prove()
    linears = [layer for layer in parts["layers"] if layer["kind"] == "linear"]
    lookups = [layer for layer in parts["layers"] if layer["kind"] == "lookup"]
    bounds = twin.prove(parts)
    assert len(certificate.layers) == len(bounds)
    for layer, linear, (low, high) in zip(certificate.layers, linears, bounds, strict=True):
        np.testing.assert_array_equal(layer.low, low)
        np.testing.assert_array_equal(layer.high, high)
        bits = [int(width).bit_length() for width in high - low]
        assert layer.neuron_bits.tolist() == bits
        assert layer.bits == max(bits)
        np.testing.assert_array_equal(layer.headroom, 2**layer.bits - 1 - (high - low))
        np.testing.assert_array_equal(layer.nonzeros, np.count_nonzero(linear["weights"], axis=1))
        for array in (layer.low, layer.high, layer.neuron_bits, layer.headroom, layer.nonzeros):
            assert array.dtype == np.int64
    for layer, lookup in zip(certificate.layers, lookups, strict=False):
        longest = max(len(table) for table in lookup["tables"])
        assert layer.lookup_bits == (longest - 1).bit_length()
    assert certificate.layers[-1].lookup_bits is None
    assert certificate.max_accumulator_bits == max(layer.bits for layer in certificate.layers)


@given(graph_parts())
def test_witnesses_reach_both_ends_of_the_first_layer(parts):
    certificate = IntegerGraph.from_layers(**parts).prove()
    linear, first = parts["layers"][0], certificate.layers[0]
    for codes, end in zip(certificate.witnesses(), (first.low, first.high), strict=True):
        assert codes.dtype == np.uint16
        accumulators = np.sum(linear["weights"] * codes.astype(int), axis=1) + linear["offset"]
        np.testing.assert_array_equal(accumulators, end)


def test_a_budget_that_is_met_is_proven_and_one_that_is_not_says_where():
    bits = GRAPH.prove().max_accumulator_bits
    assert GRAPH.prove(bits) == GRAPH.prove(max_bits=bits)
    with pytest.raises(ProofError, match=f"where {bits - 1} are allowed") as caught:
        GRAPH.prove(bits - 1)
    error = caught.value
    low, high = twin.prove(PARTS)[error.layer // 2]
    assert error.neuron == np.argmax(high - low)
    assert (error.low, error.high) == (low[error.neuron], high[error.neuron])
    assert error.bits_needed == (error.high - error.low).bit_length()
    assert error.bits_allowed == bits - 1


@pytest.mark.parametrize("max_bits", [0, -1, 64, 10**50])
def test_a_budget_out_of_range_is_refused(max_bits):
    with pytest.raises(InvalidParameterError, match="max_bits"):
        GRAPH.prove(max_bits)


def test_a_certificate_belongs_to_its_graph():
    certificate = GRAPH.prove()
    assert certificate.digest == GRAPH.digest
    assert certificate != IntegerGraph.from_layers(**random_parts(1)).prove()


def test_a_certificate_survives_pickling():
    certificate = GRAPH.prove()
    copy = pickle.loads(pickle.dumps(certificate))
    assert copy == certificate
    assert hash(copy) == hash(certificate)
    assert copy.to_dict() == certificate.to_dict()


def test_a_certificate_as_a_dict_is_ready_for_json():
    certificate = GRAPH.prove()
    record = json.loads(json.dumps(certificate.to_dict()))
    assert record["digest"] == GRAPH.digest
    assert record["max_accumulator_bits"] == certificate.max_accumulator_bits
    for entry, layer in zip(record["layers"], certificate.layers, strict=True):
        for name, value in entry.items():
            assert value == np.asarray(getattr(layer, name)).tolist()


def test_a_certificate_shows_a_line_per_layer():
    lines = repr(GRAPH.prove()).splitlines()
    assert lines[0].startswith(f"Certificate({GRAPH.digest[:8]}, accumulators of ")
    assert len(lines) == 2 + 2
    low, high = twin.prove(PARTS)[0]
    assert f"[{low.min()}, {high.max()}]" in lines[2]
    assert "LayerCertificate(4 neurons, " in repr(GRAPH.prove().layers[0])
