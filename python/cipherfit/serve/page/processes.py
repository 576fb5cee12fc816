"""The service as a process of its own, which ends with the one that started it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cipherfit
from cipherfit.exceptions import InvalidParameterError, ServiceError
from cipherfit.parameters import integer

#: Python puts the folder it is started in first on the path: what lies there is none of ours.
_PROGRAM = (
    "import sys; sys.path = [*filter(None, sys.path), sys.argv[1]]; "
    "from cipherfit.serve.page.processes import run_service; run_service()"
)
_READY_SECONDS, _STOP_SECONDS = 180.0, 10.0
_PAUSE = 0.05
#: Ports that are tried after the usual one.
_TRIES = 100


class ServiceProcess:
    """`cipherfit.serve.serve` in another process.

    Parameters
    ----------
    folder : Path
        Which it removes at its end, in case this process can't.
    options : mapping
        What it is called with, ready for JSON.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._address = (str(options["host"]), int(options["port"]))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(Path(cipherfit.__file__).parents[1])],
            stdin=subprocess.PIPE,
            # Ctrl-C in a terminal reaches this process alone, which then ends the other.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._stdin.write(json.dumps({"folder": str(folder), **options}).encode() + b"\n")
        self._stdin.flush()

    @property
    def id(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it answers."""
        return url(*self._address)

    def wait_until_ready(self) -> None:
        """Wait until it answers.

        Raises
        ------
        ServiceError
            If it ends before, or takes too long.
        """
        end = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            status = self._process.poll()
            if status is not None:
                raise ServiceError(f"the service ended with status {status}; see what it said")
            if time.monotonic() > end:
                raise ServiceError(f"the service was not ready within {_READY_SECONDS:g} s")
            time.sleep(_PAUSE)

    def stop(self) -> None:
        """End it, and wait until it has."""
        self._stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def run_service() -> None:
    """Serve as the first line of standard input says, until that ends."""
    options = json.loads(sys.stdin.readline())
    folder, models = options.pop("folder"), options.pop("models")
    threading.Thread(target=_end_with_input, daemon=True).start()
    from cipherfit.serve.service import serve

    try:
        serve(models, **options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_input() -> None:
    # Not by sys.stdin, whose lock a thread must not hold when the interpreter ends.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def free_port(name: str, host: str, port: int | None, usual: int) -> int:
    """Return a port to listen on.

    Parameters
    ----------
    name : str
        What the parameter is called.
    host : str
        Address.
    port : int in [0, 65535], optional
        Which it has to be; 0 for any. Default: `usual`, or one of the next.
    usual : int
        Where to look first.

    Raises
    ------
    InvalidParameterError
        If it, or each of those, is taken.
    """
    if port is not None:
        integer(name, port, 0, 65535)
    candidates = range(usual, usual + _TRIES) if port is None else [port]
    for candidate in candidates:
        found = _free(host, candidate)
        if found is not None:
            return found
    shown = f"{usual} to {usual + _TRIES - 1}" if port is None else port
    raise InvalidParameterError(f"{name}={shown} is taken, or not yours to take, at {host}")


def _free(host: str, port: int) -> int | None:
    """Return a port if it can be listened on, and which it became where it is 0."""
    try:
        with listening(host, port) as found:
            return int(found.getsockname()[1])
    except OSError:
        return None


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def url(host: str, port: int) -> str:
    """Return the address of a place."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
