"""Random layers: integers that torch, tables and a plain formula agree on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cipherfit.training.client_features import Pairs, Patches
from cipherfit.training.random_layers import RandomLayer, random_layers


def layers(kind, n_inputs, widths, n_in_bits=7, n_a_bits=4):
    torch.manual_seed(0)
    return random_layers(kind, widths, n_inputs=n_inputs, n_in_bits=n_in_bits, n_a_bits=n_a_bits)


@pytest.mark.parametrize(
    ("kind", "n_inputs", "n_in_bits"),
    [
        (Pairs(), 5, 7),
        (Patches(10, 10, 1), 100, 8),
        (Pairs(), 3, 16),
        (Patches(30, 30, 1), 900, 16),
    ],
)
def test_codes_are_read_off_the_tables_at_the_accumulators(kind, n_inputs, n_in_bits):
    (layer,) = layers(kind, n_inputs, [30], n_in_bits)
    weights, tables = layer.integers()
    codes = np.random.default_rng(1).integers(0, 2**n_in_bits, size=(4000, n_inputs))
    least = np.minimum(weights, 0).sum(axis=1) * (2**n_in_bits - 1)
    half = (1 << layer.lsbs) >> 1
    index = (codes @ weights.T - least + half) >> layer.lsbs
    expected = np.stack([table[index[:, j]] for j, table in enumerate(tables)], axis=1)
    for dtype in (torch.float32, torch.float64):
        outputs = layer(torch.from_numpy(codes).to(dtype))
        assert outputs.dtype == dtype
        np.testing.assert_array_equal(outputs.numpy(), expected)


def test_neurons_take_all_codes_and_differ():
    (layer,) = layers(Pairs(), 6, [64], n_a_bits=3)
    _, tables = layer.integers()
    assert {int(code) for table in tables for code in table} == set(range(8))
    outputs = layer(torch.randint(0, 128, (500, 6)).float())
    assert len({tuple(column) for column in outputs.T.tolist()}) == 64
    assert float(outputs.std(dim=0).min()) > 0


def test_a_layer_tells_its_sizes():
    (layer,) = layers(Pairs(), 6, [64])
    assert isinstance(layer, RandomLayer)
    assert "6, 64, n_bits=4, lsbs=" in repr(layer)
