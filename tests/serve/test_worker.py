from __future__ import annotations

import subprocess
import sys

from cipherfit.serve.worker import ReadyKeys

#: In a process of its own, since the memory that other tests leave is given back at any time.
PROGRAM = """
import sys
from pathlib import Path
from cipherfit.serve.worker import ReadyKeys, memory

MEGABYTE = 1_000_000
paths = [str(Path(sys.argv[1]) / str(index)) for index in range(12)]
for path in paths:
    Path(path).write_bytes(bytes(5 * MEGABYTE))
reads = []

def read(data):
    reads.append(len(data))
    return bytearray(b"x") * 40 * MEGABYTE

before = memory()[1]
keys = ReadyKeys(read, before + 200 * MEGABYTE, 8)
for path in paths:
    assert len(keys.at(path)) == 40 * MEGABYTE
    assert memory()[1] < before + 230 * MEGABYTE
    keys.at(paths[0])
assert 3 <= len(keys) <= 5
# The first one was used each time, and read once.
assert len(reads) == 12
keys.at(paths[1])
assert len(reads) == 13
"""


def test_keys_stay_ready_as_long_as_memory_has_room_and_those_used_last_stay_longest(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_keys_in_use_are_ready_whatever_they_take(tmp_path):
    (tmp_path / "k").write_bytes(b"key")
    keys = ReadyKeys(bytes, 1, 8)
    assert keys.at(str(tmp_path / "k")) == b"key"
    assert len(keys) == 1
