"""What tests of other processes share: ports for them, and waits for what they come to do.

Limits are for what never comes. A machine may be slow, or stop for a while, so none says how long
something takes.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds that anything may take which comes at all.
LONG = 300.0

#: Ports below those that systems give out by themselves, some for each process of pytest-xdist.
_FIRST_PORT, _PORTS_EACH, _PROCESSES = 15_000, 1000, 16
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _PROCESSES
_places = itertools.count(random.Random(os.getpid()).randrange(_PORTS_EACH))


def free_port() -> int:
    """Return a port that nobody listens on, and that no other test is given meanwhile."""
    for _ in range(_PORTS_EACH):
        port = _FIRST_PORT + _worker * _PORTS_EACH + next(_places) % _PORTS_EACH
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("all ports are taken")


def wait_until(condition: Callable[[], object], seconds: float = LONG) -> None:
    """Wait for what comes true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def lives(process: int) -> bool:
    """Whether there is such a process, and not only what is left of it until somebody asks."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
