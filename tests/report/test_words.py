"""Numbers and names as people read them."""

from __future__ import annotations

import math

import pytest

from cipherfit.report import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5678, "1,235"),
        (0.00012345, "0.0001234"),
        (1e-5, "1.000e\N{MINUS SIGN}05"),
        (-2.5, "\N{MINUS SIGN}2.500"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_numbers_have_four_digits(value, text):
    assert words.number(value) == text


def test_units_suit_the_size():
    assert [words.size(n) for n in (7, 1540, 140e6, 2e9)] == [
        "7 bytes", "1.54 kB", "140 MB", "2 GB",
    ]  # fmt: skip
    assert [words.seconds(s) for s in (0.00078, 0.5, 1.25, 4000, math.nan)] == [
        "0.78 ms", "500 ms", "1.25 s", "4,000 s", "unknown",
    ]  # fmt: skip
    assert (words.percent(0.1234), words.percents(0.1, 0.2)) == ("12.3 %", "10.0 to 20.0 %")
    assert (words.count(1, "row"), words.count(2000, "row")) == ("1 row", "2,000 rows")


def test_powers_of_two_are_written_as_such():
    assert words.power_of_two(192) == "2\u00b9\u2079\u00b2"


def test_signs_are_shown_but_not_of_what_is_rounded_to_nothing():
    minus = "\N{MINUS SIGN}"
    assert [words.signed(v, 1) for v in (0.04, -0.04, 0.06, -1)] == [
        "0.0", "0.0", "+0.1", f"{minus}1.0",
    ]  # fmt: skip


def test_names_are_cut_and_what_cant_be_shown_is_marked():
    assert words.shown("a" * 100) == "a" * 59 + "\N{HORIZONTAL ELLIPSIS}"
    assert words.shown("a\0b\nc\ud800") == "a\ufffdb\ufffdc\ufffd"
    assert words.shown(3.5) == "3.5"
    assert words.shown("<script>\"'&") == "<script>\"'&"  # templates escape
    words.shown("\ud800").encode()
