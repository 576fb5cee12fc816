from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cipherfit.exceptions import SerializationError
from cipherfit.serve.frames import pack, unpack


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_what_is_packed_is_unpacked(frames):
    assert unpack(pack(frames), max_frames=5) == frames


@given(st.binary(max_size=40))
def test_other_bytes_are_refused_or_mean_one_thing(data):
    try:
        frames = unpack(data, max_frames=8)
    except SerializationError:
        return
    assert pack(frames) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends at 0 bytes"),
        (b"\0\0\0\0", "says 0 frames"),
        (b"\3\0\0\0", "says 3 frames, and 1 to 2"),
        (b"\1\0\0\0\5\0\0\0abcd", "frame 0 says 5 bytes, and 4 are left"),
        (b"\1\0\0\0\1\0\0\0ab", "1 bytes follow"),
        (b"\2\0\0\0\1\0\0\0a", "ends at 9 bytes, within a length"),
        (b"\1\0\0\0\xff\xff\xff\xff", "4294967295 bytes, and 0"),
    ],
)
def test_each_error_says_what_is_wrong(data, message):
    with pytest.raises(SerializationError, match=message):
        unpack(data, max_frames=2)
