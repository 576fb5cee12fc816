"""What the neurons of a random client layer read: a few features, or a patch of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cipherfit.exceptions import InvalidParameterError
from cipherfit.parameters import integer

Int64 = NDArray[np.int64]

#: What `client_features` may be.
CLIENT_FEATURES = ("auto", "pairs", "patches")
#: Least side of a square of features that is taken for an image without being told.
_LEAST_SIDE = 8


class FeatureKind(Protocol):
    """A way to draw what neurons read."""

    def draw(self, n_inputs: int, n_neurons: int, rng: np.random.Generator) -> list[Int64]:
        """Return which of the inputs each neuron reads."""

    def default_width(self, n_inputs: int) -> int:
        """Return how many neurons a layer has by default."""


class Pairs:
    """Two features each, or (every fourth neuron) one: all of them as evenly as it goes."""

    def draw(self, n_inputs: int, n_neurons: int, rng: np.random.Generator) -> list[Int64]:
        """Return which of the inputs each neuron reads."""
        circle = rng.permutation(n_inputs)
        # As in a tournament: in each round, all features meet those at one distance on the circle.
        distances = rng.permutation(np.arange(1, max(2, n_inputs // 2 + 1)))
        drawn = []
        for neuron in range(n_neurons):
            n_single, is_pair = divmod(neuron, 4)
            if not is_pair:
                drawn.append(circle[[n_single % n_inputs]])
                continue
            turn, place = divmod(neuron - n_single - 1, n_inputs)
            other = (place + distances[turn % len(distances)]) % n_inputs
            drawn.append(np.unique(circle[[place, other]]))
        return drawn

    def default_width(self, n_inputs: int) -> int:
        """Return how many neurons a layer has by default."""
        return 1024


@dataclass(frozen=True)
class Patches:
    """A rectangle of an image each, with all of its channels."""

    height: int
    width: int
    n_channels: int
    #: Least and largest side, as fractions of the image's.
    _sides = (0.15, 0.5)

    def draw(self, n_inputs: int, n_neurons: int, rng: np.random.Generator) -> list[Int64]:
        """Return which of the inputs each neuron reads."""
        pixels = np.arange(n_inputs).reshape(self.height, self.width, self.n_channels)
        drawn = []
        for _ in range(n_neurons):
            rows, columns = (self._part(side, rng) for side in (self.height, self.width))
            drawn.append(pixels[rows, columns].ravel())
        return drawn

    def default_width(self, n_inputs: int) -> int:
        """Return how many neurons a layer has by default."""
        return min(2048, 16 * n_inputs)

    def _part(self, side: int, rng: np.random.Generator) -> slice:
        least, most = (max(1, round(fraction * side)) for fraction in self._sides)
        length = int(rng.integers(min(least + 1, most), most + 1))
        start = int(rng.integers(0, side - length + 1))
        return slice(start, start + length)


def feature_kind(client_features: str, n_inputs: int, image_shape: Any) -> FeatureKind:
    """Return what random neurons read.

    Parameters
    ----------
    client_features : {"auto", "pairs", "patches"}
        As the user gave it. "auto" takes patches where the features are those of an image: where
        its shape is given, or their number is a square of at least 8 x 8.
    n_inputs : int
        Number of input features.
    image_shape : sequence of int or None
        Height, width and, where there are several, number of channels.

    Raises
    ------
    InvalidParameterError
        If a parameter is none that is allowed, or they contradict each other.
    """
    if client_features not in CLIENT_FEATURES:
        raise InvalidParameterError(
            f"Invalid client_features: {client_features!r} is none of {', '.join(CLIENT_FEATURES)}"
        )
    if image_shape is not None:
        if client_features == "pairs":
            raise InvalidParameterError(
                f"image_shape={image_shape!r} says where patches are, but client_features="
                "'pairs' reads none: leave one of them out"
            )
        return Patches(*_checked_shape(image_shape, n_inputs))
    side = math.isqrt(n_inputs)
    is_square = side * side == n_inputs
    if client_features == "patches" and not is_square:
        raise InvalidParameterError(
            f"client_features='patches' needs image_shape=(height, width) here: {n_inputs} "
            "features are no square image"
        )
    if client_features == "patches" or (
        client_features == "auto" and is_square and side >= _LEAST_SIDE
    ):
        return Patches(side, side, 1)
    return Pairs()


def _checked_shape(given: Any, n_inputs: int) -> tuple[int, int, int]:
    shape = tuple(given) if isinstance(given, (list, tuple, np.ndarray)) else ()
    if len(shape) not in (2, 3):
        raise InvalidParameterError(
            f"Invalid image_shape: {given!r} must be (height, width) or (height, width, channels)"
        )
    sizes = [integer("image_shape", size, 1) for size in shape]
    if math.prod(sizes) != n_inputs:
        raise InvalidParameterError(
            f"Invalid image_shape: {given!r} has {math.prod(sizes)} values, but there are "
            f"{n_inputs} features"
        )
    height, width, n_channels = [*sizes, 1][:3]
    return height, width, n_channels
