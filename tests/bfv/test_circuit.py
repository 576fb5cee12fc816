"""Decrypted integers are the graph's, on every row; what doesn't fit says why."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from core_graphs import random_parts
from hypothesis import given
from hypothesis import strategies as st

from cipherfit import IntegerGraph
from cipherfit.bfv import BfvCircuit, compile_graph
from cipherfit.exceptions import (
    CompilationError,
    InputTypeError,
    InvalidInputError,
    InvalidParameterError,
)


def linear(*sizes: int, seed: int = 0, n_bits: int = 4, weight: int = 15) -> IntegerGraph:
    return IntegerGraph.from_layers(**random_parts(seed, sizes, n_bits, weight))


def adversarial_rows(graph: IntegerGraph) -> np.ndarray:
    """Return rows at both ends of the codes, and those that reach each sum's ends."""
    largest = 2**graph.n_bits - 1
    ends = [np.full((1, graph.n_features), code) for code in (0, largest)]
    return np.concatenate([*ends, *graph.prove().witnesses()]).astype(np.uint16)


@given(
    st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 40), st.integers(1, 16),
    st.integers(0, 15), st.integers(1, 12),
)  # fmt: skip
def test_decrypted_integers_are_simulated_ones(seed, n_in, n_out, n_bits, weight_bits, rows):
    graph = linear(n_in, n_out, seed=seed, n_bits=n_bits, weight=2**weight_bits)
    circuit = compile_graph(graph)
    codes = np.random.default_rng(seed).integers(0, 2**n_bits, (rows, n_in))
    assert np.array_equal(circuit.encrypt_run_decrypt(codes), graph.simulate(codes))
    adversarial = adversarial_rows(graph)
    assert np.array_equal(circuit.encrypt_run_decrypt(adversarial), graph.simulate(adversarial))


@pytest.mark.parametrize(
    ("n_bits", "weight", "flooding_bits", "degree"),
    [(4, 15, 0, 2048), (4, 15, 64, 4096), (16, 2**15, 30, 4096), (16, 2**15, 50, 8192),
     (16, 2**24, 40, 8192), (16, 2**30, None, 4096)],
)  # fmt: skip
def test_the_largest_weights_are_exact_with_the_flooding_asked_for(
    n_bits, weight, flooding_bits, degree
):
    graph = linear(200, 3, n_bits=n_bits, weight=weight)
    circuit = compile_graph(graph, flooding_bits=flooding_bits)
    assert circuit.parameters.degree == degree
    assert circuit.parameters.flooding_bits >= (flooding_bits or 0)
    rows = adversarial_rows(graph)
    assert np.array_equal(circuit.encrypt_run_decrypt(rows), graph.simulate(rows))


def test_sums_too_wide_for_all_parameters_are_refused_with_what_there_is():
    with pytest.raises(CompilationError, match=r"sums of 38 bits .* leave 59 bits .* 60"):
        compile_graph(linear(200, 3, n_bits=16, weight=2**15), flooding_bits=60)


def test_constant_sums_are_exact():
    parts = random_parts(0, (5, 2))
    for offset in (0, 7, -(2**40)):
        parts["layers"][0] |= {"weights": np.zeros((2, 5), int), "offset": np.full(2, offset)}
        circuit = compile_graph(IntegerGraph.from_layers(**parts))
        assert circuit.encrypt_run_decrypt([1, 2, 3, 4, 5]).tolist() == [offset, offset]


