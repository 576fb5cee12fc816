"""Files of cipherfit's: safetensors with one canonical JSON text, and nothing that runs.

Its checksum covers all of it, and sizes are checked before memory is taken. Whoever reads a file
compares it with what it writes of what it read: docs/model-file.md is the specification.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cipherfit.exceptions import SerializationError

#: Bytes that a file, and the JSON header in it, may have.
MAX_FILE_BYTES, MAX_HEADER_BYTES = 1 << 29, 1 << 23
VERSION = 1
_KEY = "cipherfit"
_LENGTH_BYTES = 8


def canonical(value: Any) -> str:
    """Return JSON in its one canonical form: sorted keys, no spaces, ASCII, finite numbers.

    Raises
    ------
    SerializationError
        If it holds what JSON can't, or NaN or infinity.
    """
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"this can't be stored: {error}") from None


def encode(kind: str, metadata: Mapping[str, Any], tensors: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a file.

    Parameters
    ----------
    kind : str
        What the file is.
    metadata : mapping
        Plain values for JSON, without the keys "format", "kind" and "sha256".
    tensors : mapping of str to bytes
        What is no JSON, by name.
    """
    document = {**metadata, "format": VERSION, "kind": kind}
    document["sha256"] = _checksum(document, tensors)
    text = canonical(document)
    arrays = {name: np.frombuffer(data, dtype=np.uint8) for name, data in tensors.items()}
    data: bytes = save_tensors(arrays, metadata={_KEY: text})
    header = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if header > MAX_HEADER_BYTES or len(data) > MAX_FILE_BYTES:
        raise SerializationError(
            f"the file would have {len(data)} bytes, {header} of them its header; at most "
            f"{MAX_FILE_BYTES} and {MAX_HEADER_BYTES} are allowed"
        )
    return data


def decode(
    data: bytes, kind: str, keys: frozenset[str], names: frozenset[str]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the metadata and the tensors of a file's bytes.

    Parameters
    ----------
    data : bytes
        The file.
    kind : str
        What it has to be.
    keys, names : frozenset of str
        Keys that its metadata has besides "format", "kind" and "sha256", and names of its tensors:
        all of them, and no others.

    Raises
    ------
    SerializationError
        If it is anything else; other ways to write the same are left to the caller to find.
    """
    header = _header(data)
    if set(header) != {"__metadata__", *names}:
        raise SerializationError(f"the file has the parts {_listed(header)}, not {_listed(names)}")
    for name in names:
        _check_tensor(name, header[name])
    document = _document(header["__metadata__"])
    if document.get("kind") != kind:
        raise SerializationError(f"this is no {kind}: its kind is {document.get('kind')!r:.60}")
    if type(document.get("format")) is not int or document["format"] != VERSION:
        raise SerializationError(
            f"format {document.get('format')!r:.60} is unknown; this version reads {VERSION}"
        )
    if set(document) != {*keys, "format", "kind", "sha256"}:
        raise SerializationError(f"the metadata has the keys {_listed(document)}, not those of 1")
    try:
        tensors = {name: array.tobytes() for name, array in load_tensors(data).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise SerializationError(f"this is no safetensors file: {error}") from None
    metadata = {key: document[key] for key in keys}
    if document["sha256"] != _checksum({**metadata, "format": VERSION, "kind": kind}, tensors):
        raise SerializationError("the file was altered: its checksum is another")
    return metadata, tensors


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file that is no larger than files may be.

    Raises
    ------
    SerializationError
        If it is larger; files that are not there are the `OSError` that they are.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SerializationError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    return data


def write_file(path: str | os.PathLike[str], *parts: bytes, mode: int = 0o666) -> None:
    """Write a file in one step: whoever reads sees the old one or the new one, whole.

    Parameters
    ----------
    path : str or path
        A file that is there is replaced.
    *parts : bytes
        One after the other.
    mode : int, default=0o666
        Who may read and write it; the umask takes from that.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Wait until names in a folder are on disk: a file that was renamed there stays renamed."""
    if os.name != "posix":
        return  # other systems open no folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(data: bytes) -> dict[str, Any]:
    """Return the header, whose claims are held against the bytes that are there."""
    if len(data) > MAX_FILE_BYTES:
        raise SerializationError(f"the file has {len(data)} bytes; at most {MAX_FILE_BYTES}")
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > min(MAX_HEADER_BYTES, len(data) - _LENGTH_BYTES):
        raise SerializationError(
            f"the file has {len(data)} bytes, and its header claims {length} of them; at most "
            f"{MAX_HEADER_BYTES} are allowed"
        )
    return _parsed(data[_LENGTH_BYTES : _LENGTH_BYTES + length], "header")


def _document(texts: Any) -> dict[str, Any]:
    if not isinstance(texts, dict) or set(texts) != {_KEY} or not isinstance(texts[_KEY], str):
        raise SerializationError(f"the metadata is not the one text {_KEY!r}")
    return _parsed(texts[_KEY].encode("ascii", "replace"), "metadata")


def _parsed(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"the {what} is no JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise SerializationError(f"the {what} is no JSON object")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not finite")


def _check_tensor(name: str, entry: Any) -> None:
    """Refuse what is no vector of bytes, before the library looks at it."""
    if not isinstance(entry, dict) or entry.get("dtype") != "U8":
        raise SerializationError(f"the part {name} is not of bytes (U8)")
    shape = entry.get("shape")
    if not isinstance(shape, list) or len(shape) != 1 or type(shape[0]) is not int:
        raise SerializationError(f"the part {name} is no vector")


def _checksum(document: Mapping[str, Any], tensors: Mapping[str, bytes]) -> str:
    """Return SHA-256 of the metadata, and of each tensor's name, length and bytes, sorted."""
    digest = hashlib.sha256(canonical(document).encode())
    for name in sorted(tensors):
        digest.update(f"\n{name} {len(tensors[name])}\n".encode())
        digest.update(tensors[name])
    return digest.hexdigest()


def _listed(names: Any) -> str:
    return ", ".join(sorted(f"{name:.40}" for name in names)[:20])
