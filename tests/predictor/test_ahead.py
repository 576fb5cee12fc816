from __future__ import annotations

import threading

import pytest

from cipherfit.predictor.ahead import read_ahead


def test_all_parts_come_in_order():
    for n in (0, 1, 2, 50):
        assert list(read_ahead(iter(range(n)))) == list(range(n))


def test_the_next_part_is_taken_in_a_thread_and_no_more():
    taken = []

    def parts():
        for number in range(5):
            taken.append((number, threading.get_ident()))
            yield number

    read = read_ahead(parts())
    assert not taken
    for number in range(3):
        assert next(read) == number
    read.close()  # waits for the part that is being taken
    assert [number for number, _ in taken] == [0, 1, 2, 3]
    assert {thread for _, thread in taken} != {threading.get_ident()}
    assert not [thread for thread in threading.enumerate() if "cipherfit-read" in thread.name]


def test_what_fails_in_the_thread_is_raised_where_its_part_would_come():
    def parts():
        yield 1
        raise OSError("the disk is gone")

    read = read_ahead(parts())
    assert next(read) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(read)
