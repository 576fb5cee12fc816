"""How a key comes in: checked for who may and how long it is before, and for what it is after."""

from __future__ import annotations

import logging
from functools import partial

import anyio.to_thread
from fastapi import Request, Response

from cipherfit.serve import bodies
from cipherfit.serve.keys import Upload
from cipherfit.serve.logs import event
from cipherfit.serve.models import ServedModel
from cipherfit.serve.refusals import RefusedError, unprocessable
from cipherfit.serve.state import Service


async def receive(
    service: Service,
    request: Request,
    tenant: str,
    key: str,
    model: ServedModel,
    offset: int,
    length: int,
) -> Response:
    """Take the bytes of a key from an offset on, and keep it once it is complete and right.

    Parameters
    ----------
    service : Service
        Where to.
    request : Request
        Its body is the bytes.
    tenant, key : str
        Whose, and the SHA-256 that the whole must have.
    model : ServedModel
        What it is for.
    offset, length : int
        Bytes that are here already, and those of the whole.

    Returns
    -------
    Response
        200 if it is here already, 201 if it is complete now, 204 if more is missing.

    Raises
    ------
    RefusedError
        If it is not taken.
    """
    if length != model.key_bytes:
        raise unprocessable(
            "key_length", f"keys for this model have {model.key_bytes} bytes, not {length}"
        )
    if service.keys.uploaded(tenant, key) is None:
        return await _again(service, request, tenant, key, model)
    name = (tenant, key)
    if name in service.uploading:
        raise RefusedError(409, "uploading", f"key {key[:12]}... is being uploaded already")
    with service.uploads.place(tenant), service.keys.held(tenant, key):
        service.uploading.add(name)
        try:
            return await _take(service, request, tenant, key, model, offset, length)
        finally:
            service.uploading.discard(name)


async def _again(
    service: Service, request: Request, tenant: str, key: str, model: ServedModel
) -> Response:
    """Answer an upload of what is here: its bytes are read, and not kept."""
    if service.keys.find(tenant, key).fits != model.fits:
        raise RefusedError(409, "other_model", f"key {key[:12]}... was made for another model")
    async for _ in bodies.pieces(request, service.deadlines.body):
        pass
    return Response(status_code=200)


async def _take(
    service: Service,
    request: Request,
    tenant: str,
    key: str,
    model: ServedModel,
    offset: int,
    length: int,
) -> Response:
    begin = partial(service.keys.begin, tenant, key, model.fits, length, offset=offset)
    upload = await anyio.to_thread.run_sync(begin)
    try:
        async for piece in bodies.pieces(request, service.deadlines.body):
            upload.write(piece)
    except OSError as error:
        event("disk_failed", level=logging.ERROR, number=error.errno)
        raise RefusedError(503, "storage", "the key can't be written to disk now") from error
    finally:
        # What has come in stays, however the rest goes: a client resumes from it.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(upload.close)
    if not upload.is_complete:
        here = service.keys.uploaded(tenant, key)
        return Response(status_code=204, headers={"Upload-Offset": str(here or 0)})
    try:
        await anyio.to_thread.run_sync(_check, model, upload)
    except RefusedError:
        await anyio.to_thread.run_sync(service.keys.delete, tenant, key)
        raise
    await anyio.to_thread.run_sync(service.keys.finish, tenant, upload)
    return Response(status_code=201)


def _check(model: ServedModel, upload: Upload) -> None:
    if not upload.has_its_digest():
        raise unprocessable("digest", "the bytes don't have the SHA-256 of the key's id")
    model.check_keys(upload.part)
