"""How our servers listen: with bounds, and saying nothing of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn import Config

#: Of a request's head; a token and a digest take some hundreds of bytes.
_HEAD_BYTES = 16_384


def listening_config(app: Any, *, connections: int, drain: int, **options: Any) -> Config:
    """Return how uvicorn serves an application.

    Parameters
    ----------
    app : callable
        The ASGI application.
    connections : int
        Of all clients at a time; others get 503.
    drain : int
        Seconds for what is under way when it is told to end.
    **options
        More of uvicorn's.
    """
    import uvicorn

    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_graceful_shutdown=drain,
        **options,
    )
