"""What client and server agree on: what keys are called, and several byte strings in one body.

A body is a count, then each string with its length before it.

All numbers are unsigned, of 32 bits, little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from cipherfit.exceptions import SerializationError

_NUMBER = struct.Struct("<I")
#: Bytes before the first frame, and before each frame's own.
OVERHEAD = _NUMBER.size


def key_id(evaluation_keys: bytes) -> str:
    """Return what evaluation keys are called: their SHA-256, in hexadecimal."""
    return hashlib.sha256(evaluation_keys).hexdigest()


def pack(frames: Sequence[bytes]) -> bytes:
    """Return byte strings as one.

    Parameters
    ----------
    frames : sequence of bytes
        Each shorter than 2**32.

    Returns
    -------
    bytes
    """
    parts = [_NUMBER.pack(len(frames))]
    for frame in frames:
        parts += [_NUMBER.pack(len(frame)), frame]
    return b"".join(parts)


def unpack(data: bytes, *, max_frames: int) -> list[bytes]:
    """Return the byte strings that `pack` put together.

    Parameters
    ----------
    data : bytes
        The whole of them, and nothing else.
    max_frames : int
        How many there may be.

    Returns
    -------
    list of bytes

    Raises
    ------
    SerializationError
        If the lengths don't add up, or there are none or too many.
    """
    count = _number(data, 0)
    if not 1 <= count <= max_frames:
        raise SerializationError(f"the body says {count} frames, and 1 to {max_frames} are allowed")
    frames, position = [], OVERHEAD
    for index in range(count):
        length = _number(data, position)
        position += OVERHEAD
        frame = data[position : position + length]
        if len(frame) != length:
            raise SerializationError(
                f"frame {index} says {length} bytes, and {len(frame)} are left in the body"
            )
        frames.append(frame)
        position += length
    if position != len(data):
        raise SerializationError(f"{len(data) - position} bytes follow the last frame")
    return frames


def _number(data: bytes, position: int) -> int:
    if len(data) < position + OVERHEAD:
        raise SerializationError(f"the body ends at {len(data)} bytes, within a length")
    (number,) = _NUMBER.unpack_from(data, position)
    return int(number)
