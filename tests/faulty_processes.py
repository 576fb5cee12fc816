"""Calls with processes of joblib's that something happens to: run by tests, which can end them.

``python faulty_processes.py killed FOLDER`` kills a worker in the moment in which it hands over an
answer; ``python faulty_processes.py interrupted FOLDER`` runs rows until it is interrupted;
``python faulty_processes.py headless FOLDER`` has Ray's head die while a call runs.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import joblib
import numpy as np
import pytest
from circuits import network
from processes import LONG, wait_until

from cipherfit.exceptions import UnansweredRowsError
from cipherfit.fhe import compile_graph, jobs, run_encrypted
from cipherfit.fhe.part import run_task

GRAPH = network()
CODES = np.random.default_rng(0).integers(0, 4, (24, 4)).astype(np.uint16)


@contextmanager
def started(what, folder):
    """Run one of the below in a process, and end what is left of it."""
    process = subprocess.Popen(
        [sys.executable, __file__, what, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def killed(circuit, folder):
    """Kill a worker while it hands over its second answer, or another worker's first one."""
    encrypt = circuit.client.encrypt

    def marked(*task):
        outcome = run_task(*task)
        (folder / f"{task[0]}.{os.getpid()}").touch()
        return outcome

    def kills(*row):
        # Further rows are encrypted by the thread that also reads answers: it does neither now.
        reads = threading.current_thread() is not threading.main_thread()
        if reads and not list(folder.glob("*.killed")):
            # One answer was read, and all others wait for this thread.
            wait_until(lambda: len([*folder.iterdir()]) > 1)
            time.sleep(1.0)  # the answer is on its way
            last = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
            pid = last.suffix[1:]
            os.kill(int(pid), signal.SIGKILL)
            (folder / f"{pid}.killed").touch()
        return encrypt(*row)

    jobs.run_task, circuit.client.encrypt = marked, kills
    pieces = np.array_split(np.arange(len(CODES)), 6)
    answers = jobs.run_by_workers(circuit, CODES.astype(np.int64), pieces, 2)
    sums = [(row, tuple(found)) for piece in answers for row, found in zip(*piece, strict=True)]
    assert sorted(row for row, _ in sums) == list(range(len(CODES)))
    assert [found for _, found in sorted(sums)] == list(map(tuple, GRAPH.simulate(CODES)))
    assert list(folder.glob("*.killed"))


def interrupted(circuit, folder):
    """Answer some rows one by one, and others never, to be interrupted."""

    def some(*task):
        if task[0] > 2:
            time.sleep(LONG)
        return run_task(*task)

    circuit.keys.save(folder / "keys")
    jobs.run_task, jobs.rows_per_task = some, lambda *_: 1
    run_encrypted(circuit, CODES, n_jobs=2, storage=folder / "rows.sqlite")


def headless(circuit, folder):
    """Have Ray's head die while a call runs, and find the answers that came before."""
    import psutil
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False)
    register_ray()
    jobs.WAVE_SECONDS, jobs.rows_per_task = 0.0, lambda *_: 4

    def kills_head(*task):
        if task[0] > 1:
            time.sleep(LONG)
        return run_task(*task)

    def kill():
        wait_until(lambda: n_stored(folder / "rows.sqlite"))
        for process in psutil.Process().children(recursive=True):
            if process.name() in {"gcs_server", "raylet"}:
                process.kill()

    jobs.run_task = kills_head
    threading.Thread(target=kill, daemon=True).start()
    with (
        joblib.parallel_config("ray", n_jobs=2),
        pytest.raises(UnansweredRowsError, match="head is gone") as caught,
    ):
        run_encrypted(circuit, CODES, storage=folder / "rows.sqlite")
    assert caught.value.rows == tuple(range(8, len(CODES)))
    assert np.array_equal(caught.value.sums[:8], GRAPH.simulate(CODES)[:8])
    print("done", flush=True)
    os._exit(0)  # Ray would end it otherwise


def n_stored(path):
    """Return how many rows a file keeps."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError):
        return database.execute("SELECT count(*) FROM answers").fetchone()[0]
    return 0


if __name__ == "__main__":
    circuit = compile_graph(GRAPH, p_error=1e-7)
    circuit.keygen()
    scenes = {"killed": killed, "interrupted": interrupted, "headless": headless}
    scenes[sys.argv[1]](circuit, Path(sys.argv[2]))
    print("done")
