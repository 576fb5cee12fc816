"""What the page's own server answers at all: a browser also runs what other sites send it.

Another site must not be able to use it: neither by requests that its own pages make (they have
another origin, and not the token), nor by a name of its own that it lets point here (the host is
another then), nor by showing this page within its own.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The header that a page's requests carry its token in.
TOKEN_HEADER = "x-page-token"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
_READING = ("GET", "HEAD")


class Guard:
    """Lets requests of this page through, and no others.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    hosts : iterable of str
        What the page may be called in its address: ``127.0.0.1:8080``.
    token : str
        What the page was given, and all that changes or asks something must send.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # uvicorn closes it

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            await _refuse(send_guarded, *refusal)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str, str] | None:
        """Return status, kind and message of what a request is refused with, if it is."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            allowed = ", ".join(sorted(self._hosts))
            return 421, "host", f"this page answers to {allowed} only"
        is_navigation = headers.get("sec-fetch-mode") == "navigate"
        site = headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") and not (method in _READING and is_navigation):
            return 403, "origin", "another site asks"
        if method in _READING:
            return None
        if headers.getlist("origin") != [f"http://{hosts[0].lower()}"]:
            return 403, "origin", "the request must come from this page"
        if not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token):
            return 403, "token", "the page is of an earlier start: load it again"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "content_type", "send application/json"
        return None


async def _refuse(send: Send, status: int, kind: str, message: str) -> None:
    body = json.dumps({"error": kind, "message": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
