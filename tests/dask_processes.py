"""A cluster of Dask's as it runs on machines: a scheduler and a worker process for each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from processes import free_port


class DaskProcesses:
    """A scheduler at an address that stays, and workers with who restarts them.

    Parameters
    ----------
    folder : path
        Where workers keep what they need.
    n_workers : int
        Each with a thread.
    worker_ttl : str
        After how long a worker that isn't heard from is restarted; Dask's least is five seconds. A
        scheduler that was stopped for longer restarts all of them.
    """

    def __init__(self, folder, n_workers, worker_ttl="300s"):
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._folder, self._port, self._n_workers = folder, port, n_workers
        self._worker_ttl = worker_ttl
        self._processes = []
        self.start()

    def start(self):
        """Start a scheduler and workers."""
        for process in self._processes:
            _end(process)
        shared = ("--host", "127.0.0.1", "--no-dashboard")
        each = ("--nthreads", "1", "--nworkers", str(self._n_workers))
        each += ("--local-directory", str(self._folder))
        self.scheduler = self._started("scheduler", "--port", str(self._port), *shared)
        workers = self._started("worker", self.address, *each, *shared)
        self._processes = [self.scheduler, workers]

    def is_running(self):
        """Tell whether none of them was ended."""
        return all(process.poll() is None for process in self._processes)

    def stop(self):
        """End all of them."""
        for process in self._processes:
            _end(process)

    def _started(self, kind, *arguments):
        changed = {
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": self._worker_ttl,
            "OMP_NUM_THREADS": "1",
        }
        with open(self._folder / f"{kind}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments],
                env={**os.environ, **changed},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _end(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
