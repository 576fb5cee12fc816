"""Files are read within bounds, and written whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cipherfit.exceptions import SerializationError
from cipherfit.files.paths import read_bytes, write_bytes


def test_a_file_and_standard_input_are_read_alike(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"four")
    assert read_bytes(str(tmp_path / "file")) == b"four"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"four")))
    assert read_bytes("-") == b"four"


def test_more_than_the_limit_is_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"four")
    assert read_bytes(str(path), limit=4) == b"four"
    with pytest.raises(SerializationError, match=f"{path} has more than 3 bytes"):
        read_bytes(str(path), limit=3)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"four")))
    with pytest.raises(SerializationError, match="standard input has more than 3 bytes"):
        read_bytes("-", limit=3)


def test_a_file_is_replaced_with_the_mode_that_the_umask_gives(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = os.umask(0o027)
    try:
        write_bytes(str(path), b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [*tmp_path.iterdir()] == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [*tmp_path.iterdir()] == [path]


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_bytes(str(pipe), b"four")
        assert os.read(reader, 4) == b"four"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
