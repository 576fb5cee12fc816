"""Runs that are interrupted go on from what they stored; what is of another run is refused."""

from __future__ import annotations

import sqlite3
import stat

import numpy as np
import pytest
from circuits import mirrored, network

from cipherfit.exceptions import InvalidParameterError, SerializationError
from cipherfit.fhe import compile_graph, run_encrypted
from cipherfit.fhe.storage import SumStore

RUN = {"model": "m", "key": "k", "data": "d"}
ROWS = np.array([4, 1])
SUMS = np.array([[-(2**40), 5], [7, 2**62]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.sqlite"


def stored(path, run=RUN, n_rows=6, n_outputs=2):
    store = SumStore(path, run)
    try:
        sums = np.zeros((n_rows, n_outputs), dtype=np.int64)
        return store.load(sums), sums
    finally:
        store.close()


def put(path, rows=ROWS, sums=SUMS):
    store = SumStore(path, RUN)
    store.put(rows, sums)
    store.close()


def test_sums_are_read_as_they_were_put(path):
    put(path)
    known, sums = stored(path)
    assert np.flatnonzero(known).tolist() == [1, 4]
    assert np.array_equal(sums[ROWS], SUMS)
    assert not sums[~known].any()


def test_only_the_owner_reads_the_file(path):
    put(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", RUN)
def test_another_run_is_refused_by_name(path, name):
    put(path)
    with pytest.raises(InvalidParameterError, match=f"another {name}"):
        stored(path, {**RUN, name: "other"})
    assert stored(path)[0].sum() == 2, "and the file is as it was"


@pytest.mark.parametrize("size", [{"n_rows": 3}, {"n_outputs": 1}])
def test_answers_that_do_not_fit_are_refused(path, size):
    put(path)
    with pytest.raises(SerializationError, match="does not fit"):
        stored(path, **size)


def test_files_of_something_else_are_refused_and_left_alone(path):
    path.write_bytes(b"rows of mine, " * 100)
    with pytest.raises(SerializationError, match="is no file with answers"):
        stored(path)
    assert path.read_bytes() == b"rows of mine, " * 100
    other = path.with_name("other.sqlite")
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (row INTEGER)")
    with pytest.raises(SerializationError, match="something else"):
        stored(other)


def test_text_where_numbers_belong_is_refused(path):
    put(path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE answers SET sums = 'sixteen letters!' WHERE row = 1")
    with pytest.raises(SerializationError):
        stored(path)


@pytest.mark.fhe
def test_an_interrupted_run_goes_on_where_it_was(path, monkeypatch):
    graph = network()
    circuit = compile_graph(graph, p_error=1e-7)
    codes = np.random.default_rng(0).integers(0, 4, (13, 4)).astype(np.uint16)
    run, calls = circuit.rows.run, []

    def interrupted(rows, keys):
        calls.append(len(rows))
        if calls == [8, 4]:
            raise KeyboardInterrupt
        return run(rows, keys)

    monkeypatch.setattr(circuit.rows, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_encrypted(circuit, codes, storage=path)
    assert np.array_equal(run_encrypted(circuit, codes, storage=path), graph.simulate(codes))
    assert calls == [8, 4, 4, 1], "the first eight rows are not run again"
    run_encrypted(circuit, codes, storage=path)
    assert calls == [8, 4, 4, 1], "nor is any, once all are there"
    with pytest.raises(InvalidParameterError, match="another data"):
        run_encrypted(circuit, codes[:12], storage=path)
    other = compile_graph(mirrored(graph), p_error=1e-7)
    other.keys = circuit.keys
    with pytest.raises(InvalidParameterError, match="another model"):
        run_encrypted(other, codes, storage=path)
    circuit.keygen(force=True)
    with pytest.raises(InvalidParameterError, match="another key"):
        run_encrypted(circuit, codes, storage=path)
