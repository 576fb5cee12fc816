"""Circuits of any graph: they compile, with proven types, and give the graph's integers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipherfit import IntegerGraph, compile_graph, run_encrypted, twin
from cipherfit.exceptions import CompilationError
from cipherfit.fhe.types import typed_stages
from cipherfit.integers import IntegerType
from cipherfit.stages import stages_of

pytestmark = pytest.mark.fhe


@st.composite
def small_graphs(draw):
    """Graphs of 1 to 3 layers and 1 to 3 bits: dead neurons, constant tables, signed outputs."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_bits, weight, lsbs = (draw(st.integers(0 if i else 1, 3)) for i in range(3))
    parts = {
        "input": {"scale": np.ones(sizes[0]), "zero_point": np.zeros(sizes[0], int),
                  "n_bits": n_bits},
        "layers": [],
        "output": {"scale": np.ones(sizes[-1]), "offset": np.zeros(sizes[-1])},
    }  # fmt: skip
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        weights = rng.integers(-weight, weight + 1, (n_out, n_in))
        offset = rng.integers(-9, 10, n_out)
        parts["layers"].append({"kind": "linear", "weights": weights, "offset": offset})
        if index + 2 < len(sizes):
            low, high = twin.prove(parts)[-1]
            lengths = ((high - low + 2**lsbs // 2) >> lsbs) + 1
            tables = [rng.integers(0, 4, length) for length in lengths]
            parts["layers"].append(
                {"kind": "lookup", "low": low, "lsbs": lsbs, "exact": True, "tables": tables}
            )
    return IntegerGraph.from_layers(**parts)


def corners(graph, n=12):
    """Return the cube's corners, the first layer's witnesses and random codes."""
    rng, top = np.random.default_rng(0), 2**graph.n_bits - 1
    shape = (n, graph.n_features)
    rows = [*graph.prove().witnesses(), top * rng.integers(0, 2, shape)]
    return np.concatenate([*rows, rng.integers(0, top + 1, shape)]).astype(np.uint16)


@given(small_graphs())
def test_every_graph_compiles_and_concretes_simulation_gives_its_integers(graph):
    circuit = compile_graph(graph, simulation_only=True, p_error=1e-12)
    codes = corners(graph)
    simulated = [circuit.simulate(row) for row in codes.astype(np.int64)]
    assert np.array_equal(simulated, graph.simulate(codes))


@settings(max_examples=max(4, settings.default.max_examples // 25))
@given(small_graphs())
def test_every_graph_decrypts_to_its_integers(graph):
    codes = corners(graph)[::6][:4]
    circuit = compile_graph(graph, p_error=1e-9)
    assert np.array_equal(run_encrypted(circuit, codes), graph.simulate(codes))


@settings(max_examples=max(2, settings.default.max_examples // 50))
@given(small_graphs())
def test_halves_of_a_graph_decrypt_to_its_integers(graph):
    for n in range(1, graph.n_lookups and len(graph.prove().layers)):
        client, server = graph.split(n)
        codes = corners(graph)[::9][:3]
        with pytest.raises(CompilationError, match="nothing of this graph is encrypted"):
            compile_graph(client)
        alone = IntegerGraph.from_layers(**{**client.to_dict(), "n_client_layers": 0})
        between = run_encrypted(compile_graph(alone, p_error=1e-9), codes).astype(np.uint16)
        assert np.array_equal(between, client.simulate(codes))
        marked = IntegerGraph.from_layers(**{**graph.to_dict(), "n_client_layers": n})
        circuit = compile_graph(marked, p_error=1e-9)
        assert np.array_equal(run_encrypted(circuit, between), graph.simulate(codes))
        assert bool(circuit.size_of_bootstrap_keys) <= bool(server.n_lookups)


def one_neuron(weight, offset, lsbs, table, signed_outputs=False):
    """Return 1 -> 1 -> 2 with a lookup of one table."""
    parts = {
        "input": {"scale": np.ones(1), "zero_point": np.zeros(1, int), "n_bits": 2},
        "layers": [
            {"kind": "linear", "weights": np.array([[weight]]), "offset": np.array([offset])},
            {"kind": "lookup", "low": np.array([offset]), "lsbs": lsbs, "exact": True,
             "tables": [np.array(table)]},
            {"kind": "linear", "weights": np.array([[1], [-1 if signed_outputs else 1]]),
             "offset": np.array([0, 0])},
        ],
        "output": {"scale": np.ones(2), "offset": np.zeros(2)},
    }  # fmt: skip
    return IntegerGraph.from_layers(**parts)


@pytest.mark.parametrize("lsbs", [0, 1, 5])
def test_a_layer_whose_rounding_leaves_no_bit_is_its_constant(lsbs):
    graph = one_neuron(0, -7, lsbs, [3])
    codes = np.arange(4, dtype=np.uint16)[:, None]
    assert run_encrypted(compile_graph(graph), codes).tolist() == [[3, 3]] * 4


def test_a_sum_that_only_one_input_makes_negative_is_signed():
    # Only the code 3 of 0..3 gives 1, and with it -1 in the second output.
    graph = one_neuron(1, 0, 0, [0, 0, 0, 1], signed_outputs=True)
    circuit = compile_graph(graph, p_error=1e-7)
    codes = np.arange(4, dtype=np.uint16)[:, None]
    assert run_encrypted(circuit, codes).tolist() == [[0, 0], [0, 0], [0, 0], [1, -1]]


@given(st.integers(-(2**20), 2**20), st.integers(0, 2**20))
def test_the_narrowest_type_holds_the_interval_and_half_of_it_does_not(low, width):
    high = low + width
    kind = IntegerType.of(low, high)
    least = -(2 ** (kind.bits - 1)) if kind.signed else 0
    most = 2 ** (kind.bits - kind.signed) - 1
    assert least <= low <= high <= most
    assert kind.signed == (low < 0)
    if kind.bits > 1 + kind.signed:
        assert low < least // 2 or high > most // 2


@given(small_graphs())
def test_types_are_those_of_the_proof(graph):
    for typed, stage in zip(typed_stages(graph), stages_of(graph), strict=True):
        span = np.asarray(stage.proof.high) - np.asarray(stage.proof.low)
        if stage.lookup is None:
            assert typed.accumulators.signed == bool((np.asarray(stage.proof.low) < 0).any())
            continue
        assert not typed.accumulators.signed
        if any(len(table) > 1 for table in stage.lookup.tables):
            assert 2**typed.accumulators.bits > span.max()
            assert 2**typed.bits_read >= max(len(table) for table in stage.lookup.tables)
