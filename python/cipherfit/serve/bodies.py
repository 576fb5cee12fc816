"""How bodies come in: of an exact length, within bounds of size and time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from fastapi import Request
from starlette.requests import ClientDisconnect

from cipherfit.serve.refusals import RefusedError

#: Bytes of a refused body that are still read, so that its sender reads the refusal.
_DISCARDED = 1 << 20
_DISCARDED_SECONDS = 2.0


def content_length(request: Request, *, at_most: int) -> int:
    """Return the length that a body must have.

    Raises
    ------
    RefusedError
        411 if none is sent, 413 if it is more than allowed.
    """
    header = request.headers.get("content-length")
    if header is None or "transfer-encoding" in request.headers:
        raise RefusedError(411, "length_required", "send the body with a Content-Length")
    length = int(header)
    if length > at_most:
        raise RefusedError(
            413, "too_large", f"the body has {length} bytes, and at most {at_most} are allowed"
        )
    return length


async def pieces(request: Request, seconds: float) -> AsyncIterator[bytes]:
    """Yield a body as it comes in.

    Raises
    ------
    RefusedError
        408 if nothing comes in for so many seconds, 400 if the client goes away.
    """
    stream = request.stream()
    while True:
        try:
            with anyio.fail_after(seconds):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise RefusedError(408, "slow", f"nothing came in for {seconds:g} s") from error
        except ClientDisconnect as error:
            raise RefusedError(400, "disconnected", "the body ended early") from error
        if piece is None:
            return
        yield piece


async def whole(request: Request, seconds: float) -> bytes:
    """Return a body that comes in within so many seconds; its length is bounded already.

    Raises
    ------
    RefusedError
        408 if it takes longer, 400 if the client goes away.
    """
    try:
        with anyio.fail_after(seconds):
            return await request.body()
    except TimeoutError as error:
        raise RefusedError(408, "slow", f"the body took more than {seconds:g} s") from error
    except ClientDisconnect as error:
        raise RefusedError(400, "disconnected", "the body ended early") from error


async def discard(request: Request) -> None:
    """Read a little of a body that is refused.

    A server that closes while bytes are on their way resets the connection, and its answer with it.
    """
    size = 0
    try:
        with anyio.move_on_after(_DISCARDED_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > _DISCARDED:
                    return
    except (ClientDisconnect, RuntimeError):
        return  # the client is gone, or the body was read already
