"""Encrypted runs: a row of integers for each row of codes, and a bar only where it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph, compile_graph, run_encrypted

pytestmark = pytest.mark.fhe


@pytest.fixture(scope="module")
def linear():
    """Return a graph without lookups, which runs in milliseconds, and its circuit."""
    graph = IntegerGraph.from_layers(**random_parts(5, sizes=(3, 2), n_bits=2))
    return graph, compile_graph(graph)


@pytest.mark.parametrize("n_rows", [0, 1, 5])
def test_results_have_a_row_for_each_row_and_are_the_simulated_integers(linear, n_rows):
    graph, circuit = linear
    codes = np.random.default_rng(0).integers(0, 4, (n_rows, 3)).astype(np.uint16)
    decrypted = run_encrypted(circuit, codes)
    assert decrypted.shape == (n_rows, 2)
    assert decrypted.dtype == np.int64
    assert np.array_equal(decrypted, graph.simulate(codes))


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_progress_is_shown_on_request_and_else_on_terminals(linear, capsys, progress, shown):
    run_encrypted(linear[1], np.zeros((2, 3), dtype=np.uint16), progress=progress)
    assert ("encrypted rows" in capsys.readouterr().err) == shown
