"""Encrypted rows on a cluster of Ray's: two worker processes on this machine (`make test-ray`)."""

from __future__ import annotations

import os
import signal

import joblib
import numpy as np
import pytest
import ray
from circuits import network, with_keys
from faulty_processes import started
from ray.util.joblib import register_ray

from cipherfit.fhe import jobs, run_encrypted
from cipherfit.fhe.part import SharedKeys, run_task

pytestmark = pytest.mark.fhe

GRAPH = network()
CODES = np.random.default_rng(0).integers(0, 4, (24, 4)).astype(np.uint16)


@pytest.fixture(scope="module")
def circuit():
    return with_keys(GRAPH)


@pytest.fixture(scope="module")
def cluster():
    ray.init(num_cpus=2, include_dashboard=False)
    register_ray()
    yield
    ray.shutdown()


def test_a_cluster_answers_rows_in_order(circuit, cluster):
    with joblib.parallel_config("ray", n_jobs=-1):
        assert np.array_equal(run_encrypted(circuit, CODES), GRAPH.simulate(CODES))


def test_keys_are_in_the_store_and_not_in_each_task(circuit, cluster):
    with joblib.parallel_config("ray", n_jobs=-1):
        errand = jobs.Errand(circuit)
    ((_, task, _),) = errand.tasks(CODES.astype(np.int64), {0: np.arange(4)})
    assert isinstance(task[3], SharedKeys)
    assert task[3].array().tobytes() == circuit.keys.evaluation.serialize()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_rows_of_a_stopped_or_killed_worker_are_run_by_others(
    circuit, cluster, tmp_path, monkeypatch, number
):
    failed = tmp_path / "failed"

    # A function in a function travels by value, and so to processes that don't have this module.
    def fails_once(*task):
        if task[0] == 1 and not failed.exists():
            failed.touch()
            os.kill(os.getpid(), number)
        return run_task(*task)

    monkeypatch.setattr(jobs, "run_task", fails_once)
    monkeypatch.setattr(jobs, "START_SECONDS", 20.0)
    with joblib.parallel_config("ray", n_jobs=2):
        assert np.array_equal(run_encrypted(circuit, CODES), GRAPH.simulate(CODES))
    assert failed.exists()


def test_a_head_that_is_gone_ends_the_call_before_ray_ends_the_process(tmp_path):
    with started("headless", tmp_path) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err.decode()
    assert b"done" in out
