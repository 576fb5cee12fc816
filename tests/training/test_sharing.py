"""Which weights are one is found for whatever a convolution is wrapped into."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cipherfit.training.sharing import Sharing
from cipherfit.training.tracing import trace

CASES = {
    # With a stride, what is read by other weights needs no common scale.
    # module, shape of a row, channels, fan-in, uses of a weight, groups of inputs
    "plain": (nn.Conv2d(2, 3, 3), (2, 6, 6), 3, 18, 1, 2),
    "padded": (nn.Conv2d(2, 3, 3, padding=1), (2, 4, 4), 3, 18, 1, 2),
    "strided": (nn.Conv1d(1, 4, 3, stride=2), (1, 9), 4, 3, 1, 2),
    "grouped": (nn.Conv2d(4, 4, 2, groups=2), (4, 3, 3), 4, 8, 1, 4),
    "dilated": (nn.Conv1d(2, 2, 2, dilation=3), (2, 9), 2, 4, 1, 2),
    "circular": (nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), (1, 6), 2, 3, 1, 1),
    "transposed": (nn.ConvTranspose1d(1, 2, 3, stride=2), (1, 4), 4, 2, 1, 1),
    "pooled before": (nn.Sequential(nn.AvgPool1d(3), nn.Conv1d(1, 2, 2)), (1, 12), 2, 2, 3, 1),
    "pooled after": (nn.Sequential(nn.Conv2d(1, 2, 1), nn.AvgPool2d(2)), (1, 4, 4), 2, 1, 4, 1),
    "normalized": (
        nn.Sequential(nn.Conv1d(1, 2, 2), nn.BatchNorm1d(2), nn.AvgPool1d(2)), (1, 9), 2, 3, 1, 2,
    ),
    "by position": (nn.Linear(3, 2), (4, 3), 2, 3, 1, 3),
    "dense": (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 4), 5, 12, 1, 12),
    "whole image": (nn.Conv2d(1, 2, 3), (1, 3, 3), 2, 9, 1, 9),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_found_in_numbers(name):
    module, shape, n_channels, fan_in, most_uses, n_groups = CASES[name]
    whole = nn.Sequential(module, nn.Flatten()).eval()
    (layer,) = trace(whole, int(np.prod(shape)), shape).layers
    sharing = Sharing.of(layer.pattern.numpy())
    found = (sharing.n_channels, sharing.fan_in, sharing.most_uses, sharing.n_input_groups)
    assert found == (n_channels, fan_in, most_uses, n_groups)
    kernels = sharing.kernels(layer.weight.numpy())
    spread = np.append(kernels.ravel(), 0.0)[sharing.places]
    np.testing.assert_allclose(spread, layer.weight.numpy(), atol=1e-12)


def test_trained_weights_that_happen_to_be_equal_are_not_one():
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten())
    with torch.no_grad():
        module[0].weight.fill_(0.5)
    (layer,) = trace(module, 8, (1, 8)).layers
    assert Sharing.of(layer.pattern.numpy()).fan_in == 3
    assert Sharing.of(layer.weight.numpy()).fan_in == 1


def test_a_layer_without_weights_is_a_layer():
    sharing = Sharing.of(np.zeros((3, 2)))
    assert (sharing.places == sharing.n_channels * sharing.fan_in).all()
    assert (sharing.kernels(np.zeros((3, 2))) == 0).all()
