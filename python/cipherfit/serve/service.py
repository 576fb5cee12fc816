"""A service from models and options: what `cipherfit serve` and `cipherfit.serve.serve` start."""

from __future__ import annotations

import ipaddress
import resource
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cipherfit.exceptions import InvalidParameterError, MissingDependencyError
from cipherfit.parameters import integer, real
from cipherfit.serve.admission import Admission
from cipherfit.serve.keys import Key, KeyStore, Limits
from cipherfit.serve.listening import listening_config
from cipherfit.serve.logs import log_to_stderr
from cipherfit.serve.tenants import Authenticate, Tokens, everyone

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cipherfit.serve.loading import Source

_MEGABYTE = 1_000_000
_DAY = 86_400.0
_KEEP_ALIVE_SECONDS = 30
#: Uploads under way, in all and of one tenant.
_UPLOADS, _UPLOADS_OF_ONE = 32, 2
_CONNECTIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Options:
    """Bounds of a service; what each means is told at `serve`."""

    keys_mb: int = 8192
    tenant_mb: int = 1024
    keep_days: float = 30.0
    max_rows: int | None = None
    queue: int = 64
    tenant_queue: int = 16
    deadline: float = 60.0
    body_deadline: float = 30.0
    workers: int = 1
    worker_mb: int = 4096

    def __post_init__(self) -> None:
        """Check all values."""
        for name in ("keys_mb", "tenant_mb", "queue", "tenant_queue", "workers", "worker_mb"):
            integer(name, getattr(self, name), 1)
        for name in ("keep_days", "deadline", "body_deadline"):
            real(name, getattr(self, name), above_low=True)
        if self.max_rows is not None:
            integer("max_rows", self.max_rows, 1)


def application(
    models: Source | Sequence[Source] | Mapping[str, Source],
    *,
    keys: str | Path,
    tokens: str | Path | Authenticate | None = None,
    **options: Any,
) -> FastAPI:
    """Return the service as an ASGI application, for one process of a server of one's own.

    Parameters are those of `serve`.
    """
    try:
        from cipherfit.serve.http import make_app
        from cipherfit.serve.loading import Workforce, served
        from cipherfit.serve.metrics import Metrics
        from cipherfit.serve.state import Deadlines, Service
        from cipherfit.serve.workers import DIED
    except ImportError as error:
        raise _missing(error) from error
    bounds = Options(**options)
    limits = Limits(
        total_bytes=bounds.keys_mb * _MEGABYTE,
        tenant_bytes=bounds.tenant_mb * _MEGABYTE,
        seconds=bounds.keep_days * _DAY,
    )
    authenticate = _authenticate(tokens)
    store = KeyStore(Path(keys), limits)
    predictions = Admission(bounds.queue, bounds.tenant_queue)
    metrics = Metrics(store, predictions)

    def note_death(key: Key, why: str) -> None:
        metrics.deaths.labels(why).inc()
        if why == DIED:
            store.note_death(key.tenant, key.id)

    workforce = Workforce(bounds.workers, bounds.worker_mb * _MEGABYTE, note_death)
    service = Service(
        models=served(models, workforce, bounds.max_rows),
        keys=store,
        authenticate=authenticate,
        predictions=predictions,
        uploads=Admission(_UPLOADS, _UPLOADS_OF_ONE),
        deadlines=Deadlines(body=bounds.body_deadline, run=bounds.deadline),
        metrics=metrics,
    )
    return make_app(service)


def serve(
    models: Source | Sequence[Source] | Mapping[str, Source],
    *,
    keys: str | Path,
    tokens: str | Path | Authenticate | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    drain: int = 30,
    **options: Any,
) -> None:
    """Answer encrypted rows over HTTP until SIGTERM or SIGINT, and then what was asked before.

    Speaks plain HTTP: put a reverse proxy with TLS before it. See ``docs/service.md``.

    Parameters
    ----------
    models : Predictor or path, or a sequence of them, or a mapping from names to them
        Compiled. Files are called by their names, and predictors without a name by their digest.
    keys : str or Path
        Folder for clients' evaluation keys, which one service uses at a time. They outlast it.
    tokens : str, Path or callable, optional
        File with a tenant and the SHA-256 of its token on each line; or a function from a token,
        None where none is sent, to a tenant's name, or None. Default: whoever asks is one and the
        same tenant, which only a loopback address may be open to.
    host : str, default="127.0.0.1"
        Address to listen on.
    port : int in [0, 65535], default=8000
        Its port; 0 takes a free one, which the log tells.
    drain : int, default=30
        Seconds for what is under way when the service is told to end.

    Other Parameters
    ----------------
    keys_mb, tenant_mb : int, default=8192 and 1024
        Megabytes of all keys, and of one tenant's. Those go first that were not used for longest.
    keep_days : float, default=30
        Days that a key stays that is not used.
    max_rows : int, optional
        Rows of a request, at most. Default: 4096, and 64 where there are lookups.
    queue, tenant_queue : int, default=64 and 16
        Predictions that wait or run, in all and of one tenant; others are told to come back.
    deadline : float, default=60
        Seconds for a prediction to wait and run. Then its worker is ended.
    body_deadline : float, default=30
        Seconds for a prediction's body to come in, and for an upload between two of its pieces.
    workers : int, default=1
        Processes of each model that has encrypted lookups; others need none.
    worker_mb : int, default=4096
        Megabytes of memory of such a process: some 300 are its own, the rest is for keys that stay
        ready, as many as have room.

    Raises
    ------
    InvalidParameterError
        If a value can't be, or another service uses the folder of keys.
    NotCompiledError
        If a model is not compiled.
    MissingDependencyError
        If FastAPI, uvicorn or another of ``cipherfit[serve]`` is not installed.
    """
    _check_open_to(host, tokens)
    integer("port", port, 0, 65535)
    # A core dump would hold tokens.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    app = application(models, keys=keys, tokens=tokens, **options)
    try:
        import uvicorn
    except ImportError as error:
        raise _missing(error) from error

    log_to_stderr()
    config = listening_config(
        app,
        host=host,
        port=port,
        connections=_CONNECTIONS,
        drain=integer("drain", drain, 0),
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    if threading.current_thread() is threading.main_thread():
        # uvicorn drains, and then raises again what it got: here that is no reason to die.
        signal.signal(signal.SIGTERM, lambda *_: None)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()


def _missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"a service needs more packages ({error}): pip install 'cipherfit[serve]'"
    )


def _authenticate(tokens: str | Path | Authenticate | None) -> Authenticate:
    if tokens is None:
        return everyone
    return Tokens.read(tokens) if isinstance(tokens, str | Path) else tokens


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_open_to(host: str, tokens: str | Path | Authenticate | None) -> None:
    """Refuse to serve whoever asks on an address that others reach."""
    if tokens is None and not is_loopback(host):
        raise InvalidParameterError(
            f"host={host!r} is open to others: name a file of tokens, or listen on 127.0.0.1"
        )
