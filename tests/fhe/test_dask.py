"""Encrypted rows on a cluster of Dask's: two worker processes on this machine."""

from __future__ import annotations

import os
import re
import signal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from circuits import network, with_keys

from cipherfit import Predictor
from cipherfit.fhe import jobs, run_encrypted
from cipherfit.predictor.targets import RealTargets

pytestmark = pytest.mark.fhe

distributed = pytest.importorskip("distributed")

GRAPH = network()
CODES = np.random.default_rng(0).integers(0, 4, (24, 4)).astype(np.uint16)


@pytest.fixture(scope="module")
def circuit():
    return with_keys(GRAPH)


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_answers_rows_with_keys_that_each_worker_has_once(circuit, client):
    client.wait_for_workers(2)

    def kept():
        # A lambda travels by value, and finds what its worker keeps.
        return client.run(lambda: import_module("cipherfit.fhe.part").kept.names())

    with joblib.parallel_config("dask"):
        for number in range(20):
            assert np.array_equal(run_encrypted(circuit, CODES), GRAPH.simulate(CODES))
            # One that is quick, or alone in not being stopped, may have run all.
            if number > 0 and all(kept().values()):
                break
    names = [*kept().values()]
    assert len(names) == 2
    assert names[0] == names[1]
    assert len(names[0]) == 1


def test_rows_of_a_killed_worker_are_run_by_others(circuit, client):
    pieces = np.array_split(np.arange(len(CODES)), 6)
    sums = {}
    with joblib.parallel_config("dask"):
        answers = jobs.run_by_workers(circuit, CODES.astype(np.int64), pieces, None)
        for rows, piece in answers:
            if not sums:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            assert not set(rows.tolist()) & set(sums)
            sums.update(zip(rows.tolist(), piece.tolist(), strict=True))
    assert [sums[row] for row in range(len(CODES))] == GRAPH.simulate(CODES).tolist()


def test_the_examples_of_the_guide_run(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Predictor(GRAPH, RealTargets(2, flat=False))
    made.compile(p_error=1e-7)
    names = {"model": SimpleNamespace(predict=made.predict, predictor_=made), "X": CODES[:8]}
    page = (Path(__file__).parents[2] / "docs/scaling.md").read_text()
    page = page.partition("## Data larger than memory")[0]  # tests/predictor/test_chunks.py runs it
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        if "register_ray" not in block:  # tests/ray_cluster.py has its like
            # On one core a process for each core is this process.
            block = block.replace("n_jobs=-1", "n_jobs=2")
            exec(block.replace("tcp://scheduler:8786", client.scheduler.address), names)
    assert np.array_equal(names["labels"], made.predict(CODES[:8]))
    assert (tmp_path / "rows.sqlite").exists()
