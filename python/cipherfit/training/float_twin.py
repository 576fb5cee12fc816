"""Float32 twins of a quantized network: to train beside it, or with its own trained weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cipherfit.training.activations import build_activation
from cipherfit.training.linear import QuantLinear
from cipherfit.training.network import BatchNorm, QuantNetwork
from cipherfit.training.quantizers import ActivationQuantizer, GroupedActivationQuantizer


class FloatTwin(nn.Module):
    """Multi-layer perceptron in float32, to compare a quantized network with.

    Parameters
    ----------
    input_dim : int
        Number of input features.
    hidden_widths : sequence of int
        Neurons of each hidden layer.
    n_outputs : int
        Number of classes or targets.
    activation_function : type, default=nn.ReLU
        Elementwise torch activation class.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_widths: Sequence[int],
        n_outputs: int,
        activation_function: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = input_dim
        for width in hidden_widths:
            layers += [nn.Linear(fan_in, width), BatchNorm(width)]
            layers.append(build_activation(activation_function))
            fan_in = width
        self.features = nn.Sequential(*layers, nn.Linear(fan_in, n_outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's outputs for features `x` (n_samples, input_dim)."""
        outputs: Tensor = self.features(x)
        return outputs


@torch.no_grad()
def float_copy(network: QuantNetwork) -> nn.Sequential:
    """Return a float32 copy of a trained network: its weights, without any quantization.

    Parameters
    ----------
    network : QuantNetwork
        A calibrated network.

    Returns
    -------
    nn.Sequential
        Plain linear layers, with pruned weights at 0, and what lies between them. It takes
        features and gives the outputs' real values. Random client layers stay as they are, from
        codes to codes.
    """
    quantizer = network.input_quantizer
    step, offset = quantizer.scale, quantizer.zero_point.double()
    layers: list[nn.Module] = []
    if network.random_layers:
        layers += copy.deepcopy([quantizer, *network.random_layers])
        n_codes = network.random_layers[-1].n_neurons
        step, offset = step.new_ones(n_codes), step.new_zeros(n_codes)
    held: GroupedActivationQuantizer | None = None
    for module in list(network.features)[1 + len(network.random_layers) :]:
        if isinstance(module, QuantLinear):
            layers.append(_plain_linear(module, step, offset, held))
        elif isinstance(module, ActivationQuantizer):
            log_step, offset = (each.double() for each in module.per_neuron())
            step = log_step.exp()
            held = module if isinstance(module, GroupedActivationQuantizer) else None
        else:
            layers.append(copy.deepcopy(module))
    last = layers[-1]
    assert isinstance(last, nn.Linear)
    last.weight.mul_(network.output_scale.unsqueeze(1))
    last.bias.copy_(last.bias * network.output_scale + network.output_mean)
    return nn.Sequential(*layers).float()


def _plain_linear(
    quantized: QuantLinear, step: Tensor, offset: Tensor, held: GroupedActivationQuantizer | None
) -> nn.Linear:
    """Return the layer on real inputs ``step * (code - offset)``, with unrounded weights.

    Inputs that are held at one code are part of its bias.
    """
    exact = copy.deepcopy(quantized).double()
    weight = exact.real_weight()
    constant = torch.zeros_like(step)
    if held is not None:
        constant = torch.where(held.is_held, held.held_code.double() - offset, constant)
    linear = nn.Linear(weight.shape[1], len(weight)).double().to(weight.device)
    linear.weight.copy_(weight / step)
    linear.bias.copy_(weight @ (offset + constant - exact.origin))
    if held is not None:
        linear.weight[:, held.is_held] = 0
    if exact.neuron_bias is not None:
        linear.bias.add_(exact.neuron_bias)
    return linear
