from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from core_graphs import graph_parts, random_parts
from hypothesis import given

from cipherfit import IntegerGraph
from cipherfit.exceptions import GraphError, InputTypeError, ProofError, SerializationError

PARTS = random_parts(0)
GRAPH = IntegerGraph.from_layers(**PARTS)


def changed(part: str, **entries):
    """PARTS with entries of one part replaced, or left out where they are ``...``."""
    parts = copy.deepcopy(PARTS)
    target = parts["layers"][int(part)] if part.isdigit() else parts[part]
    target.update(entries)
    for key in [key for key, value in target.items() if value is ...]:
        del target[key]
    return parts


@given(graph_parts())
def test_a_graph_survives_dict_bytes_and_pickle(parts):
    graph = IntegerGraph.from_layers(**parts)
    for other in (
        IntegerGraph.from_layers(**graph.to_dict()),
        IntegerGraph.from_bytes(graph.to_bytes()),
        pickle.loads(pickle.dumps(graph)),
    ):
        assert other == graph
        assert hash(other) == hash(graph)
        assert other.digest == graph.digest
    np.testing.assert_equal(graph.to_dict(), parts)


def test_copies_are_the_graph_itself():
    assert copy.copy(GRAPH) is GRAPH
    assert copy.deepcopy(GRAPH) is GRAPH


def test_other_graphs_and_other_things_are_not_equal():
    other = IntegerGraph.from_layers(**random_parts(1))
    assert other != GRAPH
    assert other.digest != GRAPH.digest
    assert GRAPH.digest != GRAPH
    assert len({GRAPH, other, IntegerGraph.from_layers(**PARTS)}) == 2


def test_the_hash_is_the_same_in_another_process():
    code = "import pickle, sys; print(hash(pickle.load(sys.stdin.buffer)))"
    run = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(GRAPH), capture_output=True, check=True
    )
    assert int(run.stdout) == hash(GRAPH)


def test_a_graph_says_its_sizes():
    assert (GRAPH.n_features, GRAPH.n_outputs, GRAPH.n_bits, GRAPH.n_lookups) == (6, 3, 3, 4)
    bits = GRAPH.prove().max_accumulator_bits
    assert repr(GRAPH) == (
        f"IntegerGraph(6 -> 4 -> 3, 3-bit inputs, 4 lookups, accumulators of {bits} bits, "
        f"{GRAPH.digest[:8]})"
    )


def test_a_graph_can_not_be_changed():
    with pytest.raises(AttributeError):
        GRAPH.n_bits = 2
    GRAPH.to_dict()["layers"][0]["weights"][:] = 0
    np.testing.assert_array_equal(
        GRAPH.to_dict()["layers"][0]["weights"], PARTS["layers"][0]["weights"]
    )


@pytest.mark.parametrize("low", [..., None])
def test_the_low_of_a_lookup_may_be_left_out(low):
    assert IntegerGraph.from_layers(**changed("1", low=low)) == GRAPH


def test_lists_and_small_integer_types_are_taken():
    parts = copy.deepcopy(PARTS)
    parts["input"]["zero_point"] = parts["input"]["zero_point"].astype("i1")
    parts["layers"][0]["weights"] = parts["layers"][0]["weights"].tolist()
    parts["layers"][1]["tables"] = [table.astype("u1") for table in parts["layers"][1]["tables"]]
    parts["layers"] = tuple(parts["layers"])
    assert IntegerGraph.from_layers(**parts) == GRAPH


