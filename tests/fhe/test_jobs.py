"""Encrypted rows by workers: nothing secret leaves, every row is answered once, whoever dies."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import joblib
import numpy as np
import pytest
from circuits import mirrored, network, with_keys

from cipherfit.exceptions import CompilationError, InvalidParameterError, UnansweredRowsError
from cipherfit.fhe import compile_graph, jobs, run_encrypted
from cipherfit.fhe.capnp import payload_spans
from cipherfit.fhe.part import Kept, run_task
from cipherfit.fhe.server_part import ServerPart

pytestmark = pytest.mark.fhe

GRAPH = network()
CODES = np.random.default_rng(0).integers(0, 4, (24, 4)).astype(np.uint16)
EXPECTED = GRAPH.simulate(CODES)


@pytest.fixture(scope="module")
def circuit():
    return with_keys(GRAPH)


@pytest.fixture
def pieces():
    return np.array_split(np.arange(len(CODES)), 6)


@pytest.fixture
def in_threads():
    with joblib.parallel_config("threading", n_jobs=2):
        yield


def collected(answers):
    """Return sums in the order of rows; each row must come once."""
    sums = {}
    for rows, piece in answers:
        assert not set(rows.tolist()) & set(sums)
        sums.update(zip(rows.tolist(), piece.tolist(), strict=True))
    return [sums[row] for row in range(len(CODES))]


def tasks_of(circuit, pieces):
    """Return everything that is sent to workers, and the keys alone."""
    errand = jobs.Errand(circuit)
    tasks = list(errand.tasks(CODES.astype(np.int64), dict(enumerate(pieces))))
    return tasks, tasks[0][1][3]


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_processes_give_the_simulated_answers_in_order(circuit, n_jobs, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "3")  # each has Concrete in memory
    assert np.array_equal(run_encrypted(circuit, CODES, n_jobs=n_jobs), EXPECTED)


def test_the_context_says_how_many_workers_and_where(circuit, in_threads, monkeypatch):
    threads = []

    def watched(*task):
        threads.append(threading.current_thread())
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", watched)
    assert np.array_equal(run_encrypted(circuit, CODES), EXPECTED)
    assert len(threads) == 2
    assert threading.main_thread() not in threads
    run_encrypted(circuit, CODES[:4], n_jobs=1)
    assert len(threads) == 2, "one worker of this machine is this process"


def test_what_is_sent_holds_no_secret_key(circuit, pieces):
    tasks, keys = tasks_of(circuit, pieces)
    sent = b"".join(pickle.dumps(task, protocol=5) for task in tasks)
    assert keys.tobytes() in sent, "evaluation keys are among it"
    secrets = secret_keys(circuit.keys.serialize())
    assert secrets
    assert not secret_keys(keys.tobytes())
    for secret in secrets:
        # Thirty-two bits of a key, wherever they begin.
        windows = [secret[start : start + 256] for start in range(0, len(secret) - 256, 8)]
        assert not any(window in sent for window in windows[:: len(windows) // 16])


def secret_keys(message):
    """Return the binary secret keys among the numbers of a message: words of 0 and 1."""
    found = [message[start:stop] for start, stop in payload_spans(message)]
    return [numbers for numbers in found if np.frombuffer(numbers, dtype=np.uint64).max() <= 1]


def test_evaluation_keys_are_one_array_for_all_tasks(circuit, pieces):
    tasks, keys = tasks_of(circuit, pieces)
    assert keys.dtype == np.uint8
    assert all(task[1][3] is keys for task in tasks)


def test_a_worker_reads_keys_once_however_many_threads_ask(circuit, pieces, monkeypatch):
    made = []
    row_server = ServerPart.row_server
    monkeypatch.setattr(ServerPart, "row_server", lambda part: made.append(1) or row_server(part))
    _, keys = tasks_of(circuit, pieces)
    part, kept, pairs = ServerPart.of(circuit), Kept(), []
    threads = [
        threading.Thread(target=lambda: pairs.append(kept.get(part, "key", keys)))
        for _ in range(3)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(pairs) == 3
    assert all(pair is pairs[0] for pair in pairs)


def test_networks_with_the_same_parameters_are_told_apart(circuit):
    other = compile_graph(mirrored(GRAPH), p_error=1e-7)
    assert other.client.specs.serialize() == circuit.client.specs.serialize()
    assert ServerPart.of(other).name != ServerPart.of(circuit).name


def test_a_circuit_with_other_parameters_on_the_worker_is_refused(circuit):
    part = ServerPart.of(circuit)
    with pytest.raises(CompilationError, match="same version"):
        ServerPart(part.graph, {**part.options, "p_error": 0.01}, part.specs).row_server()


def test_rows_of_a_killed_worker_are_run_by_others(circuit, pieces, tmp_path, monkeypatch):
    killed = tmp_path / "killed"

    # A function in a function travels by value, and so to processes that don't have this module.
    def dies_once(*task):
        if task[0] == 1 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", dies_once)
    answers = jobs.run_by_workers(circuit, CODES.astype(np.int64), pieces, 2)
    assert collected(answers) == EXPECTED.tolist()
    assert killed.exists()


def test_rows_of_a_stopped_process_are_run_by_others(circuit, pieces, tmp_path, monkeypatch):
    stopped = tmp_path / "stopped"

    def stops_once(*task):
        if task[0] == 1 and not stopped.exists():
            stopped.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", stops_once)
    monkeypatch.setattr(jobs, "QUIET_SECONDS", 2.0)
    answers = jobs.run_by_workers(circuit, CODES.astype(np.int64), pieces, 2)
    assert collected(answers) == EXPECTED.tolist()
    assert stopped.exists()


def test_rows_of_a_worker_that_never_answers_are_run_by_others(
    circuit, pieces, in_threads, monkeypatch
):
    asleep = threading.Event()
    stuck = []

    def sometimes(*task):
        if task[0] == 1 and not stuck:
            stuck.append(1)
            asleep.wait()
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", sometimes)
    monkeypatch.setattr(jobs, "QUIET_SECONDS", 2.0)
    try:
        answers = jobs.run_by_workers(circuit, CODES.astype(np.int64), pieces, None)
        assert collected(answers) == EXPECTED.tolist()
    finally:
        asleep.set()
    assert stuck


def raised():
    raise OSError("no memory")


def returned():
    return 0, OSError("no memory")


@pytest.mark.parametrize("fail", [raised, returned])
def test_rows_that_no_worker_answers_are_named_and_the_others_kept(
    circuit, in_threads, monkeypatch, fail
):
    attempts = []

    def fails(*task):
        if task[0] == 0:
            attempts.append(1)
            return fail()
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", fails)
    with pytest.raises(UnansweredRowsError, match="no memory") as caught:
        run_encrypted(circuit, CODES)
    error = caught.value
    assert len(attempts) > jobs.ATTEMPTS
    assert error.rows == tuple(range(12))
    assert "12 encrypted rows" in str(error)
    assert np.array_equal(error.sums[12:], EXPECTED[12:])
    assert not error.sums[:12].any()


def test_errors_that_no_other_worker_would_mend_come_at_once(circuit, in_threads, monkeypatch):
    attempts = []

    def fails(*task):
        attempts.append(1)
        return task[0], CompilationError("other parameters")

    monkeypatch.setattr(jobs, "run_task", fails)
    with pytest.raises(CompilationError, match="other parameters"):
        run_encrypted(circuit, CODES)
    assert len(attempts) <= 2


def test_no_workers_are_none(circuit):
    with pytest.raises(InvalidParameterError, match="n_jobs=0"):
        run_encrypted(circuit, CODES, n_jobs=0)
    with pytest.raises(InvalidParameterError, match="n_jobs='two'"):
        run_encrypted(circuit, CODES, n_jobs="two")
