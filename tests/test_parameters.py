"""Checks of single numbers that users give."""

import math

import numpy as np
import pytest

from cipherfit.exceptions import InvalidParameterError
from cipherfit.parameters import fraction, integer, real


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_of_python_and_numpy_are_ints(value):
    assert type(integer("n", value, 3, 3)) is int
    assert integer("n", value, 3) == 3


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int16(1)])
def test_numbers_of_python_and_numpy_are_floats(value):
    assert type(real("x", value)) is float
    assert real("x", value) == value


def test_limits_belong_to_the_range_as_documented():
    assert real("x", 0) == 0
    assert fraction("x", 5e-324) > 0
    assert integer("n", 10**30, 0) == 10**30


@pytest.mark.parametrize("value", [0, 7, 3.0, True, np.True_, None, "3", math.nan, [3]])
def test_what_is_no_integer_in_the_range_is_named(value):
    with pytest.raises(InvalidParameterError) as error:
        integer("n", value, 1, 6, what="number of n", why="so it is")
    message = f"Invalid number of n: n={value!r} must be an integer in [1, 6]: so it is"
    assert str(error.value) == message


@pytest.mark.parametrize("value", [0, 1, -0.1, True, np.True_, None, "0.5", math.nan, math.inf])
def test_what_is_no_fraction_is_named(value):
    with pytest.raises(InvalidParameterError) as error:
        fraction("x", value)
    assert str(error.value) == f"x={value!r} must be a number in (0, 1)"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: real("x", -1), "x=-1 must be a number, at least 0"),
        (lambda: real("x", math.inf), "x=inf must be a number, at least 0"),
        (lambda: real("x", 0, above_low=True), "x=0 must be a number above 0"),
        (lambda: real("x", 1.0, 0, 1), "x=1.0 must be a number in [0, 1)"),
        (lambda: integer("n", 1, 2), "n=1 must be an integer, at least 2"),
    ],
)
def test_the_message_says_what_is_allowed(check, message):
    with pytest.raises(InvalidParameterError) as error:
        check()
    assert str(error.value) == message
