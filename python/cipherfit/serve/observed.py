"""What is logged and counted of each request, and what an error that no one expected becomes."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cipherfit.serve.logs import event, failure
from cipherfit.serve.metrics import Metrics

_UNEXPECTED = {"error": "internal", "message": "something went wrong here; it is in the log"}
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
#: Asked every few seconds by machines: they would fill the log.
_QUIET = ("/health/live", "/health/ready", "/metrics")

#: Others, of which a client may send any, are counted as one.
_METHODS = frozenset({"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"})


class Observed:
    """Logs and counts requests.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    metrics : Metrics
        What is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        name = uuid.uuid4().hex

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (*_HEADERS, (b"x-request-id", name.encode()))
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except Exception as error:
            failure("unexpected", error, request=name)
            if not status:
                await _send_unexpected(send_observed)
        finally:
            self._note(scope, name, status, time.perf_counter() - started)

    def _note(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(method, route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route in _QUIET:
            return
        state: dict[str, Any] = scope.get("state", {})
        event(
            "request",
            request=name,
            method=method,
            route=route,
            status=status,
            ms=round(1e3 * seconds, 2),
            tenant=state.get("tenant"),
            refusal=state.get("refusal"),
        )


async def _send_unexpected(send: Send) -> None:
    body = json.dumps(_UNEXPECTED).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
