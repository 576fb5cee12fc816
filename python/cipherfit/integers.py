"""Types of integers: how wide, and whether below zero."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IntegerType:
    """A type of integers, as Concrete has them.

    Parameters
    ----------
    bits : int
        Its width, the sign included.
    signed : bool
        Whether it holds negative integers.
    """

    bits: int
    signed: bool = False

    @classmethod
    def of(cls, low: int, high: int) -> IntegerType:
        """Return the narrowest type that holds an interval, of at least one bit."""
        if low < 0:
            return cls(max((-low - 1).bit_length(), max(high, 0).bit_length()) + 1, signed=True)
        return cls(max(1, high.bit_length()))
