"""Digits as people draw them with a mouse or a finger: strokes, their variations, their pixels.

A picture is made of strokes as the page to try a model on makes it (``drawing.js`` beside its
template), which is how the digits that scikit-learn ships look: 8 x 8 pixels of 0 to 16, as high as
the picture, upright, at most three quarters as wide.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cipherfit.pages import asset

Float64 = NDArray[np.float64]
#: Points (n, 2) between 0 and 1, from left to right and from top to bottom, one after the other.
Stroke = Float64

SIDE = 8
_FULL = 16.0
#: Points of the fine picture for each pixel, in either direction.
_FINE = 3
_MOST_LEAN = 0.6
#: Of a pen, in heights of the picture.
_WIDTH = 0.115


@cache
def digits() -> list[list[list[Stroke]]]:
    """Return how each digit is written: for each of ten, some ways, each a list of strokes."""
    return [
        [[np.array(stroke) for stroke in way] for way in ways]
        for ways in json.loads(asset("strokes.json"))
    ]


def varied(strokes: Sequence[Stroke], rng: np.random.Generator) -> list[Stroke]:
    """Return strokes as another hand may draw them: leaning, turned, wide, bent and shaky."""
    turn, lean, width = rng.normal(0, 0.1), rng.normal(0, 0.2), np.exp(rng.normal(0, 0.2))
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[width, lean], [0, 1]])
    heights, phases = rng.normal(0, 0.04, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))
    frequencies = rng.uniform(2, 7, (2, 2))

    def bent(stroke: Stroke) -> Stroke:
        points = _evenly(stroke + rng.normal(0, 0.02, stroke.shape), 0.03)
        waves = heights * np.sin(frequencies * points[:, None, :] + phases)
        points = points + waves.sum(axis=2)
        return np.asarray((points - 0.5) @ matrix.T + 0.5 + rng.normal(0, 0.015, 2))

    return [bent(stroke) for stroke in strokes]


def picture(strokes: Sequence[Stroke], width: float = _WIDTH) -> Float64:
    """Return the pixels of strokes.

    Parameters
    ----------
    strokes : sequence of ndarray of shape (n_points, 2)
        At least one point in all.
    width : float, default=0.115
        Of the pen, in heights of the picture.

    Returns
    -------
    ndarray of shape (64,)
        Between 0 and 16, row by row.
    """
    upright = _deskewed(strokes)
    points = np.concatenate(upright)
    low, high = points.min(axis=0), points.max(axis=0)
    ink_width, ink_height = np.maximum(high - low, 1e-6)
    room = 1 - width
    scale_y = min(room / ink_height, 3 * room / ink_width)
    wanted = min(max(ink_width * scale_y, 0.3 - width), 0.75 - width)
    is_thin = ink_width * scale_y < 0.12
    scale = np.array([scale_y if is_thin else wanted / ink_width, scale_y])
    return _inked([(stroke - (low + high) / 2) * scale + 0.5 for stroke in upright], width)


def _deskewed(strokes: Sequence[Stroke]) -> list[Stroke]:
    """Shear strokes so that what leans stands: by moments of points that lie evenly."""
    points = np.concatenate([_evenly(stroke, 0.01) for stroke in strokes])
    middle = points.mean(axis=0)
    x, y = (points - middle).T
    square = float(y @ y)
    lean = np.clip(x @ y / square, -_MOST_LEAN, _MOST_LEAN) if square > 1e-6 else 0.0
    return [stroke - np.outer(stroke[:, 1] - middle[1], [lean, 0.0]) for stroke in strokes]


def _evenly(stroke: Stroke, step: float) -> Stroke:
    """Return points along a stroke, no further than a step from each other."""
    passed = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
    places = np.linspace(0, passed[-1], int(np.ceil(passed[-1] / step)) + 1)
    return np.column_stack([np.interp(places, passed, along) for along in stroke.T])


def _inked(strokes: Sequence[Stroke], width: float) -> Float64:
    """Return how much of each pixel a round pen of a width covers."""
    points = np.concatenate([_evenly(stroke, 0.04) for stroke in strokes])
    n_fine = SIDE * _FINE
    centres = (np.arange(n_fine) + 0.5) / n_fine
    squares_x = (centres - points[:, :1]) ** 2
    squares_y = (centres - points[:, 1:]) ** 2
    nearest = np.sqrt((squares_y[:, :, None] + squares_x[:, None, :]).min(axis=0))
    fine = np.clip((width / 2 - nearest) * n_fine + 0.5, 0, 1)
    return np.asarray(_FULL * fine.reshape(SIDE, _FINE, SIDE, _FINE).mean(axis=(1, 3)).ravel())
