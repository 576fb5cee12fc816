"""The page, the client and the service, from start to end: what `cipherfit serve --demo` runs."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import secrets
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cipherfit
from cipherfit.exceptions import InvalidParameterError, MissingDependencyError
from cipherfit.pages import asset, render
from cipherfit.predictor.predictor import Predictor
from cipherfit.serve.client import Client
from cipherfit.serve.listening import listening_config
from cipherfit.serve.page.drawing import Drawing, drawing_of
from cipherfit.serve.page.local import LocalClient
from cipherfit.serve.page.processes import ServiceProcess, free_port, listening, url
from cipherfit.serve.page.told import page_values
from cipherfit.serve.remote import HttpTransport
from cipherfit.serve.service import is_loopback

if TYPE_CHECKING:
    import uvicorn

_HOST = "127.0.0.1"
_PORT, _PAGE_PORT = 8000, 8080
_DRAIN_SECONDS = 2
_CONNECTIONS = 64
_TENANT = "demonstration"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DIGITS = 10
#: A person waits: rather an error than many tries.
_ATTEMPTS = 2


def demo(
    model: Predictor | str | Path,
    *,
    name: str | None = None,
    samples: Sequence[tuple[str, Sequence[float]]] = (),
    host: str = _HOST,
    port: int | None = None,
    page_port: int | None = None,
    form: bool = False,
    open_browser: bool = False,
    **options: Any,
) -> None:
    """Show a page to try a model on, until SIGTERM or SIGINT.

    The model is served by a process of its own. This process is the client: it makes keys, encrypts
    what the page gives it, and decrypts. Nothing stays: keys are in a temporary folder, encrypted
    under a passphrase that this process alone has, and go with it.

    Parameters
    ----------
    model : Predictor or path
        The model; compiled if it is not yet.
    name : str, optional
        What the page calls it. Default: its file's name.
    samples : sequence of (str, sequence of float), optional
        Rows to take with a click, where the model reads pictures, and what they are.
    host : str, default="127.0.0.1"
        Loopback address that the service listens on. The page is at 127.0.0.1.
    port : int in [0, 65535], optional
        The service's port, 0 for any. Default: 8000, or one of the next that is free.
    page_port : int in [0, 65535], optional
        The page's. Default: 8080, or one of the next that is free.
    form : bool, default=False
        Ask for numbers, also where the model seems to read pictures.
    open_browser : bool, default=False
        Whether to open the page.
    **options
        Bounds of the service: see `cipherfit.serve.serve`.

    Raises
    ------
    InvalidParameterError
        If a port is taken, the host is no loopback address, or the model has too many features.
    MissingDependencyError
        If a package of ``cipherfit[client,report,serve]`` is not installed.
    """
    if not is_loopback(host):
        raise InvalidParameterError(
            f"host={host!r} must be a loopback address: the page is for this machine alone"
        )
    port = free_port("port", host, port, _PORT)
    page_port = free_port("page_port", _HOST, page_port, _PAGE_PORT)
    # A core dump would hold keys.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if name is None:
        name = "model" if isinstance(model, Predictor) else Path(model).stem
    with (
        _ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="cipherfit-demo-") as folder,
        listening(_HOST, page_port) as page_socket,
    ):
        predictor = _compiled(model)
        served = {**options, "host": host, "port": port, "drain": _DRAIN_SECONDS}
        # The folder is for its owner alone.
        with _served(predictor, name, Path(folder), served) as (client, service):
            local = LocalClient(client, predictor)
            _show(local, service, page_socket, name, samples, form, open_browser)


def _compiled(model: Predictor | str | Path) -> Predictor:
    predictor = model if isinstance(model, Predictor) else cipherfit.load(model)
    if predictor.circuit is None:
        print("compiling ...", flush=True)
        predictor.compile()
    return predictor


@contextmanager
def _served(
    predictor: Predictor, name: str, folder: Path, options: dict[str, Any]
) -> Iterator[tuple[Client, ServiceProcess]]:
    """Serve a model in another process, and be its client, with keys that are there already."""
    digest = predictor.client_model().digest  # or an error, before anything is started
    path, tokens = folder / "model.cipherfit", folder / "tokens"
    predictor.save(path)
    token = secrets.token_urlsafe(32)
    tokens.write_text(f"{_TENANT} {hashlib.sha256(token.encode()).hexdigest()}\n")
    places = {"models": {name: str(path)}, "keys": str(folder / "service"), "tokens": str(tokens)}
    service = ServiceProcess(folder, {**options, **places})
    try:
        service.wait_until_ready()
        print("making keys ...", flush=True)
        with Client(
            service.url,
            folder / "client",
            passphrase=secrets.token_bytes(32),
            server=HttpTransport(service.url, token, attempts=_ATTEMPTS),
            token=token,
            digest=digest,
        ) as client:
            client.upload()
            yield client, service
    finally:
        _ignore_signals()  # until all is removed
        service.stop()


def _show(
    local: LocalClient,
    service: ServiceProcess,
    page_socket: socket.socket,
    name: str,
    samples: Sequence[tuple[str, Sequence[float]]],
    form: bool,
    open_browser: bool,
) -> None:
    """Serve the page until a signal comes."""
    try:
        import uvicorn

        from cipherfit.serve.page.guard import Guard
        from cipherfit.serve.page.http import make_page
    except ImportError as error:
        raise MissingDependencyError(
            f"the page needs more packages ({error}): pip install 'cipherfit[client,report,serve]'"
        ) from error
    token = secrets.token_urlsafe(32)
    drawing = None if form else drawing_of(local.predictor)
    html = render(
        "demo.html",
        **page_values(
            local,
            name=name,
            service=service.url,
            service_process=service.id,
            drawing=drawing,
            samples=_samples(local, drawing, samples),
            token=token,
        ),
    )
    port = page_socket.getsockname()[1]
    hosts = [f"{host}:{port}" for host in (_HOST, "localhost")]
    app = Guard(make_page(html, local), hosts, token)
    config = listening_config(app, connections=_CONNECTIONS, drain=_DRAIN_SECONDS)
    address = url(_HOST, port)
    server = uvicorn.Server(config)
    _end_with_signals(server)
    print(
        f"service  {service.url}  (process {service.id}, which sees ciphertexts alone)\n"
        f"page     {address}  (process {os.getpid()}, which holds the keys)\n"
        "Ctrl-C ends both.",
        flush=True,
    )
    if open_browser:
        threading.Timer(0.5, webbrowser.open, (address,)).start()
    server.run(sockets=[page_socket])


def _samples(
    local: LocalClient, drawing: Drawing | None, given: Sequence[tuple[str, Sequence[float]]]
) -> list[dict[str, Any]]:
    """Return pictures to take with a click: those given, else digits for who reads ten classes."""
    if drawing is None:
        return []
    if given:
        return [{"name": name, "row": [*map(float, row)]} for name, row in given]
    if local.predictor.targets.n_outputs != _DIGITS:
        return []
    ways = json.loads(asset("strokes.json"))
    return [{"name": str(digit), "strokes": each[0]} for digit, each in enumerate(ways)]


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this as Ctrl-C does: in order, so that nothing is left over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_signals(server: uvicorn.Server) -> None:
    """Let signals end a server that is yet to run: an exception would break its start."""

    def end(*_: object) -> None:
        server.should_exit = True

    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, end)


def _ignore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