@pytest.mark.parametrize("seed", range(5))
def test_what_follows_client_layers_is_exact_and_takes_their_codes_alone(seed):
    parts = random_parts(seed, (6, 8, 3), n_client_layers=1)
    graph = IntegerGraph.from_layers(**parts)
    circuit = compile_graph(graph)
    first, second = graph.split()
    rows = np.random.default_rng(seed).integers(0, 8, (50, 6))
    codes = first.simulate(rows)
    assert np.array_equal(circuit.encrypt_run_decrypt(codes), graph.simulate(rows))
    # Each feature has its own interval: the image of its table.
    tables = parts["layers"][1]["tables"]
    ends = np.array([[np.min(table), np.max(table)] for table in tables]).T
    assert np.array_equal(circuit.encrypt_run_decrypt(ends), second.simulate(ends))
    for wrong in (ends[1] + np.eye(8, dtype=int)[3], ends[0] - np.eye(8, dtype=int)[3]):
        with pytest.raises(InvalidInputError, match="column 3 is outside"):
            circuit.encrypt(wrong)


def test_a_row_gives_a_row_and_a_matrix_a_matrix():
    graph = linear(6, 3)
    circuit = compile_graph(graph)
    row = np.arange(6)
    expected = graph.simulate(row[None])
    assert circuit.encrypt_run_decrypt(row).shape == (3,)
    for codes in (row[None], row[None].astype(np.uint16), row[None].tolist()):
        found = circuit.encrypt_run_decrypt(codes)
        assert found.dtype == np.int64
        assert np.array_equal(found, expected)
    assert circuit.encrypt_run_decrypt(np.zeros((0, 6), int)).shape == (0, 3)


def test_it_says_what_it_is_and_never_errs():
    circuit = compile_graph(linear(6, 3), flooding_bits=20)
    assert circuit.p_error == 0.0
    assert circuit.configuration.fhe_execution
    assert circuit.configuration.flooding_bits == 20
    assert repr(circuit).startswith("BfvCircuit(6 features, 3 outputs, N=2048, ")


def test_encrypted_rows_and_keys_are_as_large_as_announced():
    circuit = compile_graph(linear(6, 3))
    encrypted = circuit.encrypt(np.zeros(6, int))
    assert circuit.size_of_inputs == len(encrypted.serialize())
    assert circuit.size_of_outputs == len(circuit.run(encrypted).serialize())
    keys = circuit.client.evaluation_keys.serialize()
    assert circuit.size_of_evaluation_keys == len(keys) < 14_000


def test_graphs_with_lookups_are_refused_with_what_to_do():
    with pytest.raises(
        CompilationError, match=r"has 4 lookups.*compile it for Concrete, or let the"
    ):
        compile_graph(IntegerGraph.from_layers(**random_parts(0)))


@pytest.mark.parametrize("bits", [-1, 65, 2**70])
def test_flooding_out_of_range_is_named(bits):
    with pytest.raises(InvalidParameterError, match="flooding_bits"):
        compile_graph(linear(6, 3), flooding_bits=bits)


def test_codes_that_are_none_are_named():
    circuit = compile_graph(linear(6, 3))
    with pytest.raises(InvalidInputError, match="code 16 at row 1, column 2 is outside"):
        circuit.encrypt(np.eye(6, dtype=int)[1:3].repeat(1, axis=0) * [[1], [16]])
    with pytest.raises(InvalidInputError, match="code -1 at row 0, column 0 is outside"):
        circuit.encrypt([-1] * 6)
    for codes in (np.zeros((2, 5), int), np.zeros(5, int), np.zeros((1, 1, 6), int)):
        with pytest.raises(InvalidInputError, match=r"codes must have shape \(n, 6\) or \(6,\)"):
            circuit.encrypt(codes)
    with pytest.raises(InputTypeError, match="codes must hold integers"):
        circuit.encrypt(np.zeros(6))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_compute_the_same_with_keys_of_their_own(copied):
    graph = linear(6, 3)
    circuit = compile_graph(graph)
    encrypted = circuit.encrypt(np.arange(6))
    other: BfvCircuit = copied(circuit)
    assert not other.client.has_keys
    assert np.array_equal(
        other.encrypt_run_decrypt(np.arange(6)), circuit.decrypt(circuit.run(encrypted))
    )
    with pytest.raises(InvalidInputError, match="other keys"):
        other.run(encrypted)
