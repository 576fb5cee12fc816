"""Message files: what is written is read, and nothing else is."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherfit.exceptions import (
    CipherfitError,
    InvalidInputError,
    InvalidParameterError,
    SerializationError,
)
from cipherfit.files.messages import Kind, Message
from cipherfit.serve.frames import pack

MODEL, OTHER = "0a" * 32, "0b" * 32
ROWS = Message(Kind.ROWS, MODEL, OTHER, pack([b"first", b"", b"third"]), 3)
DATA = ROWS.to_bytes()


def test_the_bytes_of_a_message_are_those_of_the_specification():
    body = b"\x01\0\0\0" + b"\x02\0\0\0" + b"hi"
    written = Message(Kind.ANSWERS, MODEL, OTHER, pack([b"hi"]), 2).to_bytes()
    header = (
        b"cipherft" + b"\x01\0\0\0" + b"\x03\0\0\0" + b"\x02\0\0\0\0\0\0\0" + b"\x0a\0\0\0\0\0\0\0"
    )
    header += b"\x0a" * 32 + b"\x0b" * 32
    assert written == header + hashlib.sha256(header + body).digest() + body


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6))
def test_frames_are_read_as_they_were_packed(frames):
    message = Message(Kind.ROWS, MODEL, OTHER, pack(frames), len(frames))
    read = Message.from_bytes(message.to_bytes(), kind=Kind.ROWS)
    assert read == message
    assert read.frames() == frames


@pytest.mark.parametrize(
    ("data", "kind", "error", "message"),
    [
        (b"", Kind.ROWS, SerializationError, "rows.enc is no message of cipherfit's: it has 0"),
        (b"PK" + DATA[2:], Kind.ROWS, SerializationError, "no message.*magic 'cipherft'"),
        (DATA[:127], Kind.ROWS, SerializationError, "it has 127 bytes.*header of 128"),
        (DATA[:8] + b"\x07" + DATA[9:], Kind.ROWS, SerializationError, "version 7.*reads 1"),
        (DATA, Kind.ANSWERS, InvalidInputError, "holds rows, where answers belong"),
        (DATA[:12] + b"\x09" + DATA[13:], Kind.ROWS, InvalidInputError, r"unknown \(kind 9\)"),
        (DATA[:-1], Kind.ROWS, SerializationError, "is cut off: 25 bytes follow .* promises 26"),
        (DATA + b"!", Kind.ROWS, SerializationError, "is too long: 27 bytes follow"),
        (DATA[:-1] + b"!", Kind.ROWS, SerializationError, "is damaged: its SHA-256"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(data, kind, error, message):
    with pytest.raises(error, match=message):
        Message.from_bytes(data, kind=kind, name="rows.enc")


def test_evaluation_keys_are_named_by_what_they_are():
    good = Message.of_keys(MODEL, b"keys").to_bytes()
    read = Message.from_bytes(good, kind=Kind.EVALUATION_KEYS)
    assert read.key == hashlib.sha256(b"keys").hexdigest()
    bad = Message(Kind.EVALUATION_KEYS, MODEL, OTHER, b"keys").to_bytes()
    with pytest.raises(SerializationError, match=f"names other keys than it holds: {OTHER}"):
        Message.from_bytes(bad, kind=Kind.EVALUATION_KEYS)


def test_a_message_for_another_model_or_under_other_keys_is_refused():
    ROWS.check_belongs(model=MODEL, key=OTHER, name="rows.enc")
    with pytest.raises(InvalidInputError, match=f"rows.enc belong to the model {MODEL}, and this"):
        ROWS.check_belongs(model=OTHER, name="rows.enc")
    with pytest.raises(InvalidInputError, match=f"were made under the keys {OTHER}, and these are"):
        ROWS.check_belongs(model=MODEL, key=MODEL, name="rows.enc")


def test_frames_are_no_more_than_rows():
    with pytest.raises(SerializationError, match="says 3 frames, and 1 to 2 are allowed"):
        replace(ROWS, n_rows=2).frames()


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(place, change):
    changed = bytearray(DATA)
    changed[place] ^= change
    with pytest.raises(CipherfitError):
        Message.from_bytes(bytes(changed), kind=Kind.ROWS)


def test_digests_are_sha_256():
    for text in ("", "0a", "x" * 64):
        with pytest.raises(InvalidParameterError, match=f"model='{text}' must be a SHA-256"):
            Message(Kind.ROWS, text, OTHER, b"").to_bytes()


def test_what_a_message_shows_of_itself_is_no_ciphertext():
    assert "third" not in repr(ROWS)
    assert "Message(rows, model=0a" in repr(ROWS)
