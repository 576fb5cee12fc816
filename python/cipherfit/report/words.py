"""Numbers and names as people read them."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from cipherfit.costs import readable_bytes

_MOST_CHARACTERS = 60
_MINUS = "\N{MINUS SIGN}"
_RAISED = str.maketrans(
    "0123456789",
    "\N{SUPERSCRIPT ZERO}\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}"
    "\N{SUPERSCRIPT FOUR}\N{SUPERSCRIPT FIVE}\N{SUPERSCRIPT SIX}\N{SUPERSCRIPT SEVEN}"
    "\N{SUPERSCRIPT EIGHT}\N{SUPERSCRIPT NINE}",
)
#: What can't be shown, or not be written as UTF-8.
_UNSHOWN = ("Cc", "Cs")


def shown(name: Any, most: int = _MOST_CHARACTERS) -> str:
    """Return a name as text: what can't be shown is marked, what is long is cut."""
    text = "".join("\ufffd" if unicodedata.category(c) in _UNSHOWN else c for c in str(name))
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def number(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits."""
    if not math.isfinite(value):
        return "unknown"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e7:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{places}f}".replace("-", _MINUS)
    return f"{value:.{digits - 1}e}".replace("-", _MINUS)


def percent(value: float, digits: int = 1) -> str:
    """Return a share in percent."""
    return "unknown" if not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def percents(low: float, high: float, digits: int = 1) -> str:
    """Return an interval of shares in percent."""
    return f"{100 * low:.{digits}f} to {percent(high, digits)}"


def decimals(value: float) -> str:
    """Return a number with three decimals."""
    return "unknown" if not math.isfinite(value) else f"{value:.3f}".replace("-", _MINUS)


def power_of_two(exponent: int) -> str:
    """Return a power of two, its exponent raised."""
    return "2" + str(exponent).translate(_RAISED)


def count(n: int, thing: str) -> str:
    """Return how many things there are."""
    return f"{n:,} {thing}" if n == 1 else f"{n:,} {thing}s"


def integer(value: int) -> str:
    """Return a whole number, its thousands apart."""
    return f"{value:,}".replace("-", _MINUS)


def points(value: float) -> str:
    """Return a difference of shares in percentage points."""
    return "unknown" if not math.isfinite(value) else f"{100 * value:.2f} points"


def signed(value: float, digits: int) -> str:
    """Return a number with its sign and so many decimals."""
    if not math.isfinite(value):
        return "unknown"
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return f"{'+' if value > 0 else _MINUS}{text}"


#: Return a number of bytes.
size = readable_bytes


def seconds(value: float) -> str:
    """Return a time."""
    if not math.isfinite(value):
        return "unknown"
    if value >= 1:
        return f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"
    return f"{1e3 * value:.3g} ms"


def percent0(value: float) -> str:
    """Return a share in whole percents."""
    return percent(value, 0)
