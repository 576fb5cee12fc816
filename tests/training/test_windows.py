"""Sums window by window are those of the layer's matrix, and so are their gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from cipherfit.training.shared_linear import SharedQuantLinear
from cipherfit.training.sharing import Sharing
from cipherfit.training.tracing import trace
from cipherfit.training.windows import Windows

#: Module, shape of a row, groups of channels that read alike (None: its matrix is as good).
CASES = {
    "strided": (nn.Conv2d(1, 3, 5, stride=3), (1, 20, 20), 1),
    "padded": (nn.Conv2d(2, 4, 3, padding=1), (2, 12, 12), 1),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (4, 12, 12), 2),
    "depthwise": (nn.Conv2d(3, 3, 3, groups=3), (3, 12, 12), 3),
    "dilated": (nn.Conv1d(2, 2, 3, dilation=3), (2, 90), 1),
    "circular": (nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular"), (1, 60), 1),
    "pooled": (nn.Sequential(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2)), (1, 22, 22), 1),
    "pooled before": (nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 3, 3)), (1, 24, 24), 1),
    "pooled whole": (
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)), (3, 4, 4), 1,
    ),
    "transposed": (nn.ConvTranspose1d(1, 2, 3, stride=2), (1, 40), None),
    "by position": (nn.Linear(3, 2), (40, 3), 1),
    "dense": (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 4), 1),
    "tiny": (nn.Conv2d(1, 2, 3), (1, 5, 5), None),
}  # fmt: skip


def sharing_of(module, shape):
    torch.manual_seed(0)
    whole = nn.Sequential(module, nn.Flatten()).eval()
    (layer,) = trace(whole, int(np.prod(shape)), shape).layers
    return Sharing.of(layer.pattern.numpy())


def layer_of(sharing, n_lookup_bits=6):
    torch.manual_seed(1)
    n_neurons, n_inputs = sharing.places.shape
    origin, base = torch.randint(0, 16, (n_inputs,)).float(), torch.randn(n_neurons)
    widths = {"n_w_bits": 4, "n_in_bits": 4, "n_accum_bits": 11, "n_lookup_bits": n_lookup_bits}
    layer = SharedQuantLinear(sharing, origin, base, 2.0, **widths)
    nn.init.normal_(layer.bias)
    layer.in_low = torch.randint(0, 4, (n_inputs,)).float()
    layer.in_high = torch.randint(10, 16, (n_inputs,)).float()
    return layer.train()


@pytest.mark.parametrize("name", CASES)
def test_channels_that_read_alike_are_found(name):
    module, shape, n_groups = CASES[name]
    windows = layer_of(sharing_of(module, shape)).windows
    assert (None if windows is None else len(windows.reads)) == n_groups


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2]])
def test_sums_and_gradients_are_those_of_the_matrix(name, precision):
    module, shape, _ = CASES[name]
    sharing = sharing_of(module, shape)
    results = []
    for in_windows in (True, False):
        layer = layer_of(sharing).to(precision)
        assert layer.windows is not None
        if not in_windows:
            layer.windows = None
        torch.manual_seed(2)
        x = torch.randint(0, 16, (7, sharing.places.shape[1])).to(precision).requires_grad_()
        outputs = layer(x)
        (outputs * torch.randn(outputs.shape, dtype=precision)).sum().backward()
        gradients = (layer.weight.grad, layer.log_scale.grad, layer.bias.grad)
        results.append([outputs, x.grad, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-3)


def test_neurons_in_any_order_are_found():
    module, shape, _ = CASES["strided"]
    sharing = sharing_of(module, shape)
    order = np.random.default_rng(0).permutation(len(sharing.places))
    shuffled = Sharing(
        sharing.places[order], sharing.channels[order], sharing.inputs, sharing.fan_in, 1
    )
    one, other = layer_of(sharing, None), layer_of(shuffled, None)
    x = torch.randint(0, 16, (5, sharing.places.shape[1])).float()
    with torch.no_grad():
        other.base.copy_(one.base[order])
        outputs = layer_of(shuffled, None)
        outputs.base.copy_(one.base[order])
        dense = other(x)
        other.windows = None
        torch.testing.assert_close(dense, other(x), rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(dense, one(x)[:, order], rtol=1e-5, atol=1e-4)


def test_loaded_places_are_read_as_they_are():
    sharing = sharing_of(*CASES["strided"][:2])
    held = layer_of(sharing)
    # As a layer of another version would have it, whose weights are in another order.
    swapped = sharing.places.copy()
    first, second = (sharing.places == slot for slot in (0, 1))
    swapped[first], swapped[second] = 1, 0
    other = layer_of(
        Sharing(swapped, sharing.channels, sharing.inputs, sharing.fan_in, sharing.most_uses)
    )
    held.load_state_dict(other.state_dict())
    x = torch.randint(0, 16, (5, sharing.places.shape[1])).float()
    torch.testing.assert_close(held(x), other(x))


def test_a_layer_without_weights_has_none():
    assert Windows.of(np.zeros((3, 2), dtype=np.int64), 3, 0) is None
