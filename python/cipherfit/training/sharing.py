"""Which weights of a layer are one: those of a convolution, at all of its positions.

It is found in numbers: of a matrix that was computed from kernels of random numbers, whatever pads,
pools and reshapes around them, equal entries are the same weight. Neurons that share one are of the
same channel, and inputs that share one are, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

#: Digits in which entries that are one weight agree: sums may differ in the last ones.
_DIGITS = 12


@dataclass(frozen=True)
class Sharing:
    """How a matrix (n_neurons, n_inputs) is made of kernels (n_channels, fan_in).

    Parameters
    ----------
    places : ndarray of shape (n_neurons, n_inputs)
        The index of each entry's weight among all kernels'; where there is none, their number.
    channels : ndarray of shape (n_neurons,)
        Each neuron's kernel.
    inputs : ndarray of shape (n_inputs,)
        Each input's group: what shares weights has one scale.
    fan_in : int
        Weights of a kernel; those that a channel has less are never read.
    most_uses : int
        How often a neuron has one weight at most: of 4 values that are pooled, 4 times.
    """

    places: Int64
    channels: Int64
    inputs: Int64
    fan_in: int
    most_uses: int

    @property
    def n_channels(self) -> int:
        """Number of kernels."""
        return int(self.channels.max()) + 1

    @property
    def n_input_groups(self) -> int:
        """Number of groups of inputs."""
        return int(self.inputs.max()) + 1

    @classmethod
    def of(cls, pattern: Float64) -> Sharing:
        """Return the sharing of a matrix that was computed from random kernels."""
        n_neurons, n_inputs = pattern.shape
        largest = float(np.abs(pattern).max(initial=0.0)) or 1.0
        neurons, inputs = np.nonzero(np.abs(pattern) > 10.0**-_DIGITS * largest)
        values = np.round(pattern[neurons, inputs] / largest, _DIGITS)
        _, weights = np.unique(values, return_inverse=True)
        n_weights = int(weights.max(initial=-1)) + 1
        channels, channel_of = _groups(neurons, weights, n_neurons, n_weights)
        groups, _ = _groups(inputs, weights, n_inputs, n_weights)
        slots = _slots(neurons, inputs, weights, channels, channel_of)
        fan_in = int(slots.max(initial=0)) + 1
        places = np.full(pattern.shape, (int(channels.max()) + 1) * fan_in, dtype=np.int64)
        places[neurons, inputs] = channel_of[weights] * fan_in + slots[weights]
        _, uses = np.unique(neurons * max(1, n_weights) + weights, return_counts=True)
        return cls(places, channels, groups, fan_in, int(uses.max(initial=1)))

    def kernels(self, matrix: Float64) -> Float64:
        """Return the kernels (n_channels, fan_in) that a matrix is made of."""
        n_places = self.n_channels * self.fan_in
        flat = self.places.ravel()
        sums = np.bincount(flat, matrix.ravel(), n_places + 1)[:n_places]
        counts = np.bincount(flat, minlength=n_places + 1)[:n_places]
        return np.asarray((sums / np.maximum(counts, 1)).reshape(-1, self.fan_in))


def _groups(
    members: Int64, weights: NDArray[Any], n_members: int, n_weights: int
) -> tuple[Int64, Int64]:
    """Return the group of each member and of each weight, where a weight joins its members."""
    size = n_members + n_weights
    edges = coo_array((np.ones(len(members)), (members, n_members + weights)), shape=(size, size))
    _, labels = connected_components(edges, directed=False)
    _, found = np.unique(labels[:n_members], return_inverse=True)
    of_label = np.zeros(labels.max() + 1, dtype=np.int64)
    of_label[labels[:n_members]] = found
    return found.astype(np.int64), of_label[labels[n_members:]]


def _slots(
    neurons: Int64, inputs: Int64, weights: Int64, channels: Int64, channel_of: Int64
) -> Int64:
    """Return each weight's place in its kernel: in the order in which the channel reads them.

    So kernels that read inputs in the same way have the same order.
    """
    order = np.lexsort((inputs, ranks(channels)[neurons]))
    _, first = np.unique(weights[order], return_index=True)
    by_reading = np.argsort(first, kind="stable")
    slots = np.empty(len(channel_of), dtype=np.int64)
    slots[by_reading] = ranks(channel_of[by_reading])
    return slots


def ranks(groups: Int64) -> Int64:
    """Return the place of each thing among those of its group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else order
    lengths = np.diff(np.r_[starts, len(groups)])
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return ranks
