"""Messages between client and server as files: a header, and what the service takes as a body.

A message file is a header of 120 bytes and a body:

| bytes | what |
|---|---|
| 0-7 | the magic ``cipherft`` in ASCII |
| 8-11 | format version, now 1 |
| 12-15 | kind: 1 evaluation keys, 2 encrypted rows, 3 encrypted answers |
| 16-23 | bytes of the body |
| 24-55 | digest of the model (SHA-256 of its server's graph) |
| 56-87 | identifier of the keys (SHA-256 of the evaluation keys) |
| 88-119 | SHA-256 of the body |

Integers are unsigned and little-endian. Of evaluation keys the body is the keys; else it is frames: a
count (4 bytes), then of each frame its length (4 bytes) and its bytes. The SHA-256 tells damage, not
forgery: who can change a file can change both.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from cipherfit.exceptions import InvalidInputError, InvalidParameterError, SerializationError

MAGIC = b"cipherft"
VERSION = 1
_HEADER = struct.Struct("<8sIIQ32s32s32s")
_LENGTH = struct.Struct("<I")


class Kind(IntEnum):
    """What a message holds."""

    EVALUATION_KEYS = 1
    ROWS = 2
    ANSWERS = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Message:
    """What one side sends to the other.

    Parameters
    ----------
    kind : Kind
        What it holds.
    model : str
        Digest of the model that it is for, in hexadecimal.
    key : str
        Identifier of the keys that it was made under, in hexadecimal.
    body : bytes
        As it goes over HTTP, too.
    """

    kind: Kind
    model: str
    key: str
    body: bytes

    def __repr__(self) -> str:
        return f"Message({self.kind}, model={self.model}, key={self.key}, {len(self.body)} bytes)"

    def to_bytes(self) -> bytes:
        """Return the bytes of a message file."""
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            self.kind,
            len(self.body),
            _digest_bytes("model", self.model),
            _digest_bytes("key", self.key),
            hashlib.sha256(self.body).digest(),
        )
        return header + self.body

    @classmethod
    def from_bytes(cls, data: bytes, *, kind: Kind, name: str = "this message") -> Message:
        """Read a message, and check all that its header says.

        Parameters
        ----------
        data : bytes
            Of a message file.
        kind : Kind
            What it has to hold.
        name : str, default="this message"
            How errors call it.

        Raises
        ------
        SerializationError
            If it is no message file, not of this version, cut off, too long or damaged.
        InvalidInputError
            If it is a message of another kind.
        """
        if len(data) < _HEADER.size or data[: len(MAGIC)] != MAGIC:
            raise SerializationError(
                f"{name} is no message of cipherfit's: it has {len(data)} bytes and doesn't start "
                f"with a header of {_HEADER.size} bytes and the magic {MAGIC.decode()!r}"
            )
        _, version, number, length, model, key, digest = _HEADER.unpack_from(data)
        if version != VERSION:
            raise SerializationError(
                f"{name} has format version {version}, and this cipherfit reads {VERSION}"
            )
        if number != kind:
            raise InvalidInputError(f"{name} holds {_kind_name(number)}, where {kind} belong")
        body = data[_HEADER.size :]
        if len(body) != length:
            what = "cut off" if len(body) < length else "too long"
            raise SerializationError(
                f"{name} is {what}: {len(body)} bytes follow its header, which promises {length}"
            )
        if hashlib.sha256(body).digest() != digest:
            raise SerializationError(f"{name} is damaged: its SHA-256 is not what its header says")
        if kind is Kind.EVALUATION_KEYS and key != digest:
            raise SerializationError(
                f"{name} names other keys than it holds: {key.hex()} for {digest.hex()}"
            )
        return cls(kind, model.hex(), key.hex(), body)

    def check_belongs(self, *, model: str, key: str | None = None, name: str) -> None:
        """Check whose message it is.

        Parameters
        ----------
        model : str
            Digest of the model that it has to be for.
        key : str, optional
            Identifier of the keys that it has to be made under.
        name : str
            How errors call it.

        Raises
        ------
        InvalidInputError
            If it is for another model, or made under other keys.
        """
        if self.model != model:
            raise InvalidInputError(f"{name} belong to the model {self.model}, and this is {model}")
        if key is not None and self.key != key:
            raise InvalidInputError(
                f"{name} were made under the keys {self.key}, and these are {key}"
            )


def pack_frames(frames: Sequence[bytes]) -> bytes:
    """Return frames as one body: their count, then of each its length and its bytes."""
    parts = [_LENGTH.pack(len(frames))]
    for frame in frames:
        parts += [_LENGTH.pack(len(frame)), frame]
    return b"".join(parts)


def unpack_frames(body: bytes, *, name: str = "this message") -> list[bytes]:
    """Return the frames of a body.

    Raises
    ------
    SerializationError
        If their lengths don't add up to the body's, or there are none.
    """
    if len(body) < _LENGTH.size:
        raise SerializationError(f"{name} has no frames: its body has {len(body)} bytes")
    (count,) = _LENGTH.unpack_from(body)
    if not 1 <= count <= len(body) // _LENGTH.size:
        raise SerializationError(f"{name} claims {count} frames in {len(body)} bytes")
    frames, start = [], _LENGTH.size
    for index in range(count):
        end = start + _LENGTH.size
        length = _LENGTH.unpack_from(body, start)[0] if end <= len(body) else 0
        if end + length > len(body):
            raise SerializationError(f"{name} ends within frame {index} of {count}")
        frames.append(body[end : end + length])
        start = end + length
    if start != len(body):
        raise SerializationError(f"{name} has {len(body) - start} bytes after its last frame")
    return frames


def _digest_bytes(name: str, text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise InvalidParameterError(f"{name}={text!r} must be a SHA-256 of 64 hexadecimal digits")
    return digest


def _kind_name(number: int) -> str:
    return str(Kind(number)) if number in set(Kind) else f"something unknown (kind {number})"
