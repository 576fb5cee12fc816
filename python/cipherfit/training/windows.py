"""A shared layer's sums window by window, as a convolution is computed: no zeros, no matrix.

Where all channels read the inputs in the same way, each position reads one window of them, as long
as a kernel. A matrix product of kernels and windows gives all sums, and a training step needs the
layer's matrix, mostly zeros, neither forward nor backward.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cipherfit.training.sharing import ranks

Int64 = NDArray[np.int64]

#: How many multiplications of a dense matrix product take as long as moving one input to a window.
_PRICE_OF_READING = 8


class Windows(nn.Module):
    """What each position of a layer reads, and how its sums follow from kernels.

    Rows come last here: inputs (n_inputs, n_rows), windows (n_groups, fan_in, n_positions *
    n_rows), sums (n_neurons, n_rows). Its buffers are no state: they follow from `Sharing.places`.

    Parameters
    ----------
    reads : ndarray of shape (n_groups, fan_in, n_uses, n_positions)
        Which inputs each weight of a kernel is multiplied by; `n_inputs` where there is none.
    channels : ndarray of shape (n_groups, n_channels_each)
        The channels of each group: those of a grouped convolution read other inputs.
    neurons : ndarray of shape (n_groups, n_channels_each, n_positions)
        Which neuron a channel is at each position.
    n_inputs : int
        Number of inputs.
    """

    reads: Tensor
    channels: Tensor
    neurons: Tensor
    order: Tensor

    def __init__(self, reads: Int64, channels: Int64, neurons: Int64, n_inputs: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        self.in_order = bool((np.diff(neurons.ravel()) > 0).all())
        is_one_use = reads.shape[2] == 1
        self.reads_all_once = is_one_use and np.array_equal(reads.ravel(), np.arange(n_inputs))
        for name, array in {
            "reads": reads,
            "channels": channels,
            "neurons": neurons.ravel(),
            "order": np.argsort(neurons.ravel()),
        }.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    @classmethod
    def of(cls, places: Int64, n_channels: int, fan_in: int) -> Windows | None:
        """Return the windows of a layer, or None where a matrix is as good.

        Parameters
        ----------
        places : ndarray of shape (n_neurons, n_inputs)
            As of `Sharing`.
        n_channels, fan_in : int
            Shape of the kernels.
        """
        n_neurons, n_inputs = places.shape
        neurons, inputs = np.nonzero(places < n_channels * fan_in)
        members = _members(neurons, places[neurons, inputs] // max(1, fan_in), n_neurons)
        if members is None:
            return None
        n_positions = members.shape[1]
        position_of = np.empty(n_neurons, dtype=np.int64)
        position_of[members] = np.arange(n_positions)
        slots = places[neurons, inputs] % fan_in
        uses = ranks(neurons * fan_in + slots)
        shape = (fan_in, int(uses.max()) + 1, n_positions)

        def pays(n_reads: int) -> bool:
            each = _PRICE_OF_READING * n_reads + n_neurons * fan_in
            return n_positions == 1 or each <= n_neurons * n_inputs

        if not pays(int(np.prod(shape))):
            return None
        tables = np.full((n_channels, *shape), n_inputs)
        channel_of = places[neurons, inputs] // fan_in
        tables[channel_of, slots, uses, position_of[neurons]] = inputs
        kinds, group_of = np.unique(tables.reshape(n_channels, -1), axis=0, return_inverse=True)
        sizes = np.bincount(group_of.ravel())
        if (sizes != sizes[0]).any() or not pays(kinds.size):
            return None
        channels = np.argsort(group_of.ravel(), kind="stable").reshape(len(kinds), -1)
        return cls(kinds.reshape(-1, *shape), channels, members[channels], n_inputs)

    def windows(self, x: Tensor) -> Tensor:
        """Return what is read (n_groups, fan_in, n_positions * n_rows) of inputs."""
        n_groups, fan_in, n_uses, _ = self.reads.shape
        if self.reads_all_once:
            return x.reshape(n_groups, fan_in, -1)
        read = torch.cat([x, x.new_zeros(1, x.shape[1])])[self.reads.flatten()]
        read = read.reshape(n_groups, fan_in, n_uses, -1)
        return read.sum(dim=2) if n_uses > 1 else read.squeeze(2)

    def read_gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the inputs for that of the windows."""
        n_groups, fan_in, n_uses, n_positions = self.reads.shape
        if self.reads_all_once:
            return gradient.reshape(self.n_inputs, -1)
        of_reads = gradient.reshape(n_groups, fan_in, 1, n_positions, -1)
        of_reads = of_reads.expand(-1, -1, n_uses, -1, -1).flatten(0, 3)
        sums = gradient.new_zeros(self.n_inputs + 1, of_reads.shape[1])
        return sums.index_add_(0, self.reads.flatten(), of_reads)[:-1]

    def kernels(self, values: Tensor) -> Tensor:
        """Return values of kernels (n_channels, fan_in) by group (n_groups, n_each, fan_in)."""
        return values[self.channels]

    def of_kernels(self, values: Tensor) -> Tensor:
        """Return values by group, of a kernel or all of its weights, by channel."""
        by_channel = torch.empty_like(values.flatten(0, 1))
        by_channel[self.channels.flatten()] = values.flatten(0, 1)
        return by_channel

    def of_neurons(self, values: Tensor) -> Tensor:
        """Return values (n_groups, n_each, n_positions * n_rows) as (n_neurons, n_rows)."""
        by_neuron = values.reshape(len(self.neurons), -1)
        return by_neuron if self.in_order else by_neuron[self.order]

    def by_group(self, values: Tensor) -> Tensor:
        """Return values (n_neurons, n_rows) as (n_groups, n_each, n_positions * n_rows)."""
        by_neuron = values if self.in_order else values[self.neurons]
        return by_neuron.reshape(*self.channels.shape, -1)


def _members(neurons: Int64, channels: Int64, n_neurons: int) -> Int64 | None:
    """Return the neurons of each channel, where all have as many and each has one.

    Parameters
    ----------
    neurons, channels : ndarray of shape (n_entries,)
        Of each entry of the matrix that is a weight.
    n_neurons : int
        Number of neurons.
    """
    if len(np.unique(neurons)) < n_neurons or not n_neurons:
        return None
    channel_of = np.empty(n_neurons, dtype=np.int64)
    channel_of[neurons] = channels
    counts = np.bincount(channel_of)
    if (counts != counts[0]).any():
        return None
    return np.argsort(channel_of, kind="stable").reshape(len(counts), -1)
