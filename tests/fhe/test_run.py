"""Encrypted runs: a row of integers for each row of codes, and a bar only where it is asked for."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from core_graphs import random_parts

from cipherfit import IntegerGraph, compile_graph, run_encrypted
from cipherfit.exceptions import InvalidParameterError
from cipherfit.fhe import run

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


@pytest.mark.parametrize("dtype", ["u1", "u2", "i8", "f8"])
def test_codes_of_any_type_and_from_a_file_are_the_same_rows(linear, dtype, tmp_path, monkeypatch):
    graph, circuit = linear
    monkeypatch.setattr(run, "_ROWS_AT_ONCE", 2)
    codes = np.random.default_rng(0).integers(0, 4, (5, 3)).astype(np.uint16)
    path = tmp_path / "rows.sqlite"
    expected = run_encrypted(circuit, codes, storage=path)
    assert np.array_equal(expected, graph.simulate(codes))
    np.save(tmp_path / "codes.npy", codes.astype(dtype))
    given = np.load(tmp_path / "codes.npy", mmap_mode="r")
    assert np.array_equal(run_encrypted(circuit, given), expected)
    monkeypatch.setattr(run, "_run_here", lambda *rows: pytest.fail("ran a row again"))
    assert np.array_equal(run_encrypted(circuit, given, storage=path), expected)
    other = codes.copy()
    other[4, 2] ^= 1
    with pytest.raises(InvalidParameterError, match="data"):
        run_encrypted(circuit, other, storage=path)


def test_codes_in_a_file_are_not_read_into_memory(linear, tmp_path, monkeypatch):
    peaks = []
    monkeypatch.setattr(run, "_run_here", lambda _, codes: np.zeros((len(codes), 2), np.int64))
    for n_rows in (20_000, 200_000):
        np.save(tmp_path / "codes.npy", np.zeros((n_rows, 3), np.uint16))
        codes = np.load(tmp_path / "codes.npy", mmap_mode="r")
        tracemalloc.start()
        try:
            sums = run_encrypted(linear[1], codes, progress=False)
            peaks.append(tracemalloc.get_traced_memory()[1] - sums.nbytes)
        finally:
            tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 180_000 < 12  # bytes a row: its number, and a size of a call
