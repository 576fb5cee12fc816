"""Where the marks of a picture are: shares of its width and height, in percent."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from cipherfit.report.data import Front
from cipherfit.report.measured import Interval, TargetQuality
from cipherfit.report.proven import LayerProof
from cipherfit.report.words import number, seconds

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
#: The least difference of an axis's ends, as a part of the larger, and from 0.
_LEAST_SPAN = 1e-9


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis.

    Parameters
    ----------
    place : float
        In percent of its length.
    label : str
        What it says.
    """

    place: float
    label: str


@dataclass(frozen=True)
class Axis:
    """From values to places.

    Parameters
    ----------
    low, high : float
        Values at its ends.
    is_log : bool, default=False
        Whether its places are logarithms.
    ticks : tuple of Tick, default=()
        What is labelled.
    """

    low: float
    high: float
    is_log: bool = False
    ticks: tuple[Tick, ...] = ()

    def place(self, value: float) -> float:
        """Return where a value is, in percent; what lies beyond is at the end."""
        low, high, value = (self._inner(each) for each in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return round(100 * min(max(share, 0.0), 1.0), 3)

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def linear(low: float, high: float, n_ticks: int = 5, label: object = None) -> Axis:
    """Return an axis from one value to another, with round values labelled.

    Parameters
    ----------
    low, high : float
        Its ends; where they are equal it is widened.
    n_ticks : int, default=5
        About how many values are labelled.
    label : callable, optional
        From a value to its label. Default: few digits.
    """
    if not high - low > _LEAST_SPAN * max(abs(low), abs(high), _LEAST_SPAN):
        reach = max(abs(low) / 2, 0.5)
        low, high = low - reach, low + reach
    raw = (high - low) / n_ticks
    scale = 10.0 ** math.floor(math.log10(raw))
    step = scale * next(each for each in _STEPS if each * scale >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    axis = Axis(low, high)
    values = [float(f"{index * step:.12g}") for index in range(first, last + 1)]
    name = label if callable(label) else _short
    return Axis(low, high, ticks=tuple(Tick(axis.place(v), str(name(v))) for v in values))


def padded(values: Iterable[float], n_ticks: int = 5, label: object = None) -> Axis:
    """Return an axis that holds all values, with some room at its ends."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    room = 0.08 * (max(known) - min(known))
    return linear(min(known) - room, max(known) + room, n_ticks, label)


def logarithmic(values: Iterable[float]) -> Axis:
    """Return a logarithmic axis of seconds that holds all values, with powers of ten labelled."""
    known = list(values)
    low, high = min(known) / 1.6, max(known) * 1.6
    axis = Axis(low, high, is_log=True)
    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    marks = [10.0**decade for decade in decades]
    if len(marks) < 2:
        marks = [min(known), max(known)]
    return Axis(low, high, True, tuple(Tick(axis.place(v), seconds(v)) for v in marks))


@dataclass(frozen=True)
class Box:
    """A rectangle, in percent.

    Parameters
    ----------
    x, y, width, height : float
        Its place and size.
    title : str
        What it says when pointed at.
    """

    x: float
    y: float
    width: float
    height: float
    title: str = ""


@dataclass(frozen=True)
class ProofPicture:
    """The bars of a layer's proof.

    Parameters
    ----------
    proven, seen : tuple of Box
        What is proven, and what test rows reach.
    y : Axis
        From 0 to the layer's room.
    """

    proven: tuple[Box, ...]
    seen: tuple[Box, ...]
    y: Axis


def proof_picture(layer: LayerProof) -> ProofPicture:
    """Return the bars of a layer: proven intervals from 0, and what rows reach of them."""
    room = max(layer.room, 1)
    width = 100 / len(layer.bars)
    gap = 0.2 * width
    proven, seen = [], []
    for index, bar in enumerate(layer.bars):
        x = index * width + gap / 2
        who = (
            f"neuron {bar.first}" if bar.first == bar.last else f"neurons {bar.first} to {bar.last}"
        )
        says = f"{who}: proven 0 to {bar.width:,}"
        height = 100 * bar.width / room
        if bar.seen is not None:
            low, high = bar.seen
            says += f", test rows reach {low:,} to {high:,}"
            inner = max(100 * (high - low) / room, 0.6)
            seen.append(
                Box(
                    _r(x + gap),
                    _r(100 - 100 * low / room - inner),
                    _r(width - 3 * gap),
                    _r(inner),
                    says,
                )
            )
        proven.append(Box(_r(x), _r(100 - height), _r(width - gap), _r(height), says))
    ticks = tuple(Tick(100 * part, _short(round(part * layer.room))) for part in (0, 0.5, 1))
    return ProofPicture(tuple(proven), tuple(seen), Axis(0, room, ticks=ticks))


def histogram(target: TargetQuality) -> tuple[tuple[Box, ...], Axis, Axis]:
    """Return the bars of residuals, and their axes."""
    x = linear(target.edges[0], target.edges[-1], 4)
    y = linear(0, max(target.counts), 3)
    bars = []
    for count, low, high in zip(target.counts, target.edges, target.edges[1:], strict=False):
        left, right, top = x.place(low), x.place(high), y.place(count)
        title = f"{count} rows: residual {number(low, 3)} to {number(high, 3)}"
        bars.append(Box(left, _r(100 - top), _r(right - left), top, title))
    return tuple(bars), x, y


def scatter(target: TargetQuality) -> Axis:
    """Return the axis of truths and of predictions: the same for both."""
    return padded([value for point in target.points for value in point], 4)


def scores(intervals: Iterable[Interval], label: object) -> Axis:
    """Return an axis on which scores with their intervals lie."""
    return padded(
        [end for each in intervals for end in (each.low, each.high, each.value)], 3, label
    )


def front_axes(front: Front, label: object) -> tuple[Axis, Axis]:
    """Return the axes of a search: seconds, and scores."""
    limit = [] if front.max_latency is None else [front.max_latency]
    x = logarithmic([*(point.seconds for point in front.points), *limit])
    return x, padded([point.score for point in front.points], 4, label)


def _r(value: float) -> float:
    return round(value, 3)


def _short(value: float) -> str:
    if abs(value) < 1e5:
        return f"{value:,.10g}"
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if scale <= abs(value) < 1e3 * scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.2g}"
