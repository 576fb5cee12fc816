"""What is announced is what is sent, and times are of the right order."""

from __future__ import annotations

import time

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph
from cipherfit.bfv import compile_graph, estimate_circuit, modelled_seconds
from cipherfit.exceptions import CompilationError


@pytest.fixture(scope="module")
def graph():
    return IntegerGraph.from_layers(**random_parts(5, (128, 10), 4, 15))


@pytest.fixture(scope="module")
def circuit(graph):
    return compile_graph(graph)


def test_bytes_are_those_that_are_sent(circuit, graph):
    estimate = estimate_circuit(circuit, graph)
    row = circuit.encrypt(np.zeros(128, int))
    assert estimate.input_bytes == len(row.serialize())
    assert estimate.output_bytes == len(circuit.run(row).serialize())
    assert estimate.key_bytes == len(circuit.client.evaluation_keys.serialize())
    batch = circuit.encrypt(np.zeros((estimate.batch_rows, 128), int))
    assert estimate.batch_input_bytes == len(batch.serialize())
    assert estimate.batch_output_bytes == len(circuit.run(batch).serialize())
    assert estimate.memory_bytes < 40_000
    assert estimate.n_lookups == estimate.p_error == 0


def test_parameters_are_told(circuit, graph):
    estimate = estimate_circuit(circuit, graph)
    assert (estimate.degree, round(estimate.modulus_bits)) == (2048, 54)
    assert estimate.plaintext_modulus == 2**14
    assert 16 <= estimate.flooding_bits <= 20
    assert estimate.output_bits == graph.prove().max_accumulator_bits
    text = str(estimate)
    for part in ("bfv: N=2048, q of 54 bits, t=2**14", "no errors", "13.9 kB", "batches of 2048"):
        assert part in text


def test_modelled_seconds_are_of_the_right_order(circuit, graph):
    estimate = estimate_circuit(circuit, graph)
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        circuit.encrypt_run_decrypt(np.zeros(128, int))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) / 5 < estimate.seconds_per_row < 20 * min(seconds)


def test_models_compare_graphs_and_refuse_lookups():
    small, large = (
        IntegerGraph.from_layers(**random_parts(5, (n_in, 10), 4, 15)) for n_in in (64, 2048)
    )
    assert 1e-5 < modelled_seconds(small) < modelled_seconds(large)
    assert modelled_seconds(small) < modelled_seconds(small, flooding_bits=40)
    with pytest.raises(CompilationError):
        modelled_seconds(IntegerGraph.from_layers(**random_parts(0)))
