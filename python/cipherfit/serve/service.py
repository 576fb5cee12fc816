"""A service from models and options: what `cipherfit serve` and `cipherfit.serve.serve` start."""

from __future__ import annotations

import ipaddress
import resource
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cipherfit.exceptions import InvalidParameterError, MissingDependencyError
from cipherfit.parameters import integer, real
from cipherfit.serve.keys import Key, KeyStore, Limits
from cipherfit.serve.loading import Source, Workforce, served
from cipherfit.serve.logs import log_to_stderr
from cipherfit.serve.tenants import Authenticate, Tokens, everyone

if TYPE_CHECKING:
    from fastapi import FastAPI

_MEGABYTE = 1_000_000
_DAY = 86_400.0
_KEEP_ALIVE_SECONDS = 30
#: Uploads under way, in all and of one tenant.
_UPLOADS, _UPLOADS_OF_ONE = 32, 2
#: Of a request's head; a token and a digest take some hundreds of bytes.
_HEAD_BYTES = 16_384
_CONNECTIONS = 1000


def application(
    models: Source | Sequence[Source] | Mapping[str, Source],
    *,
    keys: str | Path,
    tokens: str | Path | Authenticate | None = None,
    keys_mb: int = 8192,
    tenant_mb: int = 1024,
    keep_days: float = 30.0,
    max_rows: int | None = None,
    queue: int = 64,
    tenant_queue: int = 16,
    deadline: float = 60.0,
    body_deadline: float = 30.0,
    workers: int = 1,
    worker_mb: int = 8192,
) -> FastAPI:
    """Return the service as an ASGI application, for a server of one's own: one process of it.

    Parameters are those of `serve`.
    """
    try:
        from cipherfit.serve.http import make_app
        from cipherfit.serve.metrics import Metrics
        from cipherfit.serve.state import Deadlines, Service
    except ImportError as error:
        raise MissingDependencyError(
            f"a service needs more packages ({error}): pip install 'cipherfit[serve]'"
        ) from error
    from cipherfit.serve.admission import Admission

    limits = Limits(
        total_bytes=integer("keys_mb", keys_mb, 1) * _MEGABYTE,
        tenant_bytes=integer("tenant_mb", tenant_mb, 1) * _MEGABYTE,
        seconds=real("keep_days", keep_days, above_low=True) * _DAY,
    )
    deadlines = Deadlines(
        body=real("body_deadline", body_deadline, above_low=True),
        run=real("deadline", deadline, above_low=True),
    )
    predictions = Admission(integer("queue", queue, 1), integer("tenant_queue", tenant_queue, 1))
    worker_bytes = integer("worker_mb", worker_mb, 1) * _MEGABYTE
    n_workers = integer("workers", workers, 1)
    if max_rows is not None:
        integer("max_rows", max_rows, 1)
    store = KeyStore(Path(keys), limits)
    metrics = Metrics(store)

    def note_death(key: Key, why: str) -> None:
        metrics.deaths.labels(why).inc()
        store.note_death(key.tenant, key.id)

    workforce = Workforce(n_workers, worker_bytes, note_death)
    service = Service(
        models=served(models, workforce, max_rows),
        keys=store,
        authenticate=_authenticate(tokens),
        predictions=predictions,
        uploads=Admission(_UPLOADS, _UPLOADS_OF_ONE),
        deadlines=deadlines,
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
    keys_mb: int = 8192,
    tenant_mb: int = 1024,
    keep_days: float = 30.0,
    max_rows: int | None = None,
    queue: int = 64,
    tenant_queue: int = 16,
    deadline: float = 60.0,
    body_deadline: float = 30.0,
    drain: int = 30,
    workers: int = 1,
    worker_mb: int = 8192,
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
    drain : int, default=30
        Seconds for what is under way when the service is told to end.
    workers : int, default=1
        Processes of each model that has encrypted lookups; others need none.
    worker_mb : int, default=8192
        Megabytes of address space of such a process.

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
    app = application(
        models,
        keys=keys,
        tokens=tokens,
        keys_mb=keys_mb,
        tenant_mb=tenant_mb,
        keep_days=keep_days,
        max_rows=max_rows,
        queue=queue,
        tenant_queue=tenant_queue,
        deadline=deadline,
        body_deadline=body_deadline,
        workers=workers,
        worker_mb=worker_mb,
    )
    import uvicorn

    log_to_stderr()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=integer("drain", drain, 0),
    )
    if threading.current_thread() is threading.main_thread():
        # uvicorn drains, and then raises again what it got: here that is no reason to die.
        signal.signal(signal.SIGTERM, lambda *_: None)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()


def _authenticate(tokens: str | Path | Authenticate | None) -> Authenticate:
    if tokens is None:
        return everyone
    return Tokens.read(tokens) if isinstance(tokens, str | Path) else tokens


def _check_open_to(host: str, tokens: str | Path | Authenticate | None) -> None:
    """Refuse to serve whoever asks on an address that others reach."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if tokens is None and not is_loopback:
        raise InvalidParameterError(
            f"host={host!r} is open to others: name a file of tokens, or listen on 127.0.0.1"
        )
