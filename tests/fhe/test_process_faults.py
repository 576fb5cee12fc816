"""Calls with processes of joblib's never wait for ever: they run where tests can end them."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from circuits import network
from faulty_processes import CODES, n_stored, started
from processes import wait_until

from cipherfit.fhe import compile_graph, run_encrypted

pytestmark = pytest.mark.fhe


def test_a_worker_may_be_killed_while_it_hands_over_an_answer(tmp_path):
    with started("killed", tmp_path) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err.decode()
    assert out == b"done\n"


def test_ctrl_c_ends_a_call_and_what_was_computed_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "rows.sqlite"
    with started("interrupted", tmp_path) as process:
        wait_until(lambda: n_stored(path) or process.poll() is not None)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to workers, too
        _, err = process.communicate(timeout=600)
    assert b"KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT
    stored = n_stored(path)
    assert 0 < stored < len(CODES)
    circuit = compile_graph(network(), p_error=1e-7)
    circuit.keys.load(tmp_path / "keys")
    run, rows = circuit.rows.run, []
    monkeypatch.setattr(circuit.rows, "run", lambda *each: rows.extend(each[0]) or run(*each))
    assert np.array_equal(run_encrypted(circuit, CODES, storage=path), network().simulate(CODES))
    assert len(rows) == len(CODES) - stored
