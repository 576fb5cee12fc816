"""Files are written in one step and read within limits."""

from __future__ import annotations

import os
import stat

import pytest

from cipherfit.exceptions import SerializationError
from cipherfit.predictor import container
from cipherfit.predictor.container import canonical, decode, encode, read_file, write_file

KEYS, NAMES = frozenset({"a"}), frozenset({"x", "y"})


def test_what_is_encoded_is_decoded():
    metadata, tensors = {"a": [1, 2.0, "ü", None, {"b": True}]}, {"y": b"", "x": bytes(range(256))}
    data = encode("thing", metadata, tensors)
    assert decode(data, "thing", KEYS, NAMES) == (metadata, tensors)
    assert encode("thing", metadata, dict(reversed(tensors.items()))) == data


def test_canonical_json_has_one_form():
    assert canonical({"b": 1.0, "a": "ü"}) == r'{"a":"\u00fc","b":1.0}'
    loop: list[object] = []
    loop.append(loop)
    for value in (float("nan"), float("inf"), {1, 2}, b"bytes", loop):
        with pytest.raises(SerializationError, match="can't be stored"):
            canonical(value)


def test_a_file_that_would_be_too_large_is_not_made(monkeypatch):
    monkeypatch.setattr(container, "MAX_FILE_BYTES", 1000)
    with pytest.raises(SerializationError, match="at most 1000 and 8388608 are allowed"):
        encode("thing", {"a": 1}, {"x": bytes(1000), "y": b""})
    monkeypatch.setattr(container, "MAX_HEADER_BYTES", 200)
    with pytest.raises(SerializationError, match="at most 1000 and 200 are allowed"):
        encode("thing", {"a": "long" * 100}, {"x": b"", "y": b""})


def test_a_file_that_is_too_large_is_not_read(monkeypatch, tmp_path):
    data = encode("thing", {"a": 1}, {"x": b"", "y": b""})
    monkeypatch.setattr(container, "MAX_FILE_BYTES", len(data))
    write_file(tmp_path / "f", data)
    assert read_file(tmp_path / "f") == data
    write_file(tmp_path / "f", data + b"\0")
    with pytest.raises(SerializationError, match="has more than"):
        read_file(tmp_path / "f")
    with pytest.raises(SerializationError, match="at most"):
        decode(data + b"\0", "thing", KEYS, NAMES)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "nothing")


def test_a_write_that_fails_leaves_the_old_file_alone(monkeypatch, tmp_path):
    write_file(tmp_path / "f", b"old")

    def fail(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_file(tmp_path / "f", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_file_has_the_mode_that_files_have(tmp_path):
    mask = os.umask(0o027)
    try:
        write_file(tmp_path / "f", b"data")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


def test_a_file_may_be_for_its_owner_alone_and_its_name_is_on_disk_when_it_is_written(
    monkeypatch, tmp_path
):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}"))
    )
    write_file(tmp_path / "f", b"da", b"ta", mode=0o600)
    assert (tmp_path / "f").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert synced[-1] == str(tmp_path)
