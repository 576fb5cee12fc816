"""The page over HTTP: what the local client's process answers to a browser on this machine."""

from __future__ import annotations

import json
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException

from cipherfit.exceptions import CipherfitError, InvalidInputError, ServiceError
from cipherfit.pages import asset
from cipherfit.predictor.fields import FieldError
from cipherfit.serve import bodies
from cipherfit.serve.admission import Admission
from cipherfit.serve.logs import failure
from cipherfit.serve.page.local import LocalClient
from cipherfit.serve.refusals import RefusedError, unprocessable

_MOST_BODY_BYTES = 1 << 20
_BODY_SECONDS = 10.0
_MOST_WAITING = 16
_STYLES = ("base.css", "demo.css")
_SCRIPTS = ("demo.js", "drawing.js")


def make_page(html: str, client: LocalClient) -> FastAPI:
    """Return the application that shows a page and answers its questions.

    Parameters
    ----------
    html : str
        The page.
    client : LocalClient
        What answers.

    Returns
    -------
    FastAPI
        To be put behind a `Guard`.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    places = Admission(_MOST_WAITING, _MOST_WAITING)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        return html

    for name in _STYLES:
        app.add_api_route(f"/{name}", _static(name, "text/css"), response_class=Response)
    for name in _SCRIPTS:
        app.add_api_route(f"/{name}", _static(name, "text/javascript"), response_class=Response)

    @app.post("/answer")
    async def answer(request: Request) -> Response:
        bodies.content_length(request, at_most=_MOST_BODY_BYTES)
        with places.place("page"):
            given = _row(await bodies.whole(request, _BODY_SECONDS))
            found = await anyio.to_thread.run_sync(client.answer, given)
        return JSONResponse(found)

    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


def _static(name: str, media_type: str) -> Any:
    text = asset(name)

    async def serve() -> Response:
        return Response(text, media_type=media_type)

    return serve


def _row(body: bytes) -> list[object]:
    """Return the row of a request: ``{"row": [...]}`` with numbers, texts and null."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    row = said.get("row") if isinstance(said, dict) and len(said) == 1 else None
    if not isinstance(row, list):
        raise unprocessable("body", 'send {"row": [...]}, a value for each feature')
    for index, value in enumerate(row, start=1):
        if not isinstance(value, str | int | float | None) or isinstance(value, bool):
            raise unprocessable("body", f"value {index} of the row must be a number, text or null")
    return row


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    await bodies.discard(request)
    told = {"error": error.kind, "message": error.message}
    return JSONResponse(told, error.status, error.headers)


async def _wrong_value(_: Request, error: Exception) -> Response:
    told: dict[str, Any] = {"error": "row", "message": str(error)}
    if isinstance(error, FieldError):
        value = error.value if isinstance(error.value, str | None) else repr(error.value)
        told |= {"feature": error.feature, "value": value, "allowed": error.allowed}
    return JSONResponse(told, 422)


async def _no_answer(_: Request, error: Exception) -> Response:
    message = f"the service doesn't answer: {error}"
    return JSONResponse({"error": "service", "message": message}, 502)


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    await bodies.discard(request)
    told = {"error": "path", "message": str(error.detail)}
    return JSONResponse(told, error.status_code, error.headers)


async def _unexpected(_: Request, error: Exception) -> Response:
    # Its message may hold what was asked, or of keys.
    failure("unexpected", error)
    message = f"something went wrong here ({type(error).__name__}); it is in the log"
    return JSONResponse({"error": "internal", "message": message}, 500)


_HANDLERS: dict[type[Exception], Any] = {
    RefusedError: _refused,
    InvalidInputError: _wrong_value,
    ServiceError: _no_answer,
    HTTPException: _no_such_path,
    CipherfitError: _unexpected,
    Exception: _unexpected,
}
