"""Float twins: a trained network's own weights without quantization, or the same layers anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import calibrated_network, fitted, load
from torch import nn

from cipherfit.exceptions import InvalidParameterError
from cipherfit.training.float_twin import FloatTwin, float_copy
from cipherfit.training.quantizers import ActivationQuantizer

FINE = {"n_w_bits": 16, "n_a_bits": 16, "n_in_bits": 16, "n_accum_bits": 48, "n_lookup_bits": 16}
RANGES = {nn.ReLU6: (0, 6), nn.Sigmoid: (0, 1), nn.Tanh: (-1, 1)}


def fine_network(n_layers, activation):
    """Return a network whose 16-bit codes span all its weights and activations, and inputs."""
    network, x = calibrated_network(n_layers=n_layers, activation_function=activation, **FINE)
    low, high = RANGES[activation]
    with torch.no_grad():
        for layer in network.linear_layers:
            layer.log_scale.copy_((layer.weight.abs().amax(dim=1) / layer.max_weight_code).log())
        for module in network.features:
            if isinstance(module, ActivationQuantizer):
                module.log_step.fill_((high - low) / module.max_code).log_()
                module.offset.copy_(-low / module.log_step.exp())
    network.output_scale.copy_(torch.tensor([1.0, 20.0, 0.1]))
    network.output_mean.copy_(torch.tensor([0.0, -3.0, 5.0]))
    return network, x


@pytest.mark.parametrize("activation", RANGES)
@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_a_copy_is_what_a_network_of_many_bits_computes(n_layers, activation):
    network, x = fine_network(n_layers, activation)
    with torch.no_grad():
        exact, floats = network(x.double()).numpy(), float_copy(network)(x).numpy()
    assert exact.std(axis=0).min() > 1e-4
    assert (np.abs(floats - exact).max(axis=0) < 1e-2 * exact.std(axis=0)).all()


def test_a_copy_has_the_real_weights_of_the_network_with_zeros_where_it_is_pruned():
    network, _ = calibrated_network(40, n_layers=2, n_hidden_neurons=30)
    plain = [module for module in float_copy(network) if isinstance(module, nn.Linear)]
    pruned = 0
    for quantized, linear in zip(network.linear_layers, plain, strict=True):
        mask = quantized.mask()
        assert (linear.weight[~mask] == 0).all()
        assert (linear.weight[mask & (quantized.weight != 0)] != 0).all()
        pruned += int((~mask).sum())
    assert pruned


def test_a_copy_is_plain_float32_torch_and_leaves_the_network_alone():
    network, x = calibrated_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copied = float_copy(network)
    assert {parameter.dtype for parameter in copied.parameters()} == {torch.float32}
    assert {type(module).__module__.split(".")[0] for module in copied} <= {"torch", "cipherfit"}
    assert not any("Quant" in type(module).__name__ for module in copied.modules())
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(copied(x), torch.zeros(len(x), 3))


def test_a_copy_of_a_regressor_answers_in_the_targets_unit():
    model, (X, y) = fitted("diabetes"), load("diabetes")
    copied = float_copy(model.module_)
    with torch.no_grad():
        answers = copied(torch.tensor(X)).numpy()[:, 0]
    assert answers.mean() == pytest.approx(y.mean(), abs=0.3 * y.std())
    assert np.corrcoef(answers, model.predict(X))[0, 1] > 0.9


@pytest.mark.parametrize("widths", [[], [7], (5, 3)])
def test_a_twin_has_the_layers_that_it_is_asked_for(widths):
    twin = FloatTwin(4, widths, 2, nn.Tanh)
    shapes = [(m.in_features, m.out_features) for m in twin.modules() if isinstance(m, nn.Linear)]
    assert shapes == list(zip([4, *widths], [*widths, 2], strict=True))
    assert sum(isinstance(module, nn.Tanh) for module in twin.modules()) == len(widths)
    assert sum(isinstance(module, nn.BatchNorm1d) for module in twin.modules()) == len(widths)
    assert twin(torch.randn(6, 4)).shape == (6, 2)


def test_a_twin_trains_on_a_batch_of_one_row_too():
    twin = FloatTwin(4, [3], 2).train()
    twin(torch.randn(1, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
def test_a_twin_takes_the_activations_that_the_network_takes():
    with pytest.raises(InvalidParameterError, match="not elementwise"):
        FloatTwin(4, [3], 2, nn.Softmin)