def test_rounding_nothing_away_is_exact():
    parts = random_parts(0, lsbs=0)
    parts["layers"][1]["exact"] = False
    graph = IntegerGraph.from_layers(**parts)
    assert graph.to_dict()["layers"][1]["exact"] is True


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (changed("input", scale=...), "input: entry 'scale' is missing"),
        (changed("input", signed=True), "input: unknown entry 'signed'"),
        (changed("input", n_bits=17), r"input: n_bits must be in \[1, 16\], got 17"),
        (changed("input", scale=[1.0]), "input: zero_point has 6 entries where 1 are needed"),
        (changed("input", scale=np.ones((6, 1))), "input: scale must have one dimension"),
        (changed("output", scale=[1.0, 0.0, 1.0]), r"output: scale\[1\] must be finite and pos"),
        (changed("output", scale=[1.0], offset=[0.0]), "output: scale has 1 entries where 3"),
        (changed("0", kind="conv"), "layer 0: 'kind' must be 'linear' or 'lookup', got 'conv'"),
        (changed("0", kind=...), "layer 0: 'kind' must be 'linear' or 'lookup', got none"),
        (changed("0", bias=0), "layer 0: unknown entry 'bias'"),
        (changed("0", weights=[1, 2]), r"layer 0: weights must have shape \(4, n_in\)"),
        (changed("0", weights=np.ones((4, 5), int)), "layer 0: weights per neuron has 5"),
        (changed("1", exact=2), "layer 1: exact must be a bool"),
        (changed("1", lsbs=-1), r"layer 1: lsbs must be in \[0, 62\], got -1"),
        (changed("1", low=[0] * 4), "layer 1: low of neuron 0 is 0, but"),
        (changed("1", tables=[[0]]), "layer 1: tables has 1 entries where 4 are needed"),
        (changed("1", tables=[[0]] * 4), "layer 1: the table of neuron 0 has 1 entries where"),
        (changed("1", tables=[[70000] * 20] * 4), "layer 1: "),
        ({**PARTS, "layers": PARTS["layers"][:2]}, "output: scale has 3 entries where 4"),
        (changed("input", low=[0]), "input: low has 1 entries where 6 are needed"),
        (changed("input", low=[8] * 6), r"input: low\[0\] must be in \[0, 7\], got 8"),
        (changed("input", low=[3] * 6, high=[2] * 6), r"input: high\[0\] must be in \[3, 7\]"),
        ({**PARTS, "n_client_layers": 2}, r"layers: n_client_layers must be in \[0, 1\], got 2"),
        ({**PARTS, "layers": PARTS["layers"][1:]}, "layer 0: expected a linear layer here"),
        ({**PARTS, "layers": []}, "layers: at least one linear layer is needed"),
        ({**PARTS, "layers": [1]}, "layer 0: must be a dict, got 1"),
    ],
)
def test_parts_that_form_no_graph_are_named(parts, text):
    with pytest.raises(GraphError, match=text):
        IntegerGraph.from_layers(**parts)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (changed("0", weights=np.ones((4, 6))), "layer 0: weights must hold integers"),
        (changed("0", offset=[0.0] * 4), "layer 0: offset must hold integers"),
        (changed("1", tables=[[0.5]] * 4), r"layer 1: tables\[0\] must hold integers"),
        (changed("input", scale=["a"] * 6), "input: scale must hold real numbers"),
    ],
)
def test_arrays_of_the_wrong_type_are_named(parts, text):
    with pytest.raises(InputTypeError, match=text):
        IntegerGraph.from_layers(**parts)


def test_a_lookup_index_beyond_16_bits_has_no_proof():
    weights = np.array([[20_000] + [0] * 5] * 4)
    parts = changed("0", weights=weights, offset=[5] * 4)
    parts["layers"][1]["low"] = None
    with pytest.raises(ProofError, match="layer 0, neuron 0") as caught:
        IntegerGraph.from_layers(**parts)
    error = caught.value
    assert (error.layer, error.neuron, error.low, error.high) == (0, 0, 5, 140_005)
    assert (error.bits_needed, error.bits_allowed) == (17, 16)


def test_an_accumulator_beyond_64_bit_arithmetic_has_no_proof():
    weights = np.full((4, 6), 2**62)
    with pytest.raises(ProofError, match="its magnitude") as caught:
        IntegerGraph.from_layers(**changed("0", weights=weights, offset=[0] * 4))
    assert caught.value.high == 6 * 7 * 2**62


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a stored integer graph"),
        (pickle.dumps(1), "not a stored integer graph"),
        (GRAPH.to_bytes()[:-1], "the bytes are damaged"),
        (GRAPH.to_bytes() + b"x", "1 bytes follow after the graph's end"),
    ],
)
def test_bytes_that_are_no_graph_are_refused(data, text):
    with pytest.raises(SerializationError, match=text):
        IntegerGraph.from_bytes(data)
