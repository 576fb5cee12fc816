"""Lookups that go while a network trains: the least important, in time, and for good."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cipherfit.training.aware import aware_network
from cipherfit.training.fewer_lookups import FewerLookups
from cipherfit.training.float_twin import float_copy
from cipherfit.training.lowering import lower
from cipherfit.training.quantizers import GroupedActivationQuantizer
from cipherfit.training.widths import NamedWidths

HEARD = torch.tensor([0, 3, 5])


def network_that_hears_few(n_bits=6):
    """Return a network whose output reads three of its eight hidden neurons, and rows."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    unheard = torch.ones(8, dtype=torch.bool)
    unheard[HEARD] = False
    with torch.no_grad():
        module[2].weight[:, unheard] *= 1e-2
        module[2].weight[:, HEARD] = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]])
    x = torch.randn(200, 4)
    return aware_network(module, x, NamedWidths(n_bits, n_bits, n_bits), shape=(4,)), x


def quantizers_of(network):
    return [each for each in network.features if isinstance(each, GroupedActivationQuantizer)]


def step(network, x):
    network.train()
    nn.functional.cross_entropy(network(x), torch.arange(len(x)) % 2).backward()


def test_those_that_the_loss_hears_least_go_first():
    network, x = network_that_hears_few()
    fewer = FewerLookups(quantizers_of(network), 3)
    step(network, x)
    fewer.until(1.0)
    (quantizer,) = quantizers_of(network)
    assert torch.equal((~quantizer.is_held).nonzero()[:, 0], HEARD)
    codes = network.features[:4](x)
    held = codes[:, quantizer.is_held]
    assert torch.equal(held, held[:1].expand_as(held))
    graph = lower(network)
    assert graph.n_lookups == 3
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(graph.run(x.numpy())), network.eval()(x.double())
        )


def test_they_go_little_by_little_and_one_of_each_layer_stays():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(4, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 2)
    ).eval()
    x = torch.randn(200, 4)
    network = aware_network(module, x, NamedWidths(4, 4, 4), shape=(4,))
    quantizers = quantizers_of(network)
    fewer = FewerLookups(quantizers, 2)
    left = []
    for progress in (0.0, 0.1, 0.2, 0.4, 0.6, 1.0):
        step(network, x)
        fewer.until(progress)
        left.append([int((~each.is_held).sum()) for each in quantizers])
    totals = [sum(each) for each in left]
    assert totals[:2] == [50, 50]
    assert totals == sorted(totals, reverse=True)
    assert left[-2:] == [[1, 1], [1, 1]]


def test_what_is_held_stays_held_at_its_first_code():
    quantizer = GroupedActivationQuantizer(torch.zeros(3, dtype=torch.int64), 4)
    quantizer.hold(torch.tensor([True, False, False]), torch.tensor([7.0, 7.0, 7.0]))
    quantizer.hold(torch.tensor([True, True, False]), torch.tensor([2.0, 2.0, 2.0]))
    codes = quantizer(torch.full((1, 3), 100.0))
    assert codes.tolist() == [[7.0, 2.0, 15.0]]


def test_nothing_goes_before_a_gradient_was_seen():
    network, _ = network_that_hears_few()
    fewer = FewerLookups(quantizers_of(network), 3)
    fewer.until(1.0)
    assert not any(each.is_held.any() for each in quantizers_of(network))


def test_nothing_is_observed_once_it_is_over():
    network, x = network_that_hears_few()
    fewer = FewerLookups(quantizers_of(network), 3)
    step(network, x)
    fewer.close()
    seen = fewer._observers[0].loss.clone()
    step(network, x)
    assert torch.equal(fewer._observers[0].loss, seen)


@pytest.mark.parametrize("n_bits", [8, 10])
def test_the_float_twin_holds_the_same_neurons(n_bits):
    network, x = network_that_hears_few(n_bits)
    network.eval()
    with torch.no_grad():
        whole = float_copy(network)(x)
        quantizers_of(network)[0].hold(torch.arange(8) == 3, torch.full((8,), 9.0))
        exact, twin = network(x.double()).float(), float_copy(network)(x)
    assert float((twin - exact).std() / exact.std()) < 0.03
    assert float((whole - exact).std() / exact.std()) > 0.1
