"""Many rows at once: the same integers, whatever their number."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph
from cipherfit.bfv import compile_graph, run_encrypted


@pytest.fixture(scope="module")
def linear():
    graph = IntegerGraph.from_layers(**random_parts(5, sizes=(3, 2), n_bits=2))
    return graph, compile_graph(graph)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 5, 700, 2048, 5000])
def test_results_have_a_row_for_each_row_and_are_the_simulated_integers(linear, n_rows):
    graph, circuit = linear
    codes = np.random.default_rng(0).integers(0, 4, (n_rows, 3)).astype(np.uint16)
    decrypted = run_encrypted(circuit, codes, progress=True)
    assert decrypted.shape == (n_rows, 2)
    assert decrypted.dtype == np.int64
    assert np.array_equal(decrypted, graph.simulate(codes))
