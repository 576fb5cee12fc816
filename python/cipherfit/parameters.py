"""Checks of single numbers that users give: real ones, whole ones, and within which limits."""

from __future__ import annotations

import math
import numbers
from typing import Any

from cipherfit.exceptions import InvalidParameterError


def real(
    name: str, value: Any, low: float = 0.0, high: float = math.inf, *, above_low: bool = False
) -> float:
    """Return a number in [low, high) as a float.

    Parameters
    ----------
    name : str
        What the parameter is called.
    value : object
        What was given for it: a number of Python's or NumPy's, and no bool.
    low, high : float, default=0 and infinity
        Where it must lie.
    above_low : bool, default=False
        Whether `low` itself is excluded, too.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameterError
        If it is no number, or lies elsewhere; NaN does.
    """
    if not _is(numbers.Real, value) or not low <= value < high or (above_low and value == low):
        if math.isinf(high):
            allowed = f" above {low:g}" if above_low else f", at least {low:g}"
        else:
            allowed = f" in {'(' if above_low else '['}{low:g}, {high:g})"
        raise InvalidParameterError(f"{name}={value!r} must be a number{allowed}")
    return float(value)


def fraction(name: str, value: Any) -> float:
    """Return a number strictly between 0 and 1 as a float: see `real`."""
    return real(name, value, 0.0, 1.0, above_low=True)


def integer(
    name: str, value: Any, low: int, high: int | None = None, *, what: str = "", why: str = ""
) -> int:
    """Return an integer in [low, high] as an int.

    Parameters
    ----------
    name : str
        What the parameter is called.
    value : object
        What was given for it: an integer of Python's or NumPy's, and no bool.
    low : int
        The least that is allowed.
    high : int, optional
        The most. Default: no limit.
    what : str, optional
        What the parameter is, in words that start the message.
    why : str, optional
        Where the limits come from, in words that end it.

    Returns
    -------
    int

    Raises
    ------
    InvalidParameterError
        If it is no integer, or out of range.
    """
    if not _is(numbers.Integral, value) or value < low or (high is not None and value > high):
        allowed = f", at least {low}" if high is None else f" in [{low}, {high}]"
        start, end = f"Invalid {what}: " if what else "", f": {why}" if why else ""
        raise InvalidParameterError(f"{start}{name}={value!r} must be an integer{allowed}{end}")
    return int(value)


def _is(kind: type, value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
