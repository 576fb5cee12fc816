"""Messages between client and server as files: a header, and what the service takes as a body.

A message file is a header of 128 bytes and a body:

| bytes | what |
|---|---|
| 0-7 | the magic ``cipherft`` in ASCII |
| 8-11 | format version, now 1 |
| 12-15 | kind: 1 evaluation keys, 2 encrypted rows, 3 encrypted answers |
| 16-23 | rows that it holds, 0 for keys |
| 24-31 | bytes of the body |
| 32-63 | digest of the model (SHA-256 of its server's graph) |
| 64-95 | identifier of the keys (SHA-256 of the evaluation keys) |
| 96-127 | SHA-256 of bytes 0-95 and the body |

Integers are unsigned and little-endian. Of evaluation keys the body is the keys; else it is the
frames of `cipherfit.serve.frames`: a row each with lookups, and without one for all rows. The
SHA-256 tells damage, not forgery: who can change a file can change both.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from cipherfit.exceptions import InvalidInputError, InvalidParameterError, SerializationError
from cipherfit.serve.frames import key_id, unpack

MAGIC = b"cipherft"
VERSION = 1
_FIELDS = struct.Struct("<8sIIQQ32s32s")
_DIGEST_BYTES = 32
_HEADER_BYTES = _FIELDS.size + _DIGEST_BYTES


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
    n_rows : int, default=0
        Rows that it holds.
    """

    kind: Kind
    model: str
    key: str
    body: bytes
    n_rows: int = 0

    @classmethod
    def of_keys(cls, model: str, keys: bytes) -> Message:
        """Return the message of evaluation keys."""
        return cls(Kind.EVALUATION_KEYS, model, key_id(keys), keys)

    def __repr__(self) -> str:
        return (
            f"Message({self.kind}, model={self.model}, key={self.key}, {self.n_rows} rows, "
            f"{len(self.body)} bytes)"
        )

    def to_bytes(self) -> bytes:
        """Return the bytes of a message file."""
        fields = _FIELDS.pack(
            MAGIC,
            VERSION,
            self.kind,
            self.n_rows,
            len(self.body),
            _digest_bytes("model", self.model),
            _digest_bytes("key", self.key),
        )
        return fields + _checksum(fields, self.body) + self.body

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
        if len(data) < _HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
            raise SerializationError(
                f"{name} is no message of cipherfit's: it has {len(data)} bytes and doesn't start "
                f"with a header of {_HEADER_BYTES} bytes and the magic {MAGIC.decode()!r}"
            )
        _, version, number, n_rows, length, model, key = _FIELDS.unpack_from(data)
        if version != VERSION:
            raise SerializationError(
                f"{name} has format version {version}, and this cipherfit reads {VERSION}"
            )
        if number != kind:
            raise InvalidInputError(f"{name} holds {_kind_name(number)}, where {kind} belong")
        body = data[_HEADER_BYTES:]
        if len(body) != length:
            what = "cut off" if len(body) < length else "too long"
            raise SerializationError(
                f"{name} is {what}: {len(body)} bytes follow its header, which promises {length}"
            )
        if _checksum(data[: _FIELDS.size], body) != data[_FIELDS.size : _HEADER_BYTES]:
            raise SerializationError(f"{name} is damaged: its SHA-256 is not what its header says")
        held = hashlib.sha256(body).digest()
        if kind is Kind.EVALUATION_KEYS and key != held:
            raise SerializationError(
                f"{name} names other keys than it holds: {key.hex()} for {held.hex()}"
            )
        return cls(kind, model.hex(), key.hex(), body, n_rows)

    def frames(self) -> list[bytes]:
        """Return the frames of the body.

        Raises
        ------
        SerializationError
            If their lengths don't add up to the body's, or they are more than rows.
        """
        return unpack(self.body, max_frames=max(1, self.n_rows))

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


def _checksum(fields: bytes, body: bytes) -> bytes:
    digest = hashlib.sha256(fields)
    digest.update(body)
    return digest.digest()


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
