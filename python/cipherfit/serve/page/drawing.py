"""Which models read pictures that a person can draw, and what their pixels are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from cipherfit.predictor.predictor import Predictor

_LEAST_SIDE, _MOST_SIDE, _LEAST_CLASSES = 8, 64, 2


@dataclass(frozen=True)
class Drawing:
    """A square picture.

    Parameters
    ----------
    side : int
        Its pixels are ``side * side`` features, row by row.
    paper, ink : float
        Feature of a pixel without ink, and of one that is full of it.
    """

    side: int
    paper: float
    ink: float


def drawing_of(predictor: Predictor) -> Drawing | None:
    """Return the picture that a model reads, if it may read one.

    Parameters
    ----------
    predictor : Predictor
        The model. It is taken to read pictures if it tells classes of a square number of features,
        at least 8 x 8, that have no names and are not prepared.

    Returns
    -------
    Drawing or None
    """
    side = isqrt(predictor.n_features)
    looks_like_one = (
        predictor.preparation is None
        and predictor.features.names is None
        and predictor.is_classifier
        and predictor.targets.n_outputs >= _LEAST_CLASSES
        and side * side == predictor.n_features
        and _LEAST_SIDE <= side <= _MOST_SIDE
    )
    if not looks_like_one:
        return None
    quantizer = predictor.graph.to_dict()["input"]
    low = -quantizer["zero_point"] * quantizer["scale"]
    high = low + (2.0 ** quantizer["n_bits"] - 1) * quantizer["scale"]
    return Drawing(side, paper=_usual(low), ink=_usual(high))


def _usual(values: NDArray[np.float64]) -> float:
    """Return the value that most pixels have: those at the border may know no ink."""
    ((value, _),) = Counter(float(f"{value:.3g}") for value in values.tolist()).most_common(1)
    return value
