"""The float twin of a quantized network: same architecture and width, in float32."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cipherfit.activations import build_activation
from cipherfit.network import BatchNorm


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
