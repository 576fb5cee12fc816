"""Encrypted rows on processes of Dask's that die, stop or restart: answered, or named."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress

import joblib
import numpy as np
import pytest
from circuits import network, with_keys
from dask_processes import DaskProcesses
from processes import LONG

from cipherfit.exceptions import UnansweredRowsError
from cipherfit.fhe import jobs, run_encrypted, workers
from cipherfit.fhe.part import run_task

pytestmark = pytest.mark.fhe

distributed = pytest.importorskip("distributed")

GRAPH = network()
CODES = np.random.default_rng(0).integers(0, 4, (24, 4)).astype(np.uint16)
EXPECTED = GRAPH.simulate(CODES)


@pytest.fixture(scope="module")
def circuit():
    return with_keys(GRAPH)


@contextmanager
def running(folder, worker_ttl="300s"):
    cluster = DaskProcesses(folder, 2, worker_ttl)
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared):
    """Return a cluster of two workers, started again if a test has ended it."""
    if not shared.is_running():
        shared.start()
    return shared


@contextmanager
def connected(cluster, reconnect_seconds=LONG):
    client = client_of(cluster, reconnect_seconds)
    try:
        client.wait_for_workers(2, timeout=LONG)
        with joblib.parallel_config("dask", client=client):
            yield client
    finally:
        client.close(timeout=2)


def client_of(cluster, reconnect_seconds):
    """Connect to a scheduler that may yet have to start: Dask has one limit for both."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        with suppress(OSError, asyncio.TimeoutError):  # not the same before Python 3.11
            return distributed.Client(cluster.address, timeout=reconnect_seconds)
    pytest.fail("there is no scheduler")


def answered(circuit, after_first):
    """Return all sums in order, each of which came once; something happens after the first."""
    sums = {}
    pieces = np.array_split(np.arange(len(CODES)), 6)
    for rows, piece in jobs.run_by_workers(circuit, CODES.astype(np.int64), pieces, None):
        assert not set(rows.tolist()) & set(sums)
        if not sums:
            after_first()
        sums.update(zip(rows.tolist(), piece.tolist(), strict=True))
    return [sums[row] for row in range(len(CODES))]


def test_rows_of_a_stopped_worker_are_run_by_others(circuit, tmp_path, monkeypatch):
    stopped = tmp_path / "stopped"

    # A function in a function travels by value, and so to processes that don't have this module.
    def stops_once(*task):
        if task[0] == 1 and not stopped.exists():
            stopped.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", stops_once)
    # Whose workers may hold the GIL for some seconds, on a busy machine.
    with running(tmp_path, worker_ttl="10s") as cluster, connected(cluster):
        assert answered(circuit, lambda: None) == EXPECTED.tolist()
    assert stopped.exists()


def test_a_scheduler_may_restart_while_a_call_runs_and_between_calls(circuit, cluster, monkeypatch):
    monkeypatch.setattr(workers, "RETURN_SECONDS", LONG)

    def restart():
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        threading.Timer(0.5, cluster.start).start()

    with connected(cluster):
        assert answered(circuit, restart) == EXPECTED.tolist()
        restart()
        assert np.array_equal(run_encrypted(circuit, CODES[:8]), EXPECTED[:8])


def test_a_scheduler_that_hangs_ends_the_call(circuit, cluster, tmp_path, monkeypatch):
    over = tmp_path / "over"

    def first_alone(*task):
        while task[0] > 0 and not over.exists():
            time.sleep(0.05)
        return run_task(*task)

    with connected(cluster):
        run_encrypted(circuit, CODES[:8])  # workers are ready
        monkeypatch.setattr(jobs, "run_task", first_alone)
        monkeypatch.setattr(jobs, "START_SECONDS", 5.0)
        for name in ("REACH_SECONDS", "RETURN_SECONDS"):
            monkeypatch.setattr(workers, name, 1.0)
        try:
            with pytest.raises(UnansweredRowsError, match="rows have no answer") as caught:
                answered(circuit, lambda: os.kill(cluster.scheduler.pid, signal.SIGSTOP))
            assert caught.value.rows == tuple(range(4, 24))
        finally:
            over.touch()
            os.kill(cluster.scheduler.pid, signal.SIGCONT)


def test_a_scheduler_that_dies_while_it_is_sent_keys_ends_the_call(circuit, cluster, monkeypatch):
    async def lost(*_, **__):
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        raise OSError("nobody hears of this")

    monkeypatch.setattr(workers, "RETURN_SECONDS", 1.0)
    with connected(cluster, reconnect_seconds=2) as client:
        monkeypatch.setattr(client, "scatter", lost)
        before = time.monotonic()
        for _ in range(2):
            with pytest.raises(UnansweredRowsError, match=r"24 .* there are no workers"):
                run_encrypted(circuit, CODES)
        assert time.monotonic() - before < LONG
