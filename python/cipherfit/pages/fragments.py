"""Pieces of HTML for notebooks: tables, and pictures as SVG in the colour of the text around.

Whatever is given is text, and escaped, unless it is an `Html`, which these functions return. They
need nothing installed, ask nothing of a network, and hold no script and no style sheet, which
notebooks that aren't trusted would drop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Real

#: Names that a list shows.
_MOST_LISTED = 8
#: A picture of bars: the most bars, the width of one, and their height.
_MOST_BARS, _BAR, _BARS_HEIGHT = 64, 4, 32
#: A picture of points: its size, and what its labels take.
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 370, 170, 62, 34
_CELL = 'style="text-align:{};padding:.15em .6em"'
_AT_LEFT, _AT_RIGHT = _CELL.format("left"), _CELL.format("right")
#: Cells of a table that are no longer stay in one line.
_LONG, _IN_ONE_LINE = 30, _CELL.format("left;white-space:nowrap")


class Html(str):
    """A piece of HTML: text in it is escaped already."""

    __slots__ = ()


@dataclass(frozen=True)
class Point:
    """A point of a picture.

    Parameters
    ----------
    x, y : float
        Where; x is positive.
    label : str
        What it is, shown when it is pointed at.
    low, high : float, optional
        The ends of a line through it.
    is_filled : bool, default=False
        Whether it stands out.
    """

    x: float
    y: float
    label: str
    low: float | None = None
    high: float | None = None
    is_filled: bool = False


def panel(title: str, *parts: Html) -> Html:
    """Return pieces under a title."""
    return Html(
        '<div class="cipherfit" style="overflow-x:auto">'
        f'<p style="margin:.3em 0"><strong>{escape(title)}</strong></p>{"".join(parts)}</div>'
    )


def paragraph(text: str) -> Html:
    """Return a paragraph."""
    return Html(f'<p style="margin:.3em 0">{escape(text)}</p>')


def code(text: str) -> Html:
    """Return text as a machine's, such as a digest."""
    return Html(f"<code>{escape(text)}</code>")


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Return a table of names and what they are, one a line."""
    rows = "".join(
        f'<tr><th scope="row" {_AT_LEFT}>{escape(name)}</th>'
        f"<td {_AT_LEFT}>{_escaped(value)}</td></tr>"
        for name, value in pairs
    )
    return Html(f"<table><tbody>{rows}</tbody></table>")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table with a line of headings; numbers stand at the right of their column."""
    lines = [[(_escaped(cell), _side(cell)) for cell in row] for row in rows]
    sides = [side for _, side in lines[0]] if lines else [_AT_LEFT] * len(columns)
    head = "".join(
        f'<th scope="col" {side}>{escape(column)}</th>'
        for column, side in zip(columns, sides, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td {side}>{cell}</td>' for cell, side in line)}</tr>" for line in lines
    )
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def listed(names: Sequence[object]) -> str:
    """Return the first names, and whether there are more."""
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    return ", ".join(str(name) for name in names[:_MOST_LISTED]) + more


def bars(heights: Sequence[float], limit: float, label: str) -> Html:
    """Return a picture of bars under a limit, a broken line.

    Parameters
    ----------
    heights : sequence of float
        At least 0. Of many, several share a bar, as high as the highest of them.
    limit : float
        Where the line is.
    label : str
        What is drawn, for those who don't see it.

    Returns
    -------
    Html
    """
    share = math.ceil(len(heights) / _MOST_BARS)
    tops = [max(heights[first : first + share]) for first in range(0, len(heights), share)]
    scale = (_BARS_HEIGHT - 2) / (max(limit, *tops) or 1)
    width = _BAR * len(tops)
    path = "".join(
        f"M{_BAR * index + _BAR / 2:g},{_BARS_HEIGHT}V{_BARS_HEIGHT - scale * top:.4g}"
        for index, top in enumerate(tops)
    )
    line = _BARS_HEIGHT - scale * limit
    return _svg(
        width, _BARS_HEIGHT, label,
        f'<path d="{path}" stroke="currentColor" stroke-width="{_BAR - 1}" opacity=".55"/>'
        f'<path d="M0,{line:.4g}H{width}" stroke="currentColor" stroke-dasharray="3 2"/>',
    )  # fmt: skip


def share(part: float) -> Html:
    """Return a bar whose length is a part of a whole, in [0, 1]."""
    return _svg(
        100, 12, f"{part:.0%}",
        f'<path d="M0,6H{100 * part:.4g}" stroke="currentColor" stroke-width="8" opacity=".55"/>',
    )  # fmt: skip


def points(marks: Sequence[Point], x_name: str, y_name: str, label: str) -> Html:
    """Return a picture of points over a logarithmic axis.

    Parameters
    ----------
    marks : sequence of Point
        Those that are not finite are left out.
    x_name, y_name : str
        What the axes are.
    label : str
        What is drawn, for those who don't see it.

    Returns
    -------
    Html
        An empty piece where nothing is left.
    """
    marks = [mark for mark in marks if math.isfinite(mark.x) and math.isfinite(mark.y)]
    if not marks:
        return Html("")
    xs = [mark.x for mark in marks]
    ys = [value for mark in marks for value in (mark.y, mark.low, mark.high) if value is not None]
    across = _Scale(math.log10(min(xs)), math.log10(max(xs)), _LEFT + 8, _WIDTH - 10)
    up = _Scale(min(ys), max(ys), _HEIGHT - _BOTTOM - 8, 10)
    drawn = "".join(_mark(mark, across, up) for mark in marks)
    return _svg(_WIDTH, _HEIGHT, label, drawn + _axes(xs, ys, across, up, x_name, y_name))


@dataclass(frozen=True)
class _Scale:
    """From values to places in a picture."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Return where a value is; in the middle where all are the same."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def _mark(mark: Point, across: _Scale, up: _Scale) -> str:
    x, y = across.place(math.log10(mark.x)), up.place(mark.y)
    fill = "currentColor" if mark.is_filled else "none"
    span = ""
    if mark.low is not None and mark.high is not None:
        span = (
            f'<path d="M{x:.4g},{up.place(mark.low):.4g}V{up.place(mark.high):.4g}" '
            'stroke="currentColor" opacity=".5"/>'
        )
    return (
        f'{span}<circle cx="{x:.4g}" cy="{y:.4g}" r="4" fill="{fill}" stroke="currentColor">'
        f"<title>{escape(mark.label)}</title></circle>"
    )


def _axes(
    xs: list[float], ys: list[float], across: _Scale, up: _Scale, x_name: str, y_name: str
) -> str:
    base = _HEIGHT - _BOTTOM
    ticks = [
        _text(across.place(math.log10(x)), base + 13, f"{x:.2g}", "middle")
        for x in sorted({min(xs), max(xs)})
    ]
    ticks += [_text(_LEFT - 5, up.place(y) + 4, f"{y:.3g}", "end") for y in {min(ys), max(ys)}]
    middle = (_LEFT + _WIDTH) / 2
    return (
        f'<path d="M{_LEFT},4V{base}H{_WIDTH}" fill="none" stroke="currentColor" opacity=".6"/>'
        f"{''.join(ticks)}{_text(middle, _HEIGHT - 5, x_name, 'middle')}"
        f"{_text(_LEFT - 5, _HEIGHT / 2 - 12, y_name, 'end')}"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.4g}" y="{y:.4g}" text-anchor="{anchor}" font-size="11" '
        f'fill="currentColor">{escape(text)}</text>'
    )


def _svg(width: int, height: int, label: str, inner: str) -> Html:
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{inner}</svg>'
    )


def _side(value: object) -> str:
    if isinstance(value, Real):
        return _AT_RIGHT
    return _AT_LEFT if len(str(value)) > _LONG else _IN_ONE_LINE


def _escaped(value: object) -> str:
    return value if isinstance(value, Html) else escape(str(value))
