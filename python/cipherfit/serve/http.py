"""The service over HTTP: what each path does is written once, here; what it means, elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

import cipherfit
from cipherfit.exceptions import SerializationError
from cipherfit.serve import bodies, frames, metrics, uploads
from cipherfit.serve.logs import failure
from cipherfit.serve.models import described
from cipherfit.serve.observed import Observed
from cipherfit.serve.refusals import RefusedError, unauthorized, unprocessable
from cipherfit.serve.state import Service

_SWEEP_SECONDS = 60.0
_BYTES = "application/octet-stream"
_HEXADECIMAL = r"^[0-9a-f]{64}$"


class Error(BaseModel):
    """What every refusal says."""

    error: str
    message: str


class Model(BaseModel):
    """What is known of a model."""

    digest: str
    name: str
    backend: str
    n_features: int
    key_bytes: int
    max_frames: int
    max_body_bytes: int


class Health(BaseModel):
    """How it is."""

    status: str


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _tenant(
    request: Request,
    credentials: Annotated[
        HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
    ],
) -> str:
    """Return who asks; nothing else of a request is looked at before."""
    token = credentials.credentials if credentials else None
    tenant = request.app.state.service.authenticate(token)
    if tenant is None:
        raise unauthorized()
    request.state.tenant = tenant
    return str(tenant)


Shared = Annotated[Service, Depends(_service)]
Tenant = Annotated[str, Depends(_tenant)]
Digest = Annotated[str, Path(pattern=_HEXADECIMAL, description="SHA-256 of the server's graph")]
KeyId = Annotated[str, Path(pattern=_HEXADECIMAL, description="SHA-256 of the key's bytes")]
OfModel = Annotated[str, Query(pattern=_HEXADECIMAL, description="Digest of the model")]
UnderKey = Annotated[str, Query(pattern=_HEXADECIMAL, description="Id of the key")]
Count = Annotated[int, Header(ge=0)]

_BODY = {
    "requestBody": {
        "required": True,
        "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ANSWER: dict[str, Any] = {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    texts = {
        400: "The body ended early",
        401: "No known token",
        404: "No such model or key",
        408: "The body came in too slowly",
        409: "Bytes are here that don't agree, or the key is for another model or quarantined",
        411: "No Content-Length",
        413: "Larger than allowed",
        422: "Not what it should be",
        429: "No room now: see Retry-After",
        503: "The worker ended, or is not ready, or the disk is full",
        504: "It took too long",
    }
    return {status: {"model": Error, "description": texts[status]} for status in statuses}


router = APIRouter()


@router.get("/v1/models", responses=_refusals(401), tags=["models"])
async def models(tenant: Tenant, service: Shared) -> list[Model]:
    """List the models that are served."""
    return [Model(**described(model)) for model in service.models.values()]


@router.get(
    "/v1/models/{digest}",
    response_class=Response,
    responses={200: _ANSWER, **_refusals(401, 404, 422)},
    tags=["models"],
)
async def client_file(digest: Digest, tenant: Tenant, service: Shared) -> Response:
    """Return the client's file of a model: no weights of the server's part are in it."""
    return Response(service.model(digest).client, media_type=_BYTES)


@router.post(
    "/v1/models/{digest}/predict",
    response_class=Response,
    openapi_extra=_BODY,
    responses={
        200: _ANSWER,
        **_refusals(400, 401, 404, 408, 409, 411, 413, 422, 429, 503, 504),
    },
    tags=["models"],
)
async def predict(
    request: Request, digest: Digest, key: UnderKey, tenant: Tenant, service: Shared
) -> Response:
    """Answer encrypted rows. Frames in, frames out: see the documentation of the service."""
    model = service.model(digest)
    bodies.content_length(request, at_most=model.max_body)
    found = service.keys.find(tenant, key)
    if found.fits != model.fits:
        raise RefusedError(409, "other_model", f"key {key[:12]}... was made for another model")
    with service.predictions.place(tenant), service.keys.held(tenant, key):
        body = await bodies.whole(request, service.deadlines.body)
        try:
            questions = frames.unpack(body, max_frames=model.max_frames)
        except SerializationError as error:
            raise unprocessable("frames", str(error)) from error
        model.check_frames(questions)
        try:
            with anyio.fail_after(service.deadlines.run):
                answers = await model.run(found, questions)
        except TimeoutError as error:
            message = f"it took more than {service.deadlines.run:g} s"
            raise RefusedError(504, "deadline", message) from error
    service.metrics.rows.labels(model.backend).inc(len(answers))
    return Response(frames.pack(answers), media_type=_BYTES)


@router.head(
    "/v1/keys/{key}",
    response_class=Response,
    responses={
        401: {"description": "No known token"},
        404: {
            "description": "Not complete: Upload-Offset says how many bytes are here",
            "headers": {"Upload-Offset": {"schema": {"type": "integer", "minimum": 0}}},
        },
        422: {"description": "No such id can be"},
    },
    tags=["keys"],
)
async def key_state(key: KeyId, tenant: Tenant, service: Shared) -> Response:
    """Tell whether a key is here, or how much of it."""
    here = service.keys.uploaded(tenant, key)
    if here is None:
        return Response()
    return Response(status_code=404, headers={"Upload-Offset": str(here)})


_OF_UPLOADS = _refusals(400, 401, 404, 408, 409, 411, 413, 422, 429, 503)


@router.put(
    "/v1/keys/{key}",
    response_class=Response,
    status_code=201,
    openapi_extra=_BODY,
    responses={200: {"description": "It was here already"}, **_OF_UPLOADS},
    tags=["keys"],
)
async def upload_key(
    request: Request, key: KeyId, model: OfModel, tenant: Tenant, service: Shared
) -> Response:
    """Upload a key as a whole. It may be sent again; an interrupted upload goes on with PATCH."""
    served = service.model(model)
    length = bodies.content_length(request, at_most=served.key_bytes)
    return await uploads.receive(service, request, tenant, key, served, 0, length)


@router.patch(
    "/v1/keys/{key}",
    response_class=Response,
    status_code=201,
    openapi_extra=_BODY,
    responses={
        200: {"description": "It was here already"},
        204: {
            "description": "More is missing: Upload-Offset says what is here",
            "headers": {"Upload-Offset": {"schema": {"type": "integer", "minimum": 0}}},
        },
        **_OF_UPLOADS,
    },
    tags=["keys"],
)
async def resume_upload(
    request: Request,
    key: KeyId,
    model: OfModel,
    upload_offset: Count,
    upload_length: Count,
    tenant: Tenant,
    service: Shared,
) -> Response:
    """Upload the next bytes of a key: Upload-Offset are here, of Upload-Length."""
    served = service.model(model)
    bodies.content_length(request, at_most=max(upload_length - upload_offset, 0))
    return await uploads.receive(
        service, request, tenant, key, served, upload_offset, upload_length
    )


@router.delete(
    "/v1/keys/{key}",
    response_class=Response,
    status_code=204,
    responses=_refusals(401, 422),
    tags=["keys"],
)
async def delete_key(key: KeyId, tenant: Tenant, service: Shared) -> Response:
    """Remove a key, or an upload; it may be gone already."""
    await anyio.to_thread.run_sync(service.keys.delete, tenant, key)
    return Response(status_code=204)


@router.get("/health/live", tags=["health"])
async def live() -> Health:
    """Tell that the process answers."""
    return Health(status="live")


@router.get("/health/ready", responses=_refusals(503), tags=["health"])
async def ready(service: Shared) -> Health:
    """Tell whether every model can answer."""
    waiting = [model.name for model in service.models.values() if not model.is_ready]
    if waiting:
        raise RefusedError(
            503, "not_ready", f"not ready: {', '.join(waiting)}", {"Retry-After": "1"}
        )
    return Health(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    tags=["health"],
)
async def counters(service: Shared) -> Response:
    """Return counters as Prometheus reads them."""
    return Response(service.metrics.page(), headers={"Content-Type": metrics.CONTENT_TYPE})


def make_app(service: Service) -> FastAPI:
    """Return the application of a service.

    Parameters
    ----------
    service : Service
        Closed when the application ends.

    Returns
    -------
    FastAPI
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for model in service.models.values():
            model.start()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_sweep, service)
            yield
            tasks.cancel_scope.cancel()
        await service.close()

    app = FastAPIOffline(
        title="cipherfit",
        version=cipherfit.__version__,
        description="Answers encrypted rows, and can't read them.",
        lifespan=lifespan,
        redoc_url=None,
        # Else the page sends the document to a validator on the network.
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.service = service
    app.include_router(router)
    app.add_middleware(Observed, metrics=service.metrics)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such_path)
    return app


async def _sweep(service: Service) -> None:
    while True:
        await anyio.sleep(_SWEEP_SECONDS)
        try:
            await anyio.to_thread.run_sync(service.keys.sweep)
        except Exception as error:
            # The next round may go better; a service that stops for it helps nobody.
            failure("sweep_failed", error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    request.state.refusal = error.kind
    if error.kind != "slow":
        await bodies.discard(request)
    return _answer(error.status, error.kind, error.message, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    places = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    await bodies.discard(request)
    return _answer(422, "parameters", places)


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    await bodies.discard(request)
    if error.status_code != 405:
        kind = "unknown_path" if error.status_code == 404 else "http"
        return _answer(error.status_code, kind, str(error.detail))
    # Starlette names the methods of the first route with this path alone.
    methods = {
        method
        for route in router.routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in getattr(route, "methods", ())
    }
    allowed = ", ".join(sorted(methods)) or "GET, HEAD"
    return _answer(405, "method", f"this path takes {allowed}", {"Allow": allowed})


def _answer(
    status: int, kind: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    return JSONResponse({"error": kind, "message": message}, status, headers)
